"""Carrying remote features to now: which frame they belong to, and how its content has moved since.

The cloud answers for a frame that is already past. This module follows the motion of every picture since, from the
answered frame to the current one, corrects it by the two pictures, and warps the features by it on every frame until a
newer answer comes (FluxShard's remapping applied to DeDelayed's features). Interpolation errors do not add up: each
frame warps the answer as it arrived, never a warped one. Those of the motion do not either: what one frame corrected,
the next goes on from.
"""

from __future__ import annotations

import ctypes
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dedelayed_ros import native
from dedelayed_ros.motion_track import MotionLost, MotionTrack

if TYPE_CHECKING:
    import numpy as np

    from dedelayed_ros.frames import MotionField
    from dedelayed_ros.link import FeatureRecord


CELL = 16
"""Pixels of the remote model's input that a cell of the features covers: one H.264 block."""


def warp_features(
    features: torch.Tensor, motion: MotionField | None, *, cell: int = CELL, split: int = 1
) -> torch.Tensor:
    """Features [..., C, h, w] of an earlier frame moved to now, zero where their source is out of the frame.

    ``motion``: from that frame to now, over a picture of any size; None: it is the same frame. ``split``: channels of a
    cell describe split × split parts of it, as in ``pixel_shuffle``, and each part is carried by itself, by the vector
    under its centre: motion of less than a cell then moves what is in the cells, which no interpolation between whole
    cells can do.
    """
    if motion is None:
        return features
    h, w = features.shape[-2:]
    motion = motion.resized((h * cell, w * cell), cell // split)
    if features.dtype is torch.float32 and features.shape[-3] % split**2 == 0 and not features.requires_grad:
        library = native.library()
        if library is not None:
            return _warp_natively(library, features, motion, split)
    if split == 1:
        return motion.warp(features, stride=cell, mode='bilinear')[0]
    parts, _ = motion.warp(torch.pixel_shuffle(features, split), stride=cell // split, mode='bilinear')
    return torch.pixel_unshuffle(parts, split)


def _warp_natively(library: ctypes.CDLL, features: torch.Tensor, motion: MotionField, split: int) -> torch.Tensor:
    """The same on the CPU kernels, for one motion vector a part. They read and write cell by cell."""
    channels, h, w = features.shape[-3:]
    cells = features.reshape(-1, channels, h, w).contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(cells)
    for before, after in zip(cells, out, strict=True):
        status = library.dedelayed_carry(
            ctypes.c_void_p(before.data_ptr()),
            channels // split**2,
            h,
            w,
            split,
            motion.block * split,
            ctypes.c_void_p(motion.qpel.ctypes.data),
            ctypes.c_void_p(motion.valid.ctypes.data),
            ctypes.c_void_p(after.data_ptr()),
        )
        native.check(status, 'dedelayed_carry')
    return out.reshape(features.shape)


@dataclass(frozen=True)
class CarriedFeatures:
    """A remote answer aligned to the current frame.

    ``features`` float32 [1, C, h, w], zero where the content was outside the frame that the cloud saw; ``age_ms``
    from that frame's capture to the current frame's; ``fresh`` on the first frame that uses this answer.
    """

    features: torch.Tensor
    age_ms: float
    record: FeatureRecord
    fresh: bool


@dataclass(frozen=True)
class _Step:
    """One picture of the stream, and its number in the track."""

    sequence: int
    stamp_ns: int
    number: int


class FeatureCarrier:
    """The remote features of one stream, and the motion that brings them to now.

    Call :meth:`advance` for every picture of the stream in order, :meth:`offer` when an answer arrives, and
    :meth:`current` where a mask is wanted. Not thread-safe: its owner serialises the calls.

    The motion is that of a :class:`~dedelayed_ros.motion_track.MotionTrack`, on one block for each of the split × split
    parts of a cell: each follows its own way. Where both the picture that the answer is of and the newest one were
    given to :meth:`advance`, it is corrected by them; else it is the codec's, composed. Pictures are kept for as long
    as an answer for them may still be used.

    ``features_size`` is the cells (h, w) of the features' grid, ``channels`` what an answer has (None: any), ``size``
    the (H, W) of the pictures that they are followed by (None: ``cell`` pixels a cell); ``cell`` and ``split`` are
    those of :func:`warp_features`. ``decode`` makes features [1, F, h, w] of what an answer holds, once an answer;
    None: it holds features. ``staleness_s``: an answer older than this is dropped (seconds). Dropped answers are
    counted by reason in ``dropped``.
    """

    # Ten seconds at 30 Hz: any staleness limit that makes sense is shorter, and it is five megabytes.
    _MEMORY = 300

    def __init__(
        self,
        features_size: tuple[int, int],
        *,
        channels: int | None = None,
        size: tuple[int, int] | None = None,
        cell: int = CELL,
        split: int = 1,
        decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
        staleness_s: float = 0.6,
    ) -> None:
        self._grid = features_size
        rows, columns = features_size
        self._size = (rows * cell, columns * cell) if size is None else size
        self._block = max(1, min(self._size[0] // (rows * split), self._size[1] // (columns * split)))
        self._channels = channels
        self._cell, self._split = cell, split
        self._decode = decode
        self._features: torch.Tensor | None = None  # of the record in use
        self._staleness_ms = staleness_s * 1e3
        self._steps: deque[_Step] = deque(maxlen=self._MEMORY)
        self._track = MotionTrack(self._MEMORY)
        self._waiting: FeatureRecord | None = None
        self._record: FeatureRecord | None = None
        self._seen = 0  # number of the record's frame
        self._motion: MotionField | None = None  # from the record's frame to the newest step; None: the same frame
        self._fresh = False
        self.dropped: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget everything: the next picture starts a stream."""
        self._steps.clear()
        self._track = MotionTrack(self._MEMORY)
        self._waiting = self._record = self._features = self._motion = None

    def cut(self) -> None:
        """The newest step shows another scene: nothing from before it can be carried."""
        if self._record is not None:
            self._drop('scene cut')
        self._track.cut()

    def advance(
        self, sequence: int, stamp_ns: int, motion: MotionField | None, picture: np.ndarray | None = None
    ) -> None:
        """The stream's next picture, whether or not a mask is made of it.

        ``motion`` leads from the previous picture to this one; None when it is unknown (a lost picture), which breaks
        the chain: answers for earlier frames cannot be carried across. ``picture`` uint8 [H, W, 3] is the frame itself,
        of the carrier's ``size``; it must not change afterwards.
        """
        if self._steps and sequence <= self._steps[-1].sequence:
            self.reset()  # the camera was restarted and counts anew
        if motion is not None:
            motion = motion.resized(self._size, self._block)
        self._steps.append(_Step(sequence, stamp_ns, self._track.append(stamp_ns, motion, picture)))
        self._track.forget(stamp_ns - round(self._staleness_ms * 1e6))
        if self._record is None:
            return
        if motion is None:
            self._drop('motion lost')
        else:
            self._motion = motion if self._motion is None else self._motion.compose(motion)

    def offer(self, record: FeatureRecord) -> None:
        """An answer arrived; the one for the newest frame wins, whatever the order of arrival."""
        channels, *grid = record.features.shape
        if tuple(grid) != self._grid or self._channels not in (None, channels):
            self.dropped['wrong shape'] += 1
            return
        if any(known is not None and record.stamp_ns <= known.stamp_ns for known in (self._record, self._waiting)):
            self.dropped['superseded'] += 1
            return
        self._waiting = record

    def current(self) -> CarriedFeatures | None:
        """The newest answer aligned to the newest step, or None when there is none that can be used."""
        if self._waiting is not None:
            self._take(self._waiting)
        if self._record is None:
            return None
        now = self._steps[-1]
        age_ms = (now.stamp_ns - self._record.stamp_ns) * 1e-6
        if age_ms > self._staleness_ms:
            self._drop('stale')
            return None
        if self._features is None:
            answer = torch.from_numpy(self._record.features)[None]
            decoded = answer if self._decode is None else self._decode(answer)
            self._features = decoded.contiguous(memory_format=torch.channels_last)
        if self._motion is not None:
            self._motion = self._track.corrected(self._motion, self._seen, now.number)
        features = warp_features(self._features, self._motion, cell=self._cell, split=self._split)
        fresh, self._fresh = self._fresh, False
        return CarriedFeatures(features, age_ms, self._record, fresh)

    def _take(self, record: FeatureRecord) -> None:
        """Make ``record`` the answer in use, if the way from its frame to now is known."""
        if not self._steps or record.stamp_ns > self._steps[-1].stamp_ns:
            return  # answered before this side came to the frame: it waits
        self._waiting = None
        # Those of the stream before it was reset are not among the steps.
        seen = next((step for step in reversed(self._steps) if step.stamp_ns <= record.stamp_ns), self._steps[0])
        if (seen.sequence, seen.stamp_ns) != (record.sequence, record.stamp_ns):
            self.dropped['unknown frame'] += 1
            return
        try:
            motion = self._track.way(seen.number, self._steps[-1].number)
        except MotionLost:
            self.dropped['motion lost'] += 1
            return
        self._record, self._seen, self._features, self._motion, self._fresh = record, seen.number, None, motion, True

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        self._record = self._features = self._motion = None
