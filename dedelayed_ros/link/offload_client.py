"""The robot's end of an offloaded stream: frames go up, their masks come down, or do not come in time."""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dedelayed_ros.link.connection import Connection
from dedelayed_ros.link.flight import Flight, Sent
from dedelayed_ros.link.mask_bytes import unpack_mask
from dedelayed_ros.link.offload_records import MaskDown, OffloadHello, ShardUp
from dedelayed_ros.link.outbound import Outbound
from dedelayed_ros.link.records import LinkStatus
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.wire import WireError

_SHARDS_IN_FLIGHT = 2
"""Shards sent and not acknowledged; with more on its way, a frame would only wait behind them."""
_MASKS = 64
"""Masks that are kept until somebody asks for them."""


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
    frame_bytes: int
    """Bytes of the frame alone, its picture included where another stream takes that up; `bytes_up` counts all that
    this stream sent since the answer before."""


class OffloadClient(Connection):
    """Keeps one camera's offloaded stream connected to a cloud server, for ever: what shards and H.264 share.

    Frames are sent from one thread, and `wait` may be called from another; `on_status` is called from a thread of the
    client's own. While nothing is sent, a probe tells the bandwidth now and then. Errors and arguments as
    :class:`~dedelayed_ros.link.connection.Connection`'s.
    """

    def __init__(
        self,
        settings: LinkSettings,
        hello: OffloadHello,
        outgoing: Outbound,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        request_keyframe: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(settings, hello, outgoing, MaskDown, on_status, request_keyframe)
        self._mask_size = hello.mask_size
        self._masks: OrderedDict[int, MaskRecord] = OrderedDict()
        self._newest = -1  # sequence of the last mask that came
        self._last: MaskRecord | None = None
        self._asked: dict[int, float] = {}  # frames whose masks may still come: when they were sent (s)
        self._probes = True

    @property
    def obstacle(self) -> str:
        """Why no frame can be offloaded right now; empty if one can."""
        with self._lock:
            return self._unconnected() or self._busy()

    @property
    def waiting_ms(self) -> float:
        """How long the oldest unacknowledged frame has been on its way; 0 without any."""
        with self._lock:
            return self._outgoing.flight.waiting_ms(time.monotonic_ns())

    @property
    def last(self) -> MaskRecord | None:
        """The mask that came last, also one that nobody waited for any more; None before the first."""
        with self._lock:
            return self._last

    def overdue_ms(self, expected_ms: float) -> float:
        """How much longer than expected the oldest frame has been on its way whose acknowledgement or mask is missing.

        An acknowledgement is expected after as long as most of them took; a mask after ``expected_ms``, and not for
        ever: one that the server passed over never comes, and the next frame may do better.
        """
        now_ns = time.monotonic_ns()
        with self._lock:
            self._forget(now_ns / 1e9)
            waiting_ms = self._outgoing.flight.waiting_ms(now_ns)
            usual_ms = self._way_up.trips.quantiles(now_ns / 1e9).p90
            late_ms = waiting_ms - (self._contact.round_trip_ms if math.isnan(usual_ms) else usual_ms)
            asked_s = [sent_s for sequence, sent_s in self._asked.items() if self._expects(sequence)]
            asked_ms = now_ns / 1e6 - min(asked_s) * 1e3 if asked_s else 0.0
            return max(0.0, late_ms, asked_ms - expected_ms)

    @property
    def propagation_ms(self) -> float:
        """Half of the shortest recent round trip."""
        with self._lock:
            return self._shortest_trip_ms(time.monotonic()) / 2

    def restart(self) -> None:
        """The camera counts from the start again: a new session, which the server is told of."""
        with self._lock:
            self._new_session()
            self._masks.clear()
            self._asked.clear()
            self._newest = -1
            self._contact.lost('the camera started again; saying hello for its new stream', time.monotonic())
            self._lock.notify_all()

    def wait(self, sequence: int, deadline_s: float) -> MaskRecord | None:
        """The mask of a frame that was sent; None if it is not there at ``deadline_s`` of the monotonic clock, or will
        not come.
        """
        with self._lock:

            def ended() -> bool:
                return self._stopping or self._newest >= sequence or not self._expects(sequence)

            self._lock.wait_for(ended, timeout=max(0.0, deadline_s - time.monotonic()))
            return self._masks.pop(sequence, None)

    def _ask(self, sequence: int) -> None:
        """The mask of a frame is asked for (lock held)."""
        now_s = time.monotonic()
        self._forget(now_s)
        self._asked[sequence] = now_s

    def _forget(self, now_s: float) -> None:
        """Masks that are as late as any may be are not expected any more (lock held)."""
        self._asked = {n: sent_s for n, sent_s in self._asked.items() if now_s - sent_s < self._settings.max_age_s}

    def _unconnected(self) -> str:
        """That there is no server (lock held); empty if there is."""
        return '' if self._contact.connected and self._publisher is not None else 'no server is connected'

    # -- what either way of sending does its own way, with the lock held

    def _busy(self) -> str:
        """Why a connected server cannot be sent a frame; empty if it can."""
        raise NotImplementedError

    def _expects(self, sequence: int) -> bool:
        """Whether the mask of a frame that was sent may still come."""
        raise NotImplementedError

    def _new_session(self) -> None:
        """Everything that was sent is of a stream that ended."""
        raise NotImplementedError

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
            self._newest = record.sequence
            self._asked = {sequence: sent_s for sequence, sent_s in self._asked.items() if sequence > record.sequence}
            self._last = self._masks[record.sequence] = MaskRecord(
                record.sequence, mask, confidence, round_trip_ms, record.queue_ms, record.server_ms,
                record.recompute_ratio, record.compute_ratio, bytes_up, bytes_down, sent.size + sent.shared,
            )  # fmt: skip
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
            self._lock.notify_all()


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


class ShardClient(OffloadClient):
    """Sends frames as shards: one at a time, each built on the one before."""

    _outgoing: _Shards

    def __init__(
        self,
        settings: LinkSettings,
        hello: OffloadHello,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
    ) -> None:
        super().__init__(settings, hello, _Shards(settings.max_age_s), on_status)
        self._submitted_life = 0

    @property
    def life(self) -> int:
        """Another number whenever the server can no longer be relied on to hold what was sent."""
        with self._lock:
            return self._outgoing.chain.life

    def submit(self, record: ShardUp) -> None:
        """Sends a frame, later than all before, and returns at once."""
        with self._lock:
            self._counts['submitted'] += 1
            self._contact.wanted()
            self._outgoing.pending.append(record)
            self._outgoing.chain.sent(record)
            self._ask(record.sequence)
            self._submitted_life = self._outgoing.chain.life
            self._lock.notify_all()

    def _busy(self) -> str:
        return 'the uplink is busy with earlier frames' if self._outgoing.in_flight >= _SHARDS_IN_FLIGHT else ''

    def _expects(self, sequence: int) -> bool:
        return self._outgoing.chain.life == self._submitted_life

    def _new_session(self) -> None:
        self._outgoing.new_session()

    def _pack(self) -> bytes | None:
        record = self._outgoing.pending.pop(0)
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
