"""The robot's end of an offloaded stream: one frame goes up, its mask comes down, or does not come in time."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dedelayed_ros.link.connection import Connection
from dedelayed_ros.link.flight import Flight, Sent
from dedelayed_ros.link.mask_bytes import unpack_mask
from dedelayed_ros.link.offload_records import MaskDown, OffloadHello, ShardUp
from dedelayed_ros.link.records import LinkStatus
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.wire import WireError

MAX_IN_FLIGHT = 2
"""Frames sent and not acknowledged; with more on its way, a frame would only wait behind them."""


@dataclass(frozen=True)
class MaskRecord:
    """The cloud's mask of one frame, uint8 [H, W] class ids and confidence, and what it took.

    Times in milliseconds on the robot's clock (`round_trip_ms`) and the server's; ratios 0–1 are the engine's.
    """

    sequence: int
    mask: np.ndarray
    confidence: np.ndarray
    round_trip_ms: float
    queue_ms: float
    server_ms: float
    recompute_ratio: float
    compute_ratio: float
    bytes_up: int
    bytes_down: int


class _Replica:
    """Whether the server can be relied on to have what was sent: `life` is another number each time it cannot."""

    def __init__(self) -> None:
        self.life = 0
        self._dense = -1

    def sent(self, record: ShardUp) -> None:
        if record.base is None:
            self._dense = record.sequence

    def lose(self, sequence: int | None = None) -> None:
        if sequence is None or sequence >= self._dense:
            self.life += 1


class _Shards:
    """The one frame that waits, and those on their way. Not thread-safe: its owner serialises the calls."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self.session = secrets.randbits(63) + 1
        self.chain = _Replica()
        self.flight = Flight(memory_s=memory_s)
        self.pending: list[ShardUp] = []
        self.dropped: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        return len(self.pending) + self.flight.unacknowledged

    def drop_pending(self, reason: str) -> None:
        if self.pending:
            self.dropped[reason] += len(self.pending)
            self.pending.clear()
            self.chain.lose()

    def keyframe_due(self, now_s: float) -> bool:
        return False  # the next frame that is offloaded goes up whole by itself

    def begin_again(self) -> None:
        self.drop_pending('server changed')
        self.chain.lose()
        self.flight = Flight(memory_s=self._memory_s)

    def new_session(self) -> None:
        self.session = secrets.randbits(63) + 1
        self.begin_again()


class OffloadClient(Connection):
    """Keeps one camera's offloaded stream connected to a cloud server, for ever.

    `submit` and `wait` belong to one thread; `on_status` is called from a thread of the client's own. Errors and
    arguments as :class:`~dedelayed_ros.link.connection.Connection`'s.
    """

    _outgoing: _Shards

    def __init__(
        self,
        settings: LinkSettings,
        hello: OffloadHello,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
    ) -> None:
        super().__init__(settings, hello, _Shards(settings.max_age_s), MaskDown, on_status)
        self._mask_size = hello.mask_size
        self._mask: MaskRecord | None = None  # the newest that came
        self._submitted_life = 0

    @property
    def obstacle(self) -> str:
        """Why no frame can be offloaded right now; empty if one can."""
        with self._lock:
            if not self._contact.connected or self._publisher is None:
                return 'no server is connected'
            if self._outgoing.in_flight >= MAX_IN_FLIGHT:
                return 'the uplink is busy with earlier frames'
            return ''

    @property
    def life(self) -> int:
        """Another number whenever the server can no longer be relied on to hold what was sent."""
        with self._lock:
            return self._outgoing.chain.life

    @property
    def waiting_ms(self) -> float:
        """How long the oldest unacknowledged frame has been on its way; 0 without any."""
        with self._lock:
            return self._outgoing.flight.waiting_ms(time.monotonic_ns())

    @property
    def propagation_ms(self) -> float:
        """Half of the shortest recent round trip of an acknowledgement; of the hello's, before there is any."""
        now_s = time.monotonic()
        with self._lock:
            shortest = self._ack_trips.quantiles(now_s).p50
            trip_ms = self._ack_trips.predict(now_s) if shortest == shortest else self._contact.round_trip_ms
        return trip_ms / 2

    def restart(self) -> None:
        """The camera counts from the start again: a new session, which the server is told of."""
        with self._lock:
            self._outgoing.new_session()
            self._mask = None
            self._contact.lost('the camera started again; saying hello for its new stream', time.monotonic())
            self._lock.notify_all()

    def submit(self, record: ShardUp) -> None:
        """Sends a frame, later than all before, and returns at once."""
        with self._lock:
            self._counts['submitted'] += 1
            self._contact.wanted()
            self._outgoing.drop_pending('overtaken')
            self._outgoing.pending.append(record)
            self._outgoing.chain.sent(record)
            self._submitted_life = self._outgoing.chain.life
            self._lock.notify_all()

    def wait(self, sequence: int, deadline_s: float) -> MaskRecord | None:
        """The mask of a frame that was submitted; None if it is not there at ``deadline_s`` of the monotonic clock,
        or will not come.
        """
        with self._lock:

            def ended() -> bool:
                return (
                    self._stopping
                    or (self._mask is not None and self._mask.sequence >= sequence)
                    or self._outgoing.chain.life != self._submitted_life
                )

            self._lock.wait_for(ended, timeout=max(0.0, deadline_s - time.monotonic()))
            return self._mask if self._mask is not None and self._mask.sequence == sequence else None

    def _pack(self) -> bytes | None:
        record = self._outgoing.pending.pop()
        now_ns = time.monotonic_ns()
        record = replace(record, sent_ns=now_ns, session=self._outgoing.session, worker=self._contact.worker)
        try:
            packed = record.pack()
        except WireError as error:
            self._dropped[f'cannot be sent: {error.code}'] += 1
            self._outgoing.chain.lose()
            return None
        self._counts['sent'] += 1
        self._up.add(len(packed), now_ns / 1e9)
        self._outgoing.flight.send(Sent(record.sequence, record.stamp_ns, now_ns, 0.0, 0.0, len(packed)))
        return packed

    def _deliver(self, record: MaskDown, sent: Sent, bytes_up: int, bytes_down: int) -> None:
        try:
            mask, confidence = unpack_mask(record.data, self._mask_size)
        except WireError as error:
            self._complain(error)
            return
        now_ns = time.monotonic_ns()
        round_trip_ms = (now_ns - sent.sent_ns) / 1e6
        with self._lock:
            self._counts['received'] += 1
            self._round_trips.observe(round_trip_ms, now_ns / 1e9)
            self._delays.observe(round_trip_ms, now_ns / 1e9)
            self._mask = MaskRecord(
                record.sequence, mask, confidence, round_trip_ms, record.queue_ms, record.server_ms,
                record.recompute_ratio, record.compute_ratio, bytes_up, bytes_down,
            )  # fmt: skip
            self._lock.notify_all()
