"""Thresholds for every reuse method by one and the same search, so that all of them spend one accuracy budget.

As in FluxShard (section IV-D1) the input's threshold comes first, with its share of the budget. The layers then get one
factor together, in units of how much each layer's values vary: a short search that is the same for all methods, where
`dedelayed calibrate` chooses layer by layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.eval.calibrate import profiled
from dedelayed_ros.eval.reuse_footage import at_rest, one_homography, with_motion
from dedelayed_ros.eval.reuse_record import Coding, Policy, Told, coded
from dedelayed_ros.eval.sequences import Sequences
from dedelayed_ros.sparse import Alignment, SparseModule
from dedelayed_ros.sparse.calibration import stable_names
from dedelayed_ros.train.losses import Confusion

GREY = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
FACTORS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5)
_CAMERA: tuple[Told, Coding, int] = ('codec', 'raw', 0)


@dataclass(frozen=True)
class Tuned:
    """Thresholds by layer name; level of the coding that they go with; how much accuracy they lost where they were
    found (relative); compute ratio over recompute ratio there.
    """

    alignment: Alignment
    thresholds: dict[str, float]
    level: int
    loss: float
    expected: LatencyProfile


@dataclass(frozen=True)
class _Trial:
    miou: float
    pairs: tuple[tuple[float, float], ...]  # recompute and compute ratio of every frame


class Tuner:
    """Searches on ``footage``, which no table is made of, with one compiled module.

    Trials are remembered, and kept in ``cache``, a folder, or nowhere (None), under ``fingerprint``: what they depend
    on besides the thresholds.
    """

    def __init__(self, module: SparseModule, footage: Sequences, cache: Path | None, fingerprint: str) -> None:
        self._module = module
        self._cache = cache
        self._fingerprint = fingerprint
        self._footage: dict[tuple[Told, Coding, int], Sequences] = {_CAMERA: footage}
        self._seen: dict[str, _Trial] = {}
        self._frame = module.layers[0]
        names = {stable: name for name, stable in stable_names(module.plan).items()}
        self._layers = [names[stable] for stable in profiled(module.plan)]
        self._spread = self._spreads()

    @property
    def frames(self) -> int:
        """Frames of a trial."""
        return sum(len(clip) for clip in self._footage[_CAMERA].clips)

    def tune(
        self,
        alignment: Alignment,
        told: Told,
        *,
        budget: float,
        share: float = 2 / 3,
        coding: Coding = 'raw',
        level: int = 0,
    ) -> Tuned:
        """The largest thresholds with which at most ``budget`` of the dense accuracy is lost, relative.

        share: part of the budget for the input's threshold. ``coding``: pictures are those that this makes of the
        camera's, and what that loses counts: an H.264 stream of ``level`` kbit/s, or shards in which pixels may be off
        by as much as the input's threshold.
        """

        def loss(grey: float, factor: float | None) -> float:
            thresholds = {self._frame: grey / 255} if grey else {}
            if factor is not None:
                thresholds.update({name: factor * self._spread[name] for name in self._layers})
            return self._loss(alignment, told, coding, int(grey) if coding == 'shard' else level, thresholds)

        grey = _largest(GREY, lambda grey: loss(grey, None) <= share * budget) or 0.0
        factor = _largest(FACTORS, lambda factor: loss(grey, factor) <= budget)
        best = {self._frame: grey / 255} if grey else {}
        if factor is not None:
            best.update({name: factor * self._spread[name] for name in self._layers})
        return self.judged(alignment, told, best, coding=coding, level=int(grey) if coding == 'shard' else level)

    def bounded(self, alignment: Alignment, thresholds: dict[str, float], *, budget: float) -> Tuned:
        """Given thresholds, with the largest bound of shards whose loss is within ``budget``; 0 where none is."""
        bound = _largest(GREY, lambda grey: self._loss(alignment, 'codec', 'shard', int(grey), thresholds) <= budget)
        return self.judged(alignment, 'codec', thresholds, coding='shard', level=int(bound or 0))

    def judged(
        self,
        alignment: Alignment,
        told: Told,
        thresholds: dict[str, float],
        *,
        coding: Coding = 'raw',
        level: int = 0,
    ) -> Tuned:
        """Given thresholds, with what they lose and compute on the same footage."""
        trial = self._trial(alignment, told, coding, level, thresholds)
        loss = self._loss(alignment, told, coding, level, thresholds)
        return Tuned(alignment, thresholds, level, loss, expected_of(trial.pairs))

    def _loss(
        self, alignment: Alignment, told: Told, coding: Coding, level: int, thresholds: dict[str, float]
    ) -> float:
        dense = self._trial(alignment, told, 'raw', 0, {}).miou
        return 1 - self._trial(alignment, told, coding, level, thresholds).miou / dense

    @torch.inference_mode()
    def _trial(
        self, alignment: Alignment, told: Told, coding: Coding, level: int, thresholds: dict[str, float]
    ) -> _Trial:
        exact = not thresholds and coding == 'raw'
        key = 'dense' if exact else repr((alignment, told, coding, level, sorted(thresholds.items())))
        text = f'{self._fingerprint}|{self.frames}|{key}'
        path = None if self._cache is None else self._cache / f'{hashlib.sha256(text.encode()).hexdigest()[:24]}.json'
        if key not in self._seen and path is not None and path.is_file():
            stored = json.loads(path.read_text())
            self._seen[key] = _Trial(stored['miou'], tuple((pair[0], pair[1]) for pair in stored['pairs']))
        if key not in self._seen:
            module = self._module.with_tolerance(alignment, thresholds)
            footage = self._told(told, coding, level)
            counts, pairs = Confusion(footage.classes), []
            for clip in footage.clips:
                module.reset()
                for step in clip:
                    logits, stats = module.step(step.image, motion=None if exact else step.motion)
                    if step.motion is None:
                        continue
                    mask = logits[0].argmax(0).to(torch.uint8).numpy()
                    rows, cols = step.truth.shape[0] // mask.shape[0], step.truth.shape[1] // mask.shape[1]
                    counts.add_mask(mask, step.truth[rows // 2 :: rows, cols // 2 :: cols])
                    pairs.append((stats.recompute_ratio, stats.compute_ratio))
            self._seen[key] = _Trial(counts.miou(), tuple(pairs))
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(asdict(self._seen[key])))
        return self._seen[key]

    def _told(self, told: Told, coding: Coding, level: int) -> Sequences:
        key = told, coding, level
        if key not in self._footage:
            footage = self._footage[_CAMERA]
            if coding != 'raw':
                footage = coded(footage, Policy('', coding, 'codec', level))
            change: dict[Told, Callable] = {'rest': at_rest, 'homography': one_homography}
            self._footage[key] = with_motion(footage, change[told]) if told in change else footage
        return self._footage[key]

    def _spreads(self) -> dict[str, float]:
        found: dict[str, list[float]] = {name: [] for name in self._layers}
        module = self._module.fork()
        for clip in self._footage[_CAMERA].clips:
            module.reset()
            module.step(clip[0].image)
            for name in self._layers:
                found[name].append(float(module.held(name).std()))
        return {name: float(np.mean(values)) for name, values in found.items()}


def expected_of(pairs: Sequence[tuple[float, float]], bins: int = 6) -> LatencyProfile:
    """Compute ratio over recompute ratio, from (recompute, compute) of frames: means of equally filled bins, and 0 → 0
    and 1 → 1.
    """
    ordered = np.array(sorted(pairs), np.float64).reshape(-1, 2)
    points = {0.0: 0.0, 1.0: 1.0}
    for part in np.array_split(ordered, min(bins, len(ordered))) if len(ordered) else []:
        ratio, compute = part.mean(0)
        if 0 < ratio < 1:
            points[float(ratio)] = float(compute)
    ratios = sorted(points)
    return LatencyProfile(np.array(ratios), np.array([points[ratio] for ratio in ratios]))


def _largest(levels: Sequence[float], fits: Callable[[float], bool]) -> float | None:
    """The largest of the rising ``levels`` that fits, by bisection; None where not even the first does."""
    low, high = -1, len(levels)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(levels[middle]):
            low = middle
        else:
            high = middle
    return levels[low] if low >= 0 else None
