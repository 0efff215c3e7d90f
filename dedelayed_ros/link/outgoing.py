"""The robot's outgoing pictures: which are worth sending, which wait, which are on their way."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from dataclasses import dataclass
from typing import Protocol

from dedelayed_ros.link.chain import SendChain
from dedelayed_ros.link.flight import Flight, Sent
from dedelayed_ros.link.outbound import NO_ROOM
from dedelayed_ros.link.wire import MAX_DELAY_MS, FrameUp, WireError

_PLAUSIBLE_AGE_NS = 10_000_000_000


class Picture(Protocol):
    """An encoded picture, as `frames.EncodedPicture` is one."""

    @property
    def data(self) -> bytes:
        """One H.264 access unit, Annex B."""
        ...

    @property
    def keyframe(self) -> bool:
        """Whether decoding can begin here."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        ...


@dataclass(frozen=True)
class _Pending:
    picture: Picture
    sequence: int
    reference: int
    stamp_ns: int
    answer: bool


class Outgoing:
    """One camera's pictures on their way to the cloud. Not thread-safe: its owner serialises the calls.

    Newest wins: what waits is one chain of pictures, each predicting from the one before, that a key frame replaces as
    a whole. Waiting and unacknowledged pictures together never exceed `max_in_flight`; a picture for which there is no
    room breaks the chain, and everything is dropped until a key frame. `dropped` counts by reason.
    """

    def __init__(self, camera_size: tuple[int, int], *, max_in_flight: int, max_age_s: float) -> None:
        self._size = tuple(camera_size)
        self._max_in_flight = max_in_flight
        self._max_age_s = max_age_s
        self._last: tuple[int, int] | None = None  # sequence and stamp of the newest picture offered
        self.session = 0
        """Numbers this life of the camera's stream."""
        self.chain = SendChain()
        self.flight = Flight(memory_s=max_age_s)
        self.pending: deque[_Pending] = deque()
        self.dropped: Counter[str] = Counter()
        self._begin_session()

    @property
    def in_flight(self) -> int:
        """Pictures waiting or sent and not acknowledged."""
        return len(self.pending) + self.flight.unacknowledged

    def restarted(self, picture: Picture, sequence: int, stamp_ns: int) -> bool:
        """Whether this picture shows that the camera counts from the start again; then a new session has begun."""
        if self._last is None or sequence > self._last[0] or (sequence, stamp_ns) == self._last:
            return False
        if not picture.keyframe and stamp_ns <= self._last[1]:
            return False
        self.new_session()
        return True

    def new_session(self) -> None:
        """The camera counts from the start again: nothing that was sent has to do with what comes."""
        self.drop_pending('camera restarted')
        self._begin_session()

    def offer(
        self,
        picture: Picture,
        sequence: int,
        stamp_ns: int,
        reference: int | None = None,
        *,
        connected: bool,
        answer: bool = True,
    ) -> bool:
        """Takes the next picture, or drops it. `reference` None means that it predicts from the one offered before.

        Without `answer` the cloud only decodes it.
        """
        if self._last is not None and sequence <= self._last[0]:
            return self._drop('duplicate' if (sequence, stamp_ns) == self._last else 'out of order')
        before = self._last[0] if self._last is not None else None
        self._last = (sequence, stamp_ns)
        if picture.keyframe:
            reference = sequence
        elif reference is None:
            reference = before
        refusal = None
        if not connected:
            refusal = 'not connected'
        elif tuple(picture.size) != self._size:
            refusal = 'wrong size'
        elif self.in_flight >= self._max_in_flight and not (picture.keyframe and self.pending):
            refusal = NO_ROOM
        if refusal is not None:
            self.chain.lose()
            return self._drop(refusal)
        if reference is None or not self.chain.take(sequence, reference, picture.keyframe):
            return self._drop('waiting for a key frame')
        if picture.keyframe:
            self.dropped['overtaken'] += len(self.pending)
            self.pending.clear()
        self.pending.append(_Pending(picture, sequence, reference, stamp_ns, answer))
        return True

    def keyframe_due(self, now_s: float) -> bool:
        """Whether to ask the camera for a key frame now: one is needed and there is room. Counts as asked."""
        return self.in_flight <= self._max_in_flight // 2 and self.chain.request_due(now_s)

    def next_age_ms(self, clock_ns: int) -> float:
        """Age of the next waiting picture by the camera's clock, in ms; 0 if it carries stamps of another clock."""
        age_ns = clock_ns - self.pending[0].stamp_ns
        return age_ns / 1e6 if 0 <= age_ns < _PLAUSIBLE_AGE_NS else 0.0

    def pack_next(self, now_ns: int, capture_age_ms: float, predicted_delay_ms: float, worker: int) -> bytes | None:
        """The record of the next waiting picture, which is now in flight; None if it cannot be sent at all."""
        pending = self.pending.popleft()
        height, width = pending.picture.size
        predicted_delay_ms = min(predicted_delay_ms, MAX_DELAY_MS)
        record = FrameUp(
            pending.sequence, pending.reference, pending.stamp_ns, now_ns, predicted_delay_ms, pending.picture.keyframe,
            width, height, pending.picture.data, self.session, worker, pending.answer,
        )  # fmt: skip
        try:
            packed = record.pack()
        except WireError as error:
            self._drop(f'cannot be sent: {error.code}')
            self.chain.lose(pending.sequence)
            return None
        self.flight.send(
            Sent(pending.sequence, pending.stamp_ns, now_ns, capture_age_ms, predicted_delay_ms, len(packed))
        )
        return packed

    def drop_pending(self, reason: str) -> None:
        """Nothing that waits will be sent."""
        if self.pending:
            self.dropped[reason] += len(self.pending)
            self.pending.clear()
            self.chain.lose()

    def begin_again(self) -> None:
        """Another server (or another life of it) takes over: it has none of our pictures."""
        self.drop_pending('server changed')
        self.chain.lose()
        self.flight = Flight(memory_s=self._max_age_s)

    def _begin_session(self) -> None:
        self.session = secrets.randbits(63) + 1
        self._last = None
        self.begin_again()

    def _drop(self, reason: str) -> bool:
        self.dropped[reason] += 1
        return False
