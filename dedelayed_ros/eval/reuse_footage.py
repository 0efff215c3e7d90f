"""What the reuse tables are made of: clips in sets of strong and mild motion, and how else their motion can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.sequences import Sequences, Step, recorded, streets
from dedelayed_ros.frames import MotionField

PAPER_WIDTH = 1024
PAPER_MV_STD = {'strong': 23.5, 'mild': 10.7}  # pixels at that width: DAVIS and 3DPW (FluxShard, Table I)
_TRIALS, _NEAR = 200, 6  # of the search for a homography; quarter pixels within which a block agrees with it


@dataclass(frozen=True)
class MotionStatistics:
    """Of a set's motion vectors, in pixels of its own frames: standard deviation of their length and direction taken
    together (the root of both axes' variances), mean length, share of blocks at rest, 0–1.
    """

    std: float
    mean: float
    still: float
    width: int

    @property
    def std_at_paper(self) -> float:
        """The same deviation in pixels of frames as wide as the paper's."""
        return self.std * PAPER_WIDTH / self.width


@dataclass(frozen=True)
class ReuseSet:
    """``name`` of the set as it is called in the tables, its clips, and what else they are found by (``key``).

    ``tuning``: other pictures of the same kind, for thresholds; None: those of all streets.
    """

    name: str
    footage: Sequences
    motion: MotionStatistics
    key: str
    tuning: Sequences | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the model's input."""
        image = self.footage.clips[0][0].image
        return int(image.shape[-2]), int(image.shape[-1])


def street_sets(
    model: nn.Module,
    size: tuple[int, int],
    cache: Path,
    seeds: range,
    frames: int,
    each: int,
    say: Callable[[str], None],
) -> list[ReuseSet]:
    """The streets of ``seeds`` whose motion is strongest, and those whose motion is mildest, ``each`` clips."""
    ordered = sorted(seeds, key=lambda seed: _strength(cache, seed, say))
    chosen = {'street_strong': ordered[len(ordered) - each :], 'street_mild': ordered[:each]}
    found = []
    for name, members in chosen.items():
        clips: list[list[Step]] = []
        for seed in sorted(members):
            clips += streets(model, size, cache, range(seed, seed + 1), frames, say).clips
        key = f'{name}:{sorted(members)}:{frames}'
        found.append(as_set(name, Sequences(name, clips, True), key))
    return found


def clip_set(model: nn.Module, size: tuple[int, int], uri: str, frames: int, tuning: int) -> ReuseSet:
    """A video, cut where the codec finds no motion; the dense model's mask is the truth.

    The first ``tuning`` frames of its first shot are for thresholds, the next ``frames`` are judged.

    Raises:
        InputError: it is too short for that.
    """
    shots = recorded(model, size, uri, tuning + frames)
    name = f'clip:{Path(uri).stem}'
    if not shots.clips or len(shots.clips[0]) < 2:
        raise InputError(f'{uri} has no two frames in a row; choose a longer clip')
    cut = min(tuning, len(shots.clips[0]))
    rest = shots.clips[0][cut:]
    judged = [clip for clip in ([replace(step, motion=None) for step in rest[:1]] + rest[1:], *shots.clips[1:])
              if len(clip) > 1]  # fmt: skip
    if not judged:
        raise InputError(f'{uri} has nothing left to judge after {tuning} frames for thresholds; choose a longer clip')
    beginning = replace(shots, clips=[shots.clips[0][:cut]])
    return as_set(name, replace(shots, clips=judged), f'{uri}:{tuning}:{frames}', beginning)


def as_set(name: str, footage: Sequences, key: str, tuning: Sequences | None = None) -> ReuseSet:
    """A set and its statistics."""
    motions = [step.motion for clip in footage.clips for step in clip if step.motion is not None]
    return ReuseSet(name, footage, statistics(motions), key, tuning)


def statistics(motions: Sequence[MotionField]) -> MotionStatistics:
    """Of all valid blocks of all fields."""
    vectors = np.concatenate([motion.qpel[motion.valid].astype(np.float64) / 4 for motion in motions])
    return MotionStatistics(
        float(np.sqrt(vectors.var(0).sum())),
        float(np.hypot(vectors[:, 0], vectors[:, 1]).mean()),
        float((vectors == 0).all(1).mean()),
        motions[0].size[1],
    )


def _strength(cache: Path, seed: int, say: Callable[[str], None]) -> float:
    from dedelayed_ros.train import footage
    from dedelayed_ros.train.config import FootageConfig

    (clip,) = footage.prepare(cache, FootageConfig('validation', seed, 1, 52, (30.0,)), 1, say)
    return statistics(clip.motions[1:]).std


def with_motion(footage: Sequences, change: Callable[[MotionField], MotionField]) -> Sequences:
    """The same clips with every motion field told in another way."""
    return replace(
        footage,
        clips=[
            [replace(step, motion=None if step.motion is None else change(step.motion)) for step in clip]
            for clip in footage.clips
        ],
    )


def at_rest(motion: MotionField) -> MotionField:
    """Nothing moved: a cache in fixed coordinates, DeltaCNN's."""
    return MotionField.identity(motion.size, motion.block)


def one_homography(motion: MotionField) -> MotionField:
    """The field of the one homography that most of the blocks agree with, MotionDeltaCNN's way to move a cache.

    It is found by RANSAC over the codec's vectors and least squares over those that agree, and read at the blocks'
    centres. With fewer than four valid blocks nothing moves.
    """
    rows, cols = np.indices(motion.valid.shape)
    now = np.stack([cols, rows], -1).astype(np.float64) * motion.block + motion.block / 2
    known = motion.valid.reshape(-1)
    target = now.reshape(-1, 2)
    source = target - motion.qpel.reshape(-1, 2) / 4
    if known.sum() < 4:
        return at_rest(motion)
    scale = float(max(motion.size))
    matrix = _ransac(target[known] / scale, source[known] / scale, _NEAR / 4 / scale)
    moved = target - _project(matrix, target / scale) * scale
    limit = 4 * float(max(motion.size))
    qpel = np.clip(np.rint(4 * moved), -limit, limit).astype(np.int16).reshape(motion.qpel.shape)
    return MotionField(motion.size, qpel, block=motion.block)


def _ransac(target: np.ndarray, source: np.ndarray, near: float) -> np.ndarray:
    """float64 [3, 3]: the homography from ``target`` to ``source``, both float64 [n, 2], within ``near`` of most."""
    rng = np.random.default_rng(0)
    best = np.ones(len(target), bool)
    agreed = -1
    for _ in range(_TRIALS):
        drawn = rng.choice(len(target), 4, replace=False)
        error = np.abs(_project(_fit(target[drawn], source[drawn]), target) - source).max(1)
        if (error <= near).sum() > agreed:
            best, agreed = error <= near, int((error <= near).sum())
    return _fit(target[best], source[best]) if agreed >= 4 else np.eye(3)


def _fit(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """float64 [3, 3] in least squares (direct linear transform, last element 1)."""
    x, y = target.T
    u, v = source.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1),
        ]
    )
    solution = np.linalg.lstsq(rows, np.concatenate([u, v]), rcond=None)[0]
    return np.append(solution, 1.0).reshape(3, 3)


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        mapped = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
        return np.nan_to_num(mapped[:, :2] / mapped[:, 2:], nan=0.0, posinf=0.0, neginf=0.0)
