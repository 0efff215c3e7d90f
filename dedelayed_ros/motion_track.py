"""The motion between any two pictures of a stream, by what the codec said and what the pictures show.

Composed over many frames, codec vectors go astray; what corrects them (:mod:`dedelayed_ros.refine`) finds a block only
near to where it was expected. So the way is corrected in spans of a sixth of a second, each by the two pictures at its
ends, and a long way goes by these: it is nowhere further astray than one span's motion.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from dedelayed_ros.frames import MotionField
from dedelayed_ros.refine import refined

_SPAN_NS = 150_000_000  # of a span at least: five frames at 30 Hz, three at 15


class MotionLost(Exception):
    """The way between two pictures leads over one whose motion is not known."""


class MotionTrack:
    """The pictures of one stream, numbered from 0 in the order in which they came.

    ``memory``: how many pictures' motion is kept; a way that begins before them is lost.
    """

    def __init__(self, memory: int = 300) -> None:
        self._memory = memory
        self._count = 0
        self._motions: dict[int, MotionField | None] = {}  # to each picture from the one before it
        self._pictures: dict[int, tuple[int, np.ndarray]] = {}  # with their stamps, oldest first
        self._next: dict[int, int] = {}  # where a span ends, by where it begins
        self._spans: dict[int, MotionField] = {}  # those that were asked for, by where they begin
        self._anchor: tuple[int, int] | None = None  # where the newest span begins, and its stamp

    def append(self, stamp_ns: int, motion: MotionField | None, picture: np.ndarray | None = None) -> int:
        """The number of the next picture.

        ``motion`` leads to it from the one before, None: not known; all of one size and block. ``picture``: uint8
        [H, W, 3] of the motion's size, not to be written to afterwards; without it no span begins or ends here.
        """
        number = self._count
        self._count += 1
        self._motions[number] = motion
        self._motions.pop(number - self._memory, None)
        if picture is not None:
            self._pictures[number] = stamp_ns, picture
            if self._anchor is None or stamp_ns - self._anchor[1] >= _SPAN_NS or stamp_ns < self._anchor[1]:
                if self._anchor is not None and self._anchor[0] in self._pictures:
                    self._next[self._anchor[0]] = number
                self._anchor = number, stamp_ns
        return number

    def cut(self) -> None:
        """The newest picture shows another scene: no way leads to it."""
        newest = self._count - 1
        self._motions[newest] = None
        self._spans = {begin: span for begin, span in self._spans.items() if self._next[begin] != newest}

    def forget(self, stamp_ns: int) -> None:
        """Pictures older than that are let go: ways from them cannot be corrected any more."""
        while self._pictures:
            number, (stamp, _) = next(iter(self._pictures.items()))
            if stamp >= stamp_ns:
                return
            del self._pictures[number]
            self._next.pop(number, None)
            self._spans.pop(number, None)

    def pictures(self) -> int:
        """How many pictures are kept."""
        return len(self._pictures)

    def way(self, earlier: int, later: int) -> MotionField | None:
        """Motion from picture ``earlier`` to ``later``, composed of spans and frames (Eq. 15); None: they are the same.

        Raises:
            MotionLost: some of it is not known.
        """
        whole: MotionField | None = None
        while earlier < later:
            end = self._next.get(earlier, later + 1)
            if end <= later:
                motion = self._span(earlier, end)
            else:
                end, motion = earlier + 1, self._step(earlier + 1)
            whole = motion if whole is None else whole.compose(motion)
            earlier = end
        return whole

    def corrected(self, motion: MotionField, earlier: int, later: int) -> MotionField:
        """``motion`` between two pictures, corrected by them where both are there."""
        if earlier not in self._pictures or later not in self._pictures:
            return motion
        return refined(motion, self._pictures[earlier][1], self._pictures[later][1])

    def _step(self, number: int) -> MotionField:
        motion = self._motions.get(number)
        if motion is None:
            raise MotionLost(f'the motion to picture {number} of the stream is not known')
        return motion

    def _span(self, begin: int, end: int) -> MotionField:
        if begin not in self._spans:
            motion = reduce(MotionField.compose, (self._step(number) for number in range(begin + 1, end + 1)))
            self._spans[begin] = self.corrected(motion, begin, end)
        return self._spans[begin]
