"""Which pictures can be decoded: each predicts from the one before, so a missing one costs all up to a key frame."""

from __future__ import annotations

from enum import Enum

from dedelayed_ros.link.wire import FrameUp


class SendChain:
    """The robot's side: which pictures are worth sending, and when to ask the camera for a key frame.

    Requests are at least `interval_s` apart, and twice as far with each one that no key frame follows, up to
    `longest_s`.
    """

    def __init__(self, *, interval_s: float = 0.25, longest_s: float = 2.0) -> None:
        self._first_s = interval_s
        self._longest_s = longest_s
        self._interval_s = interval_s
        self._next_request_s = 0.0
        self._end: int | None = None
        self._keyframe: int | None = None

    @property
    def whole(self) -> bool:
        """Whether a picture that predicts from the last one taken can be decoded."""
        return self._end is not None

    def take(self, sequence: int, reference: int, keyframe: bool) -> bool:
        """Whether the other side can decode this picture; if so it is the chain's new end."""
        if not keyframe and reference != self._end:
            self._end = None
            return False
        if keyframe:
            self._keyframe = sequence
            self._interval_s = self._first_s
        self._end = sequence
        return True

    def lose(self, sequence: int | None = None) -> None:
        """The picture `sequence` (None: everything) is not with the other side; only a key frame since mends that."""
        if sequence is None or self._keyframe is None or sequence >= self._keyframe:
            self._end = None

    def request_due(self, now_s: float) -> bool:
        """Whether to ask for a key frame now; counts as asked."""
        if self.whole or now_s < self._next_request_s:
            return False
        self._next_request_s = now_s + self._interval_s
        self._interval_s = min(2 * self._interval_s, self._longest_s)
        return True


class Verdict(Enum):
    """What the cloud does with a picture."""

    DECODE = 'decode'
    OLD = 'old'  # came twice, or after a newer one
    GAP = 'gap'  # predicts from a picture that is not here


class DecodeChain:
    """The cloud's side: whether a picture that arrived can be decoded."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._decoded: int | None = None

    @property
    def in_step(self) -> bool:
        """Whether the newest picture that arrived was decoded."""
        return self.received is not None and self.received == self._decoded

    def judge(self, frame: FrameUp) -> Verdict:
        """What to do with `frame`; it counts as received unless it is old."""
        if self.received is not None and frame.sequence <= self.received:
            return Verdict.OLD
        self.received = frame.sequence
        if not frame.keyframe and frame.reference != self._decoded:
            return Verdict.GAP
        return Verdict.DECODE

    def decoded(self, frame: FrameUp) -> None:
        """The decoder's state is now that of `frame`."""
        self._decoded = frame.sequence

    def broken(self) -> None:
        """The decoder failed: nothing can be predicted from what it holds."""
        self._decoded = None
