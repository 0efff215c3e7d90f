"""Which policy stands for which method: thresholds found, levels matched, and the records that come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dedelayed_ros import sparse
from dedelayed_ros.eval.reuse_coding import H264_KBPS, JPEG_QUALITY
from dedelayed_ros.eval.reuse_footage import ReuseSet
from dedelayed_ros.eval.reuse_record import ClipRecord, Coding, Policy, Recorder, Told
from dedelayed_ros.eval.reuse_tuning import Tuned, Tuner
from dedelayed_ros.eval.sequences import check_knows_streets, streets
from dedelayed_ros.models import zoo
from dedelayed_ros.reuse import dense_above, load_calibration
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.train.losses import iou
from dedelayed_ros.version import VERSION

METHODS = (
    'offload_raw', 'offload_h264', 'offload_jpeg', 'coach', 'deltacnn', 'motion_deltacnn', 'fluxshard', 'ours',
)  # fmt: skip
EXTRA = ('ours_bounded',)
"""'ours' sends the camera's own H.264 stream, as the offload mode does by default; this one is its uplink 'bounded'."""
_STREAM_KBPS = 4000  # the camera's default, where no calibration says another
TOLERANT = Alignment('calibrated', remainder=0.5, spread=1.0)


@dataclass(frozen=True)
class ReuseSettings:
    """``model`` of the zoo; ``each``: clips in a set, chosen of the streets of ``seeds``; ``frames`` of each clip;
    ``clips``: videos besides; ``traces``: CSV file, None: made up; ``rounds``: traces that every cell is played over;
    ``tuning``: streets that thresholds are found on, ``tuning_frames`` of each; ``budget``: accuracy to give up,
    relative; ``cache`` of rendered clips; ``records``: folder of what was computed before, None: nowhere;
    ``profile_rounds`` of the latency curve; ``clients`` of the last table.
    """

    model: str = 'street-conv'
    seeds: range = range(800000, 800016)
    each: int = 4
    frames: int = 40
    clips: tuple[str, ...] = ()
    clip_frames: int = 60
    traces: Path | None = None
    rounds: int = 24
    tuning: range = range(700000, 700006)
    tuning_frames: int = 12
    budget: float = 0.03
    cache: Path = Path('~/.cache/dedelayed/footage')
    records: Path | None = None
    profile_rounds: int = 15
    clients: tuple[int, ...] = (1, 2, 3, 8)
    sensitivity: bool = True


