"""Bringing each image together with its motion, which comes later and by another topic, without waiting long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField
    from dedelayed_ros.nodes.messages import CodedFrame

_PICTURES = 300  # motion that waits for images: ten seconds at 30 Hz
_TICK_S = 0.05  # how often a waiting joiner looks whether anybody still sends motion
_RESTART_NS = 10**9  # a stamp that is older than the last one by more than this begins a stream anew


@dataclass(frozen=True)
class CameraImage:
    """An image as it arrived. ``sequence`` is None where nobody told it. ``arrived_s``: time.monotonic()."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    stamp_ns: int
    frame_id: str
    arrived_s: float
    sequence: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A picture of the stream that no mask is made of; its motion counts all the same."""

    stamp_ns: int
    sequence: int
    motion: MotionField | None
    coded: CodedFrame


@dataclass(frozen=True)
class Work:
    """The next image to segment. ``motion`` leads to it from the picture before: the last of ``skipped``, if any.

    ``coded`` is its own coded frame, where that came in time. ``late`` are those of images that went without them.
    """

    frame: CameraImage
    sequence: int
    motion: MotionField | None
    intra_ratio: float
    keyframe: bool
    skipped: tuple[Skipped, ...]
    coded: CodedFrame | None = None
    late: tuple[CodedFrame, ...] = ()


class Joiner:
    """Joins images and coded frames of one stream by stamp, in order. Any thread offers; one takes with :meth:`next`.

    An image waits for its coded frame at most ``wait_s``, and not at all when ``expects_motion()`` is false or when a
    later coded frame has come already. With more than ``depth`` images waiting, only the newest is kept.
    """

    def __init__(self, *, wait_s: float, depth: int, expects_motion: Callable[[], bool]) -> None:
        self.wait_s = wait_s
        self.depth = depth
        self.dropped = 0
        """Images that were given up because the taker could not keep up."""
        self.unmatched = 0
        """Images that had to go without their motion although somebody sends it."""
        self._expects_motion = expects_motion
        self._changed = threading.Condition()
        self._images: deque[CameraImage] = deque()
        self._coded: deque[CodedFrame] = deque(maxlen=_PICTURES)
        self._closed = False
        self._last_ns: int | None = None  # stamp of the image that was taken last
        self._last_sequence: int | None = None  # its place in the chain of motion; None while that is not known
        self._counted = -1

    def offer_image(self, image: CameraImage) -> None:
        """An image arrived."""
        with self._changed:
            newest = self._images[-1].stamp_ns if self._images else self._last_ns
            if newest is not None and image.stamp_ns < newest - _RESTART_NS:
                self._restart(image.stamp_ns)
            self._images.append(image)
            if len(self._images) > self.depth:
                self.dropped += len(self._images) - 1
                while len(self._images) > 1:
                    self._images.popleft()
            self._changed.notify_all()

    def offer_coded(self, coded: CodedFrame) -> None:
        """A coded frame arrived."""
        with self._changed:
            if self._coded and coded.stamp_ns < self._coded[-1].stamp_ns:
                self._coded.clear()
            self._coded.append(coded)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake the taker for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def next(self) -> Work | None:
        """The next image with all that is known about how it came about; blocks. None after :meth:`close`."""
        with self._changed:
            while not self._closed:
                patience_s = self._patience_s()
                if patience_s is not None and patience_s <= 0:
                    return self._take(self._images.popleft())
                self._changed.wait(min(patience_s, _TICK_S) if patience_s is not None else None)
        return None

    # -- with the lock held

    def _patience_s(self) -> float | None:
        """How long the oldest image may still wait; None when there is no image."""
        if not self._images:
            return None
        image = self._images[0]
        # An image without a stamp, or one as old as the last, cannot be found by its stamp.
        joinable = image.stamp_ns != 0 and (self._last_ns is None or image.stamp_ns > self._last_ns)
        decided = bool(self._coded) and self._coded[-1].stamp_ns >= image.stamp_ns
        if decided or not joinable or not self._expects_motion():
            return 0.0
        return image.arrived_s + self.wait_s - time.monotonic()

    def _take(self, image: CameraImage) -> Work:
        skipped: list[Skipped] = []
        late: list[CodedFrame] = []
        mine: CodedFrame | None = None
        while self._coded and self._coded[0].stamp_ns <= image.stamp_ns:
            coded = self._coded.popleft()
            if self._last_ns is not None and coded.stamp_ns <= self._last_ns:
                # The image went before its motion came: now at least its place in the chain is known.
                late.append(coded)
                if coded.stamp_ns == self._last_ns:
                    self._last_sequence = coded.sequence
                continue
            if coded.stamp_ns == image.stamp_ns:
                mine = coded
                break
            skipped.append(Skipped(coded.stamp_ns, coded.sequence, self._motion(coded, image), coded))
            self._last_sequence = self._counted = coded.sequence
        motion = None if mine is None else self._motion(mine, image)
        if mine is None:
            self.unmatched += self._expects_motion()
            sequence = self._counted + 1 if image.sequence is None else image.sequence
            self._last_sequence = None
        else:
            sequence = self._last_sequence = mine.sequence
        self._counted, self._last_ns = sequence, image.stamp_ns
        return Work(
            image,
            sequence,
            motion,
            0.0 if mine is None else mine.picture.intra_ratio,
            mine is not None and mine.picture.keyframe,
            tuple(skipped),
            mine,
            tuple(late),
        )

    def _motion(self, coded: CodedFrame, image: CameraImage) -> MotionField | None:
        """The motion of a coded frame if it continues the chain: from the picture handed out before it."""
        before = self._last_sequence
        if before is None or coded.picture.size != image.image.shape[:2]:
            return None
        # A key frame does not say what came before it: then only an unbroken count tells.
        follows = coded.sequence == before + 1 if coded.picture.keyframe else coded.reference == before
        return coded.picture.motion if follows else None

    def _restart(self, begin_ns: int) -> None:
        """Forget what belongs to the stream before; what came first of the new one stays."""
        self._images.clear()
        ours = [coded for coded in self._coded if coded.stamp_ns <= begin_ns + _RESTART_NS]
        self._coded.clear()
        self._coded.extend(ours)
        self._last_ns = self._last_sequence = None
        self._counted = -1
