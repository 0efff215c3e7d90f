"""Thresholds for every reuse method by one and the same search, so that all of them spend one accuracy budget.

As in FluxShard (section IV-D1) the input's threshold comes first, with its share of the budget. The layers then get one
factor together, in units of how much each layer's values vary: a short search that is the same for all methods, where
`dedelayed calibrate` chooses layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.eval.calibrate import profiled
from dedelayed_ros.eval.reuse_coding import H264
from dedelayed_ros.eval.reuse_footage import at_rest, one_homography, with_motion
from dedelayed_ros.eval.reuse_record import Told, pixels_of
from dedelayed_ros.eval.sequences import Sequences
from dedelayed_ros.reuse import at_input
from dedelayed_ros.sparse import Alignment, SparseModule
from dedelayed_ros.sparse.calibration import stable_names
from dedelayed_ros.train.losses import Confusion

GREY = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
FACTORS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True)
class Tuned:
    """Thresholds by layer name; how much accuracy they lost where they were found (relative); compute ratio over
    recompute ratio there.
    """

    alignment: Alignment
    thresholds: dict[str, float]
    loss: float
    expected: LatencyProfile


@dataclass(frozen=True)
class _Trial:
    miou: float
    pairs: tuple[tuple[float, float], ...]  # recompute and compute ratio of every frame


class Tuner:
    """Searches on ``footage``, which no table is made of, with one compiled module. Trials are remembered."""

    def __init__(self, module: SparseModule, footage: Sequences) -> None:
        self._module = module
        self._footage: dict[tuple[Told, int], Sequences] = {('codec', 0): footage}
        self._seen: dict[str, _Trial] = {}
        self._frame = module.layers[0]
        names = {stable: name for name, stable in stable_names(module.plan).items()}
        self._layers = [names[stable] for stable in profiled(module.plan)]
        self._spread = self._spreads()

    @property
    def frames(self) -> int:
        """Frames of a trial."""
        return sum(len(clip) for clip in self._footage['codec', 0].clips)

    def tune(self, alignment: Alignment, told: Told, *, budget: float, share: float = 2 / 3, kbps: int = 0) -> Tuned:
        """The largest thresholds with which at most ``budget`` of the dense accuracy is lost, relative.

        share: part of the budget for the input's threshold. ``kbps``: pictures are those of an H.264 stream of that
        rate, whose own loss counts; 0: the camera's.
        """
        dense = self._trial(alignment, told, 0, {}).miou

        def loss(thresholds: dict[str, float]) -> float:
            return 1 - self._trial(alignment, told, kbps, thresholds).miou / dense

        grey = _largest(GREY, lambda level: loss({self._frame: level / 255}) <= share * budget)
        chosen = {} if grey is None else {self._frame: grey / 255}

        def with_layers(factor: float) -> dict[str, float]:
            return {**chosen, **{name: factor * self._spread[name] for name in self._layers}}

        factor = _largest(FACTORS, lambda level: loss(with_layers(level)) <= budget)
        best = chosen if factor is None else with_layers(factor)
        return self.judged(alignment, told, best, kbps=kbps)

    def judged(self, alignment: Alignment, told: Told, thresholds: dict[str, float], *, kbps: int = 0) -> Tuned:
        """Given thresholds, with what they lose and compute on the same footage."""
        trial = self._trial(alignment, told, kbps, thresholds)
        dense = self._trial(alignment, told, 0, {}).miou
        return Tuned(alignment, thresholds, 1 - trial.miou / dense, expected_of(trial.pairs))

    @torch.inference_mode()
    def _trial(self, alignment: Alignment, told: Told, kbps: int, thresholds: dict[str, float]) -> _Trial:
        exact = not thresholds and not kbps
        key = 'dense' if exact else repr((alignment, told, kbps, sorted(thresholds.items())))
        if key not in self._seen:
            module = self._module.with_tolerance(alignment, thresholds)
            footage = self._told(told, kbps)
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
        return self._seen[key]

    def _told(self, told: Told, kbps: int) -> Sequences:
        if (told, kbps) not in self._footage:
            footage = self._footage['codec', 0]
            if kbps:
                footage = decoded(footage, kbps)
            change: dict[Told, Callable] = {'rest': at_rest, 'homography': one_homography}
            self._footage[told, kbps] = with_motion(footage, change[told]) if told in change else footage
        return self._footage[told, kbps]

    def _spreads(self) -> dict[str, float]:
        found: dict[str, list[float]] = {name: [] for name in self._layers}
        module = self._module.fork()
        for clip in self._footage['codec', 0].clips:
            module.reset()
            module.step(clip[0].image)
            for name in self._layers:
                found[name].append(float(module.held(name).std()))
        return {name: float(np.mean(values)) for name, values in found.items()}


def decoded(footage: Sequences, kbps: int) -> Sequences:
    """The same clips as a video stream of ``kbps`` delivers them, with the motion of that stream."""
    clips = []
    for clip in footage.clips:
        image = pixels_of(clip[0])
        size = image.shape[0], image.shape[1]
        codec, steps = H264(size, kbps), []
        for step in clip:
            seen, _ = codec(pixels_of(step))
            tensor = torch.from_numpy(np.ascontiguousarray(seen)).permute(2, 0, 1)[None].float() / 255
            motion = None if step.motion is None or codec.motion is None else at_input(codec.motion, size)
            steps.append(replace(step, image=tensor, motion=motion))
        clips.append(steps)
    return replace(footage, clips=clips)


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
