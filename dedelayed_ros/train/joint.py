"""The last stage: prediction, fusion and the local model together, on features carried by real codec motion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dedelayed_ros.carry import CELL, warp_features
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.train.augment import photometric
from dedelayed_ros.train.config import JointConfig
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.losses import segmentation_loss
from dedelayed_ros.train.precision import autocast
from dedelayed_ros.train.pretrain import SingleFrames
from dedelayed_ros.train.rare import RareFrames

_GAPS_MS = (33.0, 200.0)  # between the frames that a server finds time for


@torch.inference_mode()
def encode_clips(
    model: RemoteModel, clips: Sequence[Clip], folder: Path, key: str, say: Callable[[str], None] = print
) -> list[np.ndarray]:
    """The frozen encoder's maps of all decoded frames, float16 [N, C, h, w] a clip, cached in ``folder`` by ``key``."""
    folder.mkdir(parents=True, exist_ok=True)
    maps = []
    for number, clip in enumerate(clips, 1):
        path = folder / f'{clip.folder.parent.name}-{clip.folder.name}-{key}.npy'
        if not path.is_file():
            encoded = []
            for frames in np.array_split(np.arange(len(clip)), math.ceil(len(clip) / 4)):
                images = torch.from_numpy(np.array(clip.decoded[frames])).permute(0, 3, 1, 2).float() / 255.0
                with autocast():
                    encoded.append(model.encode(images).to(torch.float16).contiguous().numpy())
            partial = path.with_suffix('.partial.npy')
            np.save(partial, np.concatenate(encoded))
            partial.replace(path)
            if number % 20 == 0 or number == len(clips):
                say(f'encoded {number}/{len(clips)} clips')
        maps.append(np.load(path, mmap_mode='r'))
    return maps


@dataclass(frozen=True)
class Answer:
    """What the cloud knew: a clip, the frames of its history (oldest first), the delay it was told, and the frame that
    its features describe: the newest of its history, or that of their arrival.
    """

    clip: int
    history: tuple[int, ...]
    told_ms: float
    described: int


def history_of(newest: int, rate: float, rng: np.random.Generator) -> tuple[int, ...]:
    """The frames up to ``newest`` that a server found time for, oldest first, of a clip of ``rate`` frames a second."""
    history = [newest]
    for _ in range(HISTORY - 1):
        gap = max(1, round(rng.uniform(*_GAPS_MS) * 1e-3 * rate))
        # A stream that has just begun repeats its oldest frame.
        history.append(history[-1] - gap if history[-1] >= gap else history[-1])
    return tuple(reversed(history))


