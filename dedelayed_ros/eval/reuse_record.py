"""The first stage of the reuse tables: what each policy computes, sends and gets right, frame by frame, at one end.

What an endpoint has to recompute depends on when it last computed. A policy is therefore run several times over a clip,
by an endpoint that computes every frame, every fourth, and every sixteenth; what lies between is read between them
(linearly over the logarithm of the gap), and what was not recorded at a frame from the nearest recorded one. The end
that computes nearly all frames, which is the cloud, is thereby exact.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from dedelayed_ros.eval.reuse_coding import (
    COACH_SIMILARITY,
    H264,
    Coded,
    Jpeg,
    delta_bytes,
    mask_bytes,
    plain_bytes,
    quartered,
    raw,
    similarity,
)
from dedelayed_ros.eval.reuse_footage import at_rest, one_homography
from dedelayed_ros.eval.sequences import Sequences, Step
from dedelayed_ros.frames import MotionField
from dedelayed_ros.link import pack_dense, pack_shard, predict
from dedelayed_ros.models.pictures import as_levels
from dedelayed_ros.sparse import Alignment, SparseModule
from dedelayed_ros.train.losses import Confusion

GAPS = (1, 4, 16)
_COMPARED = 4  # every so many frames a dense step is timed as well

Coding = Literal['raw', 'jpeg', 'h264', 'coach', 'plain', 'delta', 'shard']
Told = Literal['codec', 'homography', 'rest', 'none']


@dataclass(frozen=True)
class Policy:
    """How frames are coded, how the cache follows the motion, and what is put up with.

    coding: of the uplink; ``level`` is its bit rate (h264, kbit/s), quality (jpeg), or the grey levels by which a pixel
            may be off (shard).
    motion: how it is told to the engine; 'none' computes every frame in full.
    thresholds: by layer name; ``alignment`` and ``remap`` as the engine's.
    """

    name: str
    coding: Coding
    motion: Told = 'none'
    level: int = 0
    alignment: Alignment = field(default_factory=lambda: Alignment('per_layer'))
    thresholds: Mapping[str, float] = field(default_factory=dict)
    remap: bool = True

    @property
    def sparse(self) -> bool:
        return self.motion != 'none'

    def key(self) -> str:
        """What results depend on, as text."""
        return json.dumps(
            [self.coding, self.motion, self.level, repr(self.alignment), sorted(self.thresholds.items()), self.remap]
        )


@dataclass(frozen=True)
class Pass:
    """One endpoint that computes every ``gap``-th frame of a clip; arrays by computed frame.

    frames int64; recompute and compute ratios, uplink and downlink bytes, processor time of coding and engine (ms), all
    float64; reused bool (the whole output was taken over); counts int64 [n, classes, classes]. ``dense_ms``: of dense
    steps between those of the pass, so that both had the same machine; NaN where there was none.
    """

    gap: int
    frames: np.ndarray
    recompute: np.ndarray
    compute: np.ndarray
    up: np.ndarray
    down: np.ndarray
    coding_ms: np.ndarray
    engine_ms: np.ndarray
    dense_ms: np.ndarray
    reused: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Expected:
    """What an endpoint is in for at a frame; ``counts`` int64 [classes, classes]."""

    recompute: float
    compute: float
    up: float
    down: float
    reused: bool
    counts: np.ndarray


@dataclass(frozen=True)
class ClipRecord:
    """A policy on a clip of ``length`` frames, the first of which is everybody's beginning and is not counted.

    ``whole``: bytes of a frame without any reuse. ``chained``: every frame since the last has to be sent, as with a
    video codec, so that bytes add up over a gap.
    """

    length: int
    whole: int
    chained: bool
    passes: tuple[Pass, ...]

    def at(self, frame: int, gap: int) -> Expected:
        """For an endpoint that last computed ``gap`` frames before ``frame``."""
        gaps = [p.gap for p in self.passes]
        upper = next((k for k, g in enumerate(gaps) if g >= gap), len(gaps) - 1)
        lower = max(upper - 1, 0) if gaps[upper] > gap else upper
        share = 0.0
        if upper != lower:
            share = math.log(gap / gaps[lower]) / math.log(gaps[upper] / gaps[lower])
        a, b = self.passes[lower], self.passes[upper]
        i, j = _nearest(a.frames, frame), _nearest(b.frames, frame)

        def between(name: str) -> float:
            return (1 - share) * float(getattr(a, name)[i]) + share * float(getattr(b, name)[j])

        near, at = (a, i) if share < 0.5 else (b, j)
        up = between('up')
        if self.chained:
            every = self.passes[0]
            up = float(every.up[(every.frames > frame - gap) & (every.frames <= frame)].sum())
        return Expected(
            between('recompute'), between('compute'), min(up, self.whole), between('down'), bool(near.reused[at]),
            near.counts[at],
        )  # fmt: skip


def _nearest(frames: np.ndarray, frame: int) -> int:
    return int(np.abs(frames - frame).argmin())


class Recorder:
    """Runs policies over clips on one compiled model; keeps what it found in ``cache``, a folder, or nowhere (None).

    ``fingerprint``: of the model and whatever else the figures depend on.
    """

    def __init__(self, module: SparseModule, classes: int, cache: Path | None, fingerprint: str) -> None:
        self._module = module
        self._classes = classes
        self._cache = cache
        self._fingerprint = fingerprint
        self.steps = 0  # frames that the engine was run for

    def record(
        self, policy: Policy, clip: Sequence[Step], clip_name: str, *, labelled: bool, gaps: Sequence[int] = GAPS
    ) -> ClipRecord:
        """One clip. ``labelled``: its truth is of the camera's size, not of the logits'."""
        wanted = gaps if policy.sparse else gaps[:1]
        passes = [self._pass(policy, clip, clip_name, gap, labelled) for gap in wanted if gap == 1 or gap < len(clip)]
        image = pixels_of(clip[0])
        return ClipRecord(len(clip), image.nbytes, policy.coding == 'h264', tuple(passes))

    def _pass(self, policy: Policy, clip: Sequence[Step], clip_name: str, gap: int, labelled: bool) -> Pass:
        path = None
        if self._cache is not None:
            text = f'{self._fingerprint}|{policy.key()}|{clip_name}|{len(clip)}|{gap}'
            path = self._cache / f'{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz'
            if path.is_file():
                with np.load(path) as stored:
                    return Pass(gap, *(stored[name] for name in _ARRAYS))
        found = self._run(policy, clip, gap, labelled)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **{name: getattr(found, name) for name in _ARRAYS})
        return found

    @torch.inference_mode()
    def _run(self, policy: Policy, clip: Sequence[Step], gap: int, labelled: bool) -> Pass:
        module = self._module.with_tolerance(policy.alignment, dict(policy.thresholds), remap=policy.remap)
        size = pixels_of(clip[0]).shape[:2]
        coder = Coder(policy, (size[0], size[1]))
        dense = self._module.fork()
        rows: dict[str, list] = {name: [] for name in _ARRAYS}
        since: MotionField | None = None
        answer: tuple[torch.Tensor, float, float] | None = None
        for number, step in enumerate(clip):
            seen = coder.take(step)
            if number:
                motion = coder.motion(step)
                since = motion if since is None else since.compose(motion)
            if number % gap:
                continue
            told = coder.told(since) if number else None
            reused = bool(number) and coder.same()
            seen = coder.sent(seen, told)
            begun = time.process_time()
            if not reused or answer is None:
                logits, stats = module.step(seen, motion=told if policy.sparse else None, copy=False)
                answer = logits[0], stats.recompute_ratio, stats.compute_ratio
                self.steps += 1
            engine_ms = (time.process_time() - begun) * 1e3
            since = None
            if not reused:
                coder.computed()
            if not number:
                continue
            logits0, recompute, compute = answer
            new = module.recompute_set(module.layers[0]).numpy() if policy.sparse else None
            begun = time.process_time()
            up = 0 if reused else coder.size(new, told)
            coding_ms = coder.coding_ms + (time.process_time() - begun) * 1e3
            dense_ms = math.nan
            if gap == 1 and policy.sparse and number % _COMPARED == 1:
                begun = time.process_time()
                dense.step(seen, copy=False)
                dense_ms = (time.process_time() - begun) * 1e3
            mask = logits0.argmax(0).to(torch.uint8).numpy()
            confusion = Confusion(self._classes)
            if labelled:
                confusion.add(logits0, step.truth)
            else:
                confusion.add_mask(mask, step.truth)
            values = {
                'frames': number, 'recompute': recompute, 'compute': 0.0 if reused else compute, 'up': up,
                'down': mask_bytes(mask), 'coding_ms': coding_ms, 'engine_ms': engine_ms, 'dense_ms': dense_ms,
                'reused': reused, 'counts': confusion.counts,
            }  # fmt: skip
            for name, value in values.items():
                rows[name].append(value)
        return Pass(gap, **{name: np.array(values) for name, values in rows.items()})


_ARRAYS = ('frames', 'recompute', 'compute', 'up', 'down', 'coding_ms', 'engine_ms', 'dense_ms', 'reused', 'counts')


class Coder:
    """One clip's uplink: what the endpoint sees of each frame, and what that takes."""

    def __init__(self, policy: Policy, size: tuple[int, int]) -> None:
        self._policy = policy
        self._codec = _codec(policy, size)
        self._bytes = 0  # since something was last sent
        self._image = np.zeros((0, 0, 3), np.uint8)
        self._last: np.ndarray | None = None
        self._replica: np.ndarray | None = None
        self.coding_ms = 0.0

    def take(self, step: Step) -> torch.Tensor:  # [1, 3, H, W]
        """Code a frame; what comes out at the other end."""
        self._image = pixels_of(step)
        if self._codec is raw:
            self.coding_ms, self._bytes = 0.0, self._image.nbytes
            return step.image
        begun = time.process_time()
        seen, size = self._codec(self._image)
        self.coding_ms = (time.process_time() - begun) * 1e3
        # A video stream goes on whoever computes; its bytes add up in the record, not here.
        self._bytes = size
        return as_levels(np.array(seen))

    def motion(self, step: Step) -> MotionField:
        """Motion since the frame before, of the stream that is sent or of the camera's own."""
        if isinstance(self._codec, H264) and self._codec.motion is not None:
            return self._codec.motion
        assert step.motion is not None
        return step.motion

    def told(self, motion: MotionField | None) -> MotionField | None:
        """The motion as this policy tells it to the engine."""
        if motion is None or self._policy.motion in ('codec', 'none'):
            return motion
        return one_homography(motion) if self._policy.motion == 'homography' else at_rest(motion)

    def same(self) -> bool:
        """Whether the frame is so like the last one computed that its output is (COACH)."""
        if self._policy.coding != 'coach' or self._last is None:
            return False
        begun = time.process_time()
        found = similarity(self._image, self._last) >= COACH_SIMILARITY
        self.coding_ms += (time.process_time() - begun) * 1e3
        return found

    def computed(self) -> None:
        """The frame was computed: it is what later ones are compared with."""
        self._last = self._image

    def sent(self, seen: torch.Tensor, motion: MotionField | None) -> torch.Tensor:
        """What the endpoint gets of a frame that it computes, ``motion`` after the last one (None: the first).

        A shard is told against the picture that it has (``link.pack_shard``), everything else as ``take`` has it.
        """
        if self._policy.coding != 'shard':
            return seen
        begun = time.process_time()
        bound = self._policy.level
        if self._replica is None or motion is None:
            data, self._replica = pack_dense(self._image, bound=bound)
        else:
            prediction = predict(self._replica, motion)
            data, self._replica = pack_shard(self._image, prediction, motion, bound=bound)
        self.coding_ms = (time.process_time() - begun) * 1e3
        self._bytes = len(data)
        return as_levels(np.array(self._replica))

    def size(self, new: np.ndarray | None, motion: MotionField | None) -> int:
        """Bytes of the frame; ``new`` bool [H, W] is the recompute set of the input."""
        if new is None or self._policy.coding in ('raw', 'jpeg', 'h264', 'coach', 'shard'):
            return self._bytes
        if self._policy.coding == 'delta':
            return delta_bytes(new)
        assert motion is not None
        return plain_bytes(new, motion)


def _codec(policy: Policy, size: tuple[int, int]) -> Callable[[np.ndarray], Coded]:
    if policy.coding == 'jpeg':
        return Jpeg(policy.level)
    if policy.coding == 'h264':
        return H264(size, policy.level)
    return quartered if policy.coding == 'coach' else raw


def pixels_of(step: Step) -> np.ndarray:
    """The frame of a step, uint8 [H, W, 3]."""
    return np.ascontiguousarray(step.image[0].permute(1, 2, 0).numpy())


def coded(footage: Sequences, policy: Policy) -> Sequences:
    """The same clips as they come out at the other end of the uplink, with the motion that is known there."""
    clips = []
    for clip in footage.clips:
        image = pixels_of(clip[0])
        coder, steps = Coder(policy, (image.shape[0], image.shape[1])), []
        for step in clip:
            seen = coder.take(step)
            motion = None if step.motion is None else coder.motion(step)
            steps.append(replace(step, image=coder.sent(seen, motion), motion=motion))
        clips.append(steps)
    return replace(footage, clips=clips)
