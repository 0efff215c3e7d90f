"""`dedelayed eval delay`, from its settings to the figures of its file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.carry_time import carry_time
from dedelayed_ros.eval.delay import DelaySettings, evaluate_delays
from dedelayed_ros.eval.delay_cases import Pair
from dedelayed_ros.eval.delay_pictures import delay_pictures
from dedelayed_ros.eval.downlink import downlink
from dedelayed_ros.eval.jitter import Jitter
from dedelayed_ros.models import zoo
from dedelayed_ros.report import machine
from dedelayed_ros.train import footage
from dedelayed_ros.train.config import FootageConfig
from dedelayed_ros.version import VERSION

_RATE = 30.0
_SHOWN_MS = 167.0  # delay of the masks that are shown


@dataclass(frozen=True)
class DelayCommand:
    """``model`` of the zoo; ``seeds`` of the streets, ``frames`` of each; ``uplink_kbps`` of H.264, None: raw pixels;
    ``cache`` of rendered clips, which ``workers`` processes add to. ``own``: a folder of clips of one's own in place of
    streets, with the uplink that they were made for, or raw.
    """

    model: str
    seeds: range
    frames: int
    uplink_kbps: int | None
    jitter: Jitter | None
    cache: Path
    workers: int
    own: Path | None = None

    def run(self, say: Callable[[str], None] = print) -> tuple[dict, Image.Image]:
        """Render what the cache lacks, measure, and return what the file holds, and masks to look at.

        Raises:
            InputError: settings that cannot be measured. WeightsError: an unknown or damaged model.
        """
        settings = DelaySettings(raw=self.uplink_kbps is None, jitter=self.jitter)
        longest = max(*settings.delays_ms, *settings.reach_ms)
        if self.own is None:
            _check_length(self.frames, _RATE, longest)
        entry = zoo.entry(self.model)
        pair = Pair(
            zoo.load_local(self.model), zoo.load_remote(self.model), entry.carry_split, zoo.load_codec(self.model)
        )
        clips = footage.prepare(self.cache, self._footage(), self.workers, say)
        rate = clips[0].rate
        for clip in clips:
            _check_length(len(clip), clip.rate, longest)
        uplink = 'raw' if self.uplink_kbps is None else 'h264' if self.own else f'h264:{self.uplink_kbps}'
        which = f'--seeds {self.seeds.start}:{self.seeds.stop}' if self.own is None else f'--own {self.own}'
        found = evaluate_delays(pair, clips, settings, say)
        rows = [{**row, 'uplink': uplink} for row in found.pop('rows')]
        figures = {
            'version': VERSION,
            'command': f'dedelayed eval delay {which} --uplink {uplink}',
            'machine': machine.describe(),
            'model': entry.name,
            'seeds': [self.seeds.start, self.seeds.stop] if self.own is None else [],
            'clips': len(clips),
            'rate': rate,
            'gmac': work(pair, (clips[0].images.shape[1], clips[0].images.shape[2])),
            **downlink(pair, self.model, clips, rate),
            **carry_time(pair, clips),
            'rows': rows,
            **found,
        }
        return figures, delay_pictures(pair, clips, _SHOWN_MS)

    def _footage(self) -> FootageConfig:
        if self.own is not None:
            return FootageConfig.of_folder('validation', self.own)
        return FootageConfig(
            'validation',
            first_seed=self.seeds.start,
            seeds=len(self.seeds),
            frames=self.frames,
            rates=(_RATE,),
            bitrates_kbps=(self.uplink_kbps or 4000,),
        )

    def store(self, found: dict) -> Path:
        """Write the figures and the staleness limit that follows from them into the model's entry."""
        path = zoo.path_of(self.model)
        card = json.loads(path.read_text())
        card['staleness_s'] = found['staleness_s']
        card['measured'] = {**card['measured'], **{k: v for k, v in found.items() if k != 'machine'}}
        path.write_text(json.dumps(card, indent=1) + '\n')
        return path


def _check_length(frames: int, rate: float, longest_ms: float) -> None:
    needed = math.ceil(longest_ms * 1e-3 * rate) + 1
    if frames < needed:
        raise InputError(
            f'clips of {frames} frames are too short: delays of {longest_ms:.0f} ms need {needed} at {rate:g} Hz'
        )


def work(pair: Pair, size: tuple[int, int]) -> dict[str, float]:
    """Multiply-accumulates of one frame, in units of 10⁹: ``local``; ``remote``, one step of a stream; their
    ``ratio``; and the parameters of both, in millions.
    """
    from torch.utils.flop_counter import FlopCounterMode

    h, w = size
    image = torch.zeros(1, 3, h, w)
    counted = {}
    with torch.inference_mode():
        features = pair.remote.predict_still(pair.remote.encode(image))
        for name, call in (
            ('local', lambda: pair.local(torch.zeros(1, 3, h // 2, w // 2), features)),
            ('remote', lambda: pair.remote.predict_still(pair.remote.encode(image))),
        ):
            with FlopCounterMode(display=False) as counter:
                call()
            counted[name] = round(counter.get_total_flops() / 2e9, 4)
    millions = {
        f'{name}_parameters_m': round(sum(p.numel() for p in model.parameters()) / 1e6, 3)
        for name, model in (('local', pair.local), ('remote', pair.remote))
    }
    return {**counted, 'ratio': round(counted['remote'] / counted['local'], 2), **millions}


def parse_seeds(text: str, *, training: bool = False) -> range:
    """'A:B' as the seeds A to B-1.

    Raises:
        InputError: it is something else, or streets for ``training`` where that was not asked for.
    """
    first, _, end = text.partition(':')
    if not (first.isdigit() and end.isdigit() and int(first) < int(end)):
        example = '700000:700006' if training else '800000:800016'
        raise InputError(f"--seeds is {text!r}; expected 'A:B' with A < B, such as {example}")
    if int(first) < 800_000 and not training:
        raise InputError(
            f'--seeds is {text!r}: streets below 800000 were trained on; 800000 to 899999 are for validation'
        )
    return range(int(first), int(end))


def parse_uplink(text: str) -> int | None:
    """'h264:KBPS' as KBPS, 'raw' as None.

    Raises:
        InputError: it is something else.
    """
    kind, _, rate = text.partition(':')
    if text == 'raw':
        return None
    if kind != 'h264' or not rate.isdigit() or not 10 <= int(rate) <= 500_000:
        raise InputError(f"--uplink is {text!r}; expected 'raw' or 'h264:KBPS', such as h264:4000")
    return int(rate)