class JointTask:
    """Fused loss on carried features, local-only loss, and the remote model's own loss, both where its features are and
    where they were carried to.

    The remote encoder is frozen (its maps come from ``maps``); everything after it trains. ``stills`` maps single
    frames without motion: they add scenes, with answers that have no delay. The local-only loss is of as many pictures
    of ``alone``, cut and turned as in the local model's own stage: it must not lose there what it learnt from them.
    """

    def __init__(
        self,
        local: LocalModel,
        remote: RemoteModel,
        clips: tuple[Sequence[Clip], Sequence[np.ndarray]],
        stills: tuple[Sequence[Clip], Sequence[np.ndarray]],
        alone: Sequence[Clip],
        stage: JointConfig,
        weights: Tensor,
    ) -> None:
        for part in (remote.encoder, remote.image_head):
            for parameter in part.parameters():
                parameter.requires_grad_(False)
        for parameter in local.parameters():
            parameter.requires_grad_(True)
        self.local, self.remote = local, remote
        divided = ('remote.bottleneck.', 'remote.feature_head.') if stage.fine else ()
        self._begins_anew = ('local.fusion', *divided)
        self.model: nn.Module = nn.ModuleDict({'local': local, 'remote': remote})
        self._clips, self._maps = clips
        self._stills, self._still_maps = stills
        size = (stage.crop[0] // 2, stage.crop[1] // 2)
        self._draw_clip, self._draw_still = RareFrames(clips[0], stage.rare), RareFrames(stills[0], stage.rare)
        self._alone = SingleFrames(alone, stage, size, decoded=0.0)
        self._stage = stage
        self._weights = weights

    def rate_factor(self, name: str) -> float:
        # What is already trained moves slowly.
        return 1.0 if name.startswith(self._begins_anew) else 0.4

    def losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        self.remote.encoder.eval()
        self.remote.image_head.eval()
        stage = self._stage
        later = stage.batch // stage.windows
        answers = [self._answer(rng) for _ in range(stage.windows - 1)]
        uses = [(index, use) for index, answer in enumerate(answers) for use in self._uses(answer, later, rng)]
        single = [self._draw_still(rng) for _ in range(later)]

        history = [self._maps[a.clip][list(a.history)] for a in answers]
        history += [np.repeat(self._still_maps[c][i : i + 1], HISTORY, 0) for c, i in single]
        ages = [[self._age_ms(a.clip, a.history[-1], i) for i in a.history] for a in answers]
        ages += [[0.0] * HISTORY] * len(single)
        told = [a.told_ms for a in answers] + [float(rng.uniform(0, stage.longest_delay_ms)) for _ in single]

        pictures = [self._clips[answers[index].clip].images[now] for index, now in uses]
        pictures += [self._stills[c].images[i] for c, i in single]
        labels = [self._clips[answers[index].clip].labels[now] for index, now in uses]
        labels += [self._stills[c].labels[i] for c, i in single]
        ahead = [self._age_ms(a.clip, a.described, a.history[-1]) for a in answers] + [0.0] * len(single)
        described = [self._clips[a.clip].labels[a.described] for a in answers]
        described += [self._stills[c].labels[i] for c, i in single]
        images = photometric(_half_size(pictures), rng)
        alone_images, alone_targets = self._alone.batch(rng)
        targets, described_targets = (torch.from_numpy(np.stack(parts)) for parts in (labels, described))
        own_targets = torch.cat((described_targets, targets[0 : len(uses) : later]))

        with autocast():
            features = self.remote.predict(
                torch.from_numpy(np.stack(history)), torch.tensor(ages), torch.tensor(told), torch.tensor(ahead)
            ).float()
            carried, age_ms = [], []
            for index, now in uses:
                answer = answers[index]
                clip = self._clips[answer.clip]
                motion_of = clip.motion_between if stage.refined else clip.composed_motion
                motion = motion_of(answer.described, now, CELL // stage.split)
                carried.append(warp_features(features[index], motion, split=stage.split))
                age_ms.append(self._age_ms(answer.clip, now, answer.history[-1]))
            carried += list(features[len(answers) :])
            age_ms += [0.0] * len(single)
            # One use of each answer, as it was carried, beside all answers as they were given.
            shown = range(0, len(uses), later)
            own = self.remote.logits(torch.cat((features, torch.stack([carried[use] for use in shown]))))
            mask = torch.stack([_keep(features.shape[-2:], stage.drop, rng) for _ in carried])
            fused_features = torch.stack(carried) * mask
            # One pass over both halves: the batch-norms then see the mixture that their averages are used for.
            logits = self.local(
                torch.cat((images, alone_images)).contiguous(memory_format=torch.channels_last),
                torch.cat((fused_features, torch.zeros_like(fused_features))),
                torch.tensor(age_ms + age_ms),
            )
        fused, alone_logits = logits.chunk(2)
        quarter = (int(rng.integers(2)), int(rng.integers(2)))
        return {
            'fused': segmentation_loss(fused, targets, self._weights, quarter),
            'local': stage.local_weight * segmentation_loss(alone_logits, alone_targets, self._weights, quarter),
            'remote': 0.3 * segmentation_loss(own, own_targets, self._weights, quarter),
        }

    def _age_ms(self, clip: int, now: int, then: int) -> float:
        return (now - then) / self._clips[clip].rate * 1e3

    def _answer(self, rng: np.random.Generator) -> Answer:
        """A random answer, with frames left after it and irregular ones before it."""
        index, _ = self._draw_clip(rng)
        clip = self._clips[index]
        delay_ms = float(rng.uniform(0.0, self._stage.longest_delay_ms))
        steps = round(delay_ms * 1e-3 * clip.rate)
        newest = int(rng.integers(0, max(1, len(clip) - steps)))
        history = history_of(newest, clip.rate, rng)
        spread = math.log(self._stage.told_spread)
        told_ms = delay_ms * math.exp(rng.uniform(-spread, spread))
        if rng.random() < self._stage.arrival:
            arrival = min(len(clip) - 1, newest + steps)
            return Answer(index, history, self._age_ms(index, arrival, newest), arrival)
        return Answer(index, history, told_ms, newest)

    def _uses(self, answer: Answer, count: int, rng: np.random.Generator) -> list[int]:
        """Frames at which the robot uses the answer, about as late as it was told, up to the longest delay."""
        clip = self._clips[answer.clip]
        newest = answer.history[-1]
        if answer.described != newest:
            return [answer.described] * count
        last = min(len(clip) - 1, newest + int(self._stage.longest_delay_ms * 1e-3 * clip.rate))
        spread = math.log(self._stage.told_spread)
        frames = []
        for _ in range(count):
            delay_ms = answer.told_ms * math.exp(rng.uniform(-spread, spread))
            frames.append(min(last, newest + round(delay_ms * 1e-3 * clip.rate)))
        return frames


def _half_size(pictures: Sequence[np.ndarray]) -> Tensor:
    """uint8 [H, W, 3] each -> uint8 [B, 3, H/2, W/2]."""
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    size = (batch.shape[-2] // 2, batch.shape[-1] // 2)
    return F.interpolate(batch, size=size, mode='bilinear', antialias=True)


def _keep(grid: tuple[int, ...], probability: float, rng: np.random.Generator) -> Tensor:
    """1 where features stay, float32 [1, h, w]; with ``probability`` all, or those of a random box, are dropped."""
    keep = torch.ones(1, *grid)
    draw = rng.random()
    if draw < probability / 2:
        keep.zero_()
    elif draw < probability:
        top, left = int(rng.integers(grid[0])), int(rng.integers(grid[1]))
        keep[:, top : top + int(rng.integers(1, grid[0])), left : left + int(rng.integers(1, grid[1]))] = 0
    return keep