class Library:
    """One model and everything that is computed with it, kept: compiled modules, thresholds, policies and records.

    A set of streets takes its thresholds from other streets, and ``ours`` from the model's calibration where there is
    one; a video takes them from its own beginning, which is not judged.
    """

    def __init__(self, settings: ReuseSettings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self._entry = zoo.entry(settings.model)
        check_knows_streets(self._entry)
        self.model = zoo.load_local(settings.model, torch.float32)
        self.size = self._entry.input_size((320, 640))
        self.calibration = load_calibration(settings.model)
        self.described: list[dict[str, Any]] = []
        self.steps = 0
        self._say = say
        self._modules: dict[tuple[int, int], sparse.SparseModule] = {}
        self._recorders: dict[tuple[int, int], Recorder] = {}
        self._tuners: dict[str, Tuner] = {}
        self._tuned: dict[tuple[str, str], Tuned] = {}
        self._policies: dict[tuple[str, str], Policy] = {}
        self._records: dict[tuple[str, str], list[ClipRecord]] = {}

    def recorded(self, chosen: ReuseSet, name: str) -> list[ClipRecord]:
        """A method's records of every clip of a set."""
        return self.record(chosen, self.policy(chosen, name))

    def record(self, chosen: ReuseSet, policy: Policy) -> list[ClipRecord]:
        """A policy's."""
        key = chosen.name, policy.key()
        if key not in self._records:
            recorder = self._recorder(chosen.size)
            self._records[key] = [
                recorder.record(policy, clip, f'{chosen.key}:{k}', labelled=chosen.footage.labelled)
                for k, clip in enumerate(chosen.footage.clips)
            ]
            self.steps = sum(recorder.steps for recorder in self._recorders.values())
        return self._records[key]

    def dense_accuracy(self, chosen: ReuseSet) -> float:
        """mIoU of the dense model on a set, 0–1."""
        records = self.recorded(chosen, 'offload_raw')
        return float(iou(sum(record.passes[0].counts.sum(0) for record in records))[0])

    def tuned(self, chosen: ReuseSet, name: str) -> Tuned | None:
        """The thresholds of a method on a kind of set; None for one that has none."""
        self.policy(chosen, name)
        return self._tuned.get((_kind(chosen), name))

    def judged(self, chosen: ReuseSet, policy: Policy) -> Tuned:
        """What a policy computes, on the footage that thresholds are found on."""
        return self._tuner(chosen).judged(
            policy.alignment, policy.motion, dict(policy.thresholds), coding=policy.coding, level=policy.level
        )

    def policy(self, chosen: ReuseSet, name: str) -> Policy:
        """The policy that stands for a method on a set."""
        if (chosen.name, name) not in self._policies:
            made = self._policies[chosen.name, name] = self._make(chosen, name)
            tuned = self._tuned.get((_kind(chosen), name))
            self.described.append(
                {
                    'set': chosen.name,
                    'method': name,
                    'coding': made.coding,
                    'level': made.level,
                    'alignment': made.alignment.mode,
                    'loss_where_tuned': None if tuned is None else round(tuned.loss, 4),
                    'thresholds': {key: round(value, 5) for key, value in made.thresholds.items()},
                }
            )
        return self._policies[chosen.name, name]

    @property
    def stream(self) -> tuple[Coding, int]:
        """How 'ours' codes frames: the camera's H.264, at the bit rate in kbit/s that the calibration is for."""
        return 'h264', _STREAM_KBPS if self.calibration is None else self.calibration.uplink_kbps or _STREAM_KBPS

    def tune(
        self,
        chosen: ReuseSet,
        name: str,
        alignment: Alignment,
        *,
        told: Told = 'codec',
        budget: float | None = None,
        share: float = 2 / 3,
        coding: Coding = 'raw',
        level: int = 0,
    ) -> Tuned:
        """Thresholds of the search that all methods share, under ``name``."""
        key = _kind(chosen), name
        if key not in self._tuned:
            self._tuned[key] = self._tuner(chosen).tune(
                alignment, told, budget=budget or self.settings.budget, share=share, coding=coding, level=level
            )
        return self._tuned[key]

    def _make(self, chosen: ReuseSet, name: str) -> Policy:
        if name == 'offload_raw':
            return Policy(name, 'raw')
        if name == 'offload_h264':
            return self._matched(chosen, name, 'h264', H264_KBPS)
        if name == 'offload_jpeg':
            return self._matched(chosen, name, 'jpeg', JPEG_QUALITY)
        if name == 'coach':
            return Policy(name, 'coach')
        if name == 'deltacnn':
            tuned = self.tune(chosen, name, Alignment('per_layer'), told='rest')
            return Policy(name, 'delta', 'rest', 0, tuned.alignment, tuned.thresholds)
        if name == 'motion_deltacnn':
            tuned = self.tune(chosen, name, Alignment('off'), told='homography')
            return Policy(name, 'delta', 'homography', 0, tuned.alignment, tuned.thresholds)
        if name == 'fluxshard':
            tuned = self.tune(chosen, name, Alignment('paper'))
            return Policy(name, 'plain', 'codec', 0, tuned.alignment, tuned.thresholds)
        tuned = self._ours(chosen, name)
        coding: Coding = 'shard' if name == 'ours_bounded' else 'h264'
        return Policy(name, coding, 'codec', tuned.level, tuned.alignment, tuned.thresholds)

    def _ours(self, chosen: ReuseSet, name: str) -> Tuned:
        """The model's calibration where it has one, else thresholds of the search that all methods share.

        What the coding may lose is found either way.
        """
        streamed = name != 'ours_bounded'
        coding, kbps = self.stream
        if self.calibration is None or not chosen.footage.labelled:
            if streamed:
                return self.tune(chosen, name, TOLERANT, coding=coding, level=kbps)
            return self.tune(chosen, name, TOLERANT, coding='shard')
        key = _kind(chosen), name
        if key not in self._tuned:
            tuner, alignment = self._tuner(chosen), self.calibration.alignment
            thresholds = self.calibration.on(self._module(chosen.size).plan)
            if streamed:
                self._tuned[key] = tuner.judged(alignment, 'codec', thresholds, coding=coding, level=kbps)
            else:
                self._tuned[key] = tuner.bounded(alignment, thresholds, budget=self.settings.budget)
        return self._tuned[key]

    def _matched(self, chosen: ReuseSet, name: str, coding: Coding, levels: Sequence[int]) -> Policy:
        """The lowest level whose loss is within the budget, on the very set: as good as a baseline can be chosen."""
        dense = self.dense_accuracy(chosen)
        for level in levels:
            policy = Policy(name, coding, 'none', level)
            counts = sum(record.passes[0].counts.sum(0) for record in self.record(chosen, policy))
            if 1 - float(iou(counts)[0]) / dense <= self.settings.budget:
                break
        return policy

    def _tuner(self, chosen: ReuseSet) -> Tuner:
        kind = _kind(chosen)
        if kind not in self._tuners:
            s = self.settings
            footage = chosen.tuning or streets(self.model, self.size, s.cache, s.tuning, s.tuning_frames, self._say)
            found_on = chosen.key if chosen.tuning else f'{s.tuning}:{s.tuning_frames}'
            fingerprint = f'{self._fingerprint(chosen.size)}|{found_on}'
            self._tuners[kind] = Tuner(self._module(chosen.size), footage, s.records, fingerprint)
        return self._tuners[kind]

    def _module(self, size: tuple[int, int]) -> sparse.SparseModule:
        if size not in self._modules:
            example = (torch.zeros(1, 3, *size, dtype=torch.uint8),)
            self._modules[size] = sparse.compile(
                self.model, example, dense_above=dense_above(torch.float32, self.calibration)
            )
        return self._modules[size]

    def _recorder(self, size: tuple[int, int]) -> Recorder:
        if size not in self._recorders:
            module = self._module(size)
            classes = len(self._entry.labels)
            self._recorders[size] = Recorder(module, classes, self.settings.records, self._fingerprint(size))
        return self._recorders[size]

    def _fingerprint(self, size: tuple[int, int]) -> str:
        """What everything that is computed depends on: the weights, the input's size, the engine's backend."""
        return f'{self._entry.checksum}:{size}:{self._module(size).backend}:{VERSION}'


def _kind(chosen: ReuseSet) -> str:
    return 'street' if chosen.footage.labelled else chosen.name
