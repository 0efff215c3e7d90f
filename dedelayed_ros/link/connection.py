"""A stream's connection to the cloud, kept up for ever: whatever the network does is only a status."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from dedelayed_ros.errors import LinkError
from dedelayed_ros.link.contact import Contact
from dedelayed_ros.link.estimators import DelayEstimator, RateMeter
from dedelayed_ros.link.flight import Sent
from dedelayed_ros.link.offload_records import MaskDown, OffloadHello
from dedelayed_ros.link.outbound import NO_ROOM, Outbound
from dedelayed_ros.link.records import LinkStatus
from dedelayed_ros.link.session import OFFLOAD, WORKERS, endpoint, open_session, stream_key
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.uplink_rate import UplinkRate
from dedelayed_ros.link.way_up import WayUp
from dedelayed_ros.link.wire import (
    MAX_RECORD_BYTES,
    Code,
    FeaturesDown,
    Hello,
    HelloReply,
    Notice,
    Probe,
    WireError,
    unpack,
)

if TYPE_CHECKING:
    import zenoh
    from typing_extensions import Self

_log = logging.getLogger(__name__)
_TICK_S = 0.05
_EVENTS = 64
"""Messages from the network kept for the control thread; with more the oldest are dropped."""


class Connection:
    """Keeps one camera's stream connected to a cloud server, for ever: what streams of pictures and of shards share.

    `on_status` and what a subclass calls back are called from one thread of the connection's own and must return soon.
    After `start` nothing about the network raises: see `status`.

    Args:
        settings: where and how.
        hello: what this robot expects of the cloud; session and stamp are filled in here.
        outgoing: what goes up.
        answer: the type of the records that come down.
        on_status: told when the connection or its reason changes.
        request_keyframe: asks for a frame that needs no other one.

    Raises:
        LinkError: an endpoint or name that cannot be used at all.
    """

    _sends_video: ClassVar[bool] = False
    """Whether what goes up is the camera's H.264, whose rate can be limited."""

    def __init__(
        self,
        settings: LinkSettings,
        hello: Hello | OffloadHello,
        outgoing: Outbound,
        answer: type[FeaturesDown] | type[MaskDown],
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        request_keyframe: Callable[[], None] = lambda: None,
    ) -> None:
        if settings.max_in_flight < 1:
            raise LinkError(f'max_in_flight is {settings.max_in_flight}, expected at least 1')
        hello.pack()
        self._settings = settings
        self._endpoint = endpoint(settings.endpoint)
        service = (OFFLOAD,) if isinstance(hello, OffloadHello) else ()
        self._key = stream_key(settings.robot, settings.camera, *service)
        self._hello = hello
        self._answer = answer
        self._on_status = on_status
        self._request_keyframe = request_keyframe

        self._lock = threading.Condition()  # guards all below; both threads wait on it
        self._events: deque[tuple[str, bytes]] = deque(maxlen=_EVENTS)
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._publisher: zenoh.Publisher | None = None
        self._told: tuple[bool, str, str, str] | None = None
        self._contact = Contact(self._endpoint, settings.timing)
        self._outgoing = outgoing
        self._delays = DelayEstimator(quantile=settings.delay_quantile, start_ms=settings.start_delay_ms)
        self._round_trips = DelayEstimator(quantile=settings.delay_quantile)
        limits = self._sends_video and settings.limit_uplink is not None
        self._way_up = WayUp(UplinkRate(hello.rate, settings.least_uplink_kbps) if limits else None)
        self._up, self._down = RateMeter(), RateMeter()
        self._counts: Counter[str] = Counter()
        self._dropped = self._outgoing.dropped
        self._told_malformed_s = 0.0
        self._probes = False  # whether to send probes while nothing else tells the bandwidth
        self._probe_wanted = False

    # -- what a stream does its own way

    def _pack(self) -> bytes | None:
        """The record of the next frame, now in flight; None if it cannot be sent (lock held)."""
        raise NotImplementedError

    def _deliver(self, record: Any, sent: Sent, bytes_up: int, bytes_down: int) -> None:
        """Hands over the answer to a frame that was sent (lock not held)."""
        raise NotImplementedError

    def _look_after(self, now_s: float) -> None:
        """What a stream has to do now and then (lock held)."""

    # -- what the robot calls

    def start(self) -> None:
        """Begins to connect, in threads of its own, and returns at once."""
        with self._lock:
            if self._threads:
                raise LinkError('this client was started before; make a new one')
            self._threads = [
                threading.Thread(target=self._control, name='link-control', daemon=True),
                threading.Thread(target=self._send, name='link-send', daemon=True),
            ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Closes the session and ends the threads; no callback is called afterwards. May be called twice."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def status(self) -> LinkStatus:
        """How the link is doing right now."""
        with self._lock:
            return self._status()

    # -- sender thread

    def _send(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._stopping or self._sendable())
                if self._stopping:
                    return
                packed = self._pack_probe() if self._probe_wanted else self._pack()
                publisher = self._publisher
            if packed is not None and publisher is not None:
                # Outside the lock: a full network makes this wait, and submit must not.
                self._put(publisher, packed, 'send failed')

    def _sendable(self) -> bool:
        waiting = bool(self._outgoing.pending) or self._probe_wanted
        return waiting and self._publisher is not None and self._contact.connected

    def _probe_if_due(self, now_s: float) -> None:
        """Nothing is under way that would tell the bandwidth: a probe does (lock held)."""
        if self._way_up.bandwidth.probe_due(now_s):
            self._way_up.bandwidth.probing(now_s)
            self._probe_wanted = True
            self._lock.notify_all()

    def _pack_probe(self) -> bytes:
        """Some bytes that no network can make fewer of."""
        self._probe_wanted = False
        self._counts['probes'] += 1
        size = self._way_up.bandwidth.probe_bytes
        worker = self._contact.worker
        return Probe(time.monotonic_ns(), size, os.urandom(size), self._outgoing.session, worker).pack()

    def _put(self, publisher: zenoh.Publisher, packed: bytes, failure: str) -> None:
        import zenoh

        try:
            publisher.put(packed)
        except zenoh.ZError:
            with self._lock:
                self._dropped[failure] += 1
                self._outgoing.chain.lose()

    # -- control thread

    def _control(self) -> None:
        import zenoh

        while (session := self._open()) is not None:
            try:
                self._attend(session)
            except zenoh.ZError as error:
                with self._lock:
                    self._contact.lost(f'the connection to {self._endpoint} failed: {error}', time.monotonic())
                self._tell()

    def _attend(self, session: zenoh.Session) -> None:
        """Keeps the stream going over an open session until the client is stopped."""
        import zenoh

        try:
            # Kept by name: Zenoh takes back what is no longer referred to.
            entities = [
                session.declare_subscriber(f'{self._key}/down', lambda s: self._event('down', _bounded(s.payload))),
                session.liveliness().declare_subscriber(f'{WORKERS}/*', self._alive, history=True),
                session.liveliness().declare_token(f'{self._key}/alive'),
            ]
            with self._lock:
                self._publisher = session.declare_publisher(
                    f'{self._key}/up', congestion_control=zenoh.CongestionControl.BLOCK, express=True
                )
            while self._step(session):
                pass
            del entities
        finally:
            with self._lock:
                self._publisher = None
            session.close()

    def _open(self) -> zenoh.Session | None:
        """A session with the endpoint, however long it takes; None when the client is stopping."""
        pause_s = self._settings.timing.first_retry_s
        while not self._stopping:
            try:
                return open_session(connect=[self._endpoint], config=self._settings.config)
            except LinkError as error:
                with self._lock:
                    self._contact.unreachable(f'{error}; trying again')
            self._tell()
            with self._lock:
                self._lock.wait_for(lambda: self._stopping, timeout=pause_s)
            pause_s = min(1.5 * pause_s, self._settings.timing.longest_retry_s)
        return None

    def _step(self, session: zenoh.Session) -> bool:
        """Handles what came and what is due; False when the client is stopping."""
        with self._lock:
            if not self._events and not self._stopping:
                self._lock.wait(_TICK_S)
            if self._stopping:
                return False
            events = list(self._events)
            self._events.clear()
        for kind, data in events:
            if kind == 'alive':
                with self._lock:
                    self._contact.worker_seen(int(data, 16), time.monotonic())
            elif kind == 'dead':
                with self._lock:
                    self._contact.worker_gone(int(data, 16), time.monotonic())
            else:
                self._take(data)
        now_s = time.monotonic()
        reachable = bool(session.info.transports())
        with self._lock:
            waiting_ms = self._outgoing.flight.waiting_ms(time.monotonic_ns())
            lost = self._outgoing.flight.forget(time.monotonic_ns())
            self._dropped['lost'] += lost
            self._contact.check(now_s, waiting_s=waiting_ms / 1e3, reachable=reachable)
            if not self._contact.connected:
                self._outgoing.drop_pending('not connected')
            greet = self._contact.hello_due(now_s)
            hello = replace(self._hello, session=self._outgoing.session, stamp_ns=time.monotonic_ns())
            ask = self._contact.connected and self._outgoing.keyframe_due(now_s)
            self._counts['keyframe_requests'] += ask
            if self._probes and self._contact.connected and not self._outgoing.in_flight:
                self._probe_if_due(now_s)
            self._look_after(now_s)
            limited = self._contact.connected and self._way_up.limited(
                waiting_ms, self._contact.round_trip_ms, self._dropped[NO_ROOM], now_s
            )
            limit_kbps, tell = self._way_up.limit_kbps, self._settings.limit_uplink
        if limited and tell is not None:
            self._call(lambda: tell(limit_kbps))
        if greet:
            self._greet(session, hello)
        if ask:
            self._call(self._request_keyframe)
        self._tell()
        return True

    def _greet(self, session: zenoh.Session, hello: Hello | OffloadHello) -> None:
        import zenoh

        def answered(reply: zenoh.Reply) -> None:
            if reply.ok is not None:
                self._event('hello', _bounded(reply.ok.payload))

        session.get(
            f'{self._key}/hello',
            answered,
            payload=hello.pack(),
            target=zenoh.QueryTarget.ALL,
            consolidation=zenoh.ConsolidationMode.NONE,
            timeout=self._settings.timing.hello_timeout_s,
        )

    def _take(self, data: bytes) -> None:
        """One record from the cloud."""
        try:
            record = unpack(data)
        except WireError as error:
            self._complain(error)
            return
        now_s = time.monotonic()
        with self._lock:
            self._down.add(len(data), now_s)
            if record.session != self._outgoing.session:
                self._dropped['another session'] += 1
                return
            if isinstance(record, HelloReply):
                self._welcome(record, now_s)
                return
            if isinstance(record, Notice) and self._dismissed(record, now_s):
                return
            if record.worker != self._contact.worker:
                self._dropped['another server'] += 1
                return
            if not isinstance(record, (Notice, Probe, self._answer)):
                self._dropped['unexpected kind'] += 1
                return
            self._contact.heard(now_s)
            if isinstance(record, Probe):
                trip_ms = (time.monotonic_ns() - record.sent_ns) / 1e6
                self._way_up.transferred(record.size, trip_ms, self._contact.round_trip_ms, now_s)
                return
            self._acknowledge(record.received_sequence, now_s)
            if isinstance(record, Notice):
                self._noticed(record)
                return
            answered = self._outgoing.flight.answer(record)
            if isinstance(answered, str):
                self._dropped[answered] += 1
                return
        self._deliver(record, answered.sent, answered.bytes_up, len(data))

    def _on_its_way(self, size: int, now_s: float) -> None:
        """A picture of so many bytes was handed to the network (lock held)."""
        self._counts['sent'] += 1
        self._up.add(size, now_s)
        self._way_up.sent(size, now_s)

    # -- what the cloud said (lock held)

    def _welcome(self, reply: HelloReply, now_s: float) -> None:
        before = self._contact.worker
        round_trip_ms = (time.monotonic_ns() - reply.stamp_ns) / 1e6
        if not self._contact.replied(reply, now_s, round_trip_ms):
            return
        if not (reply.resumed and reply.worker == before):
            self._outgoing.begin_again()

    def _dismissed(self, notice: Notice, now_s: float) -> bool:
        """Whether the notice ends this stream at the server."""
        if notice.code == Code.UNKNOWN_SESSION:
            self._contact.lost('the cloud does not know this stream; saying hello again', now_s)
        elif notice.code == Code.EVICTED:
            self._contact.idle('the cloud dropped the idle stream; the next picture starts it again')
        elif notice.code == Code.REPLACED:
            self._contact.refused(
                f'another process uses the names of robot {self._settings.robot!r} and camera '
                f'{self._settings.camera!r}; give each its own',
                now_s,
            )
        else:
            return False
        self._outgoing.chain.lose()
        self._lock.notify_all()
        return True

    def _acknowledge(self, received: int | None, now_s: float) -> None:
        """The cloud has every picture up to `received`."""
        arrived = None if received is None else self._outgoing.flight.acknowledge(received)
        if arrived is not None:
            trip_ms = (time.monotonic_ns() - arrived.sent.sent_ns) / 1e6
            self._way_up.arrived(arrived, trip_ms, self._contact.round_trip_ms, now_s)

    def _shortest_trip_ms(self, now_s: float) -> float:
        return self._way_up.shortest_ms(self._contact.round_trip_ms, now_s)

    def _noticed(self, notice: Notice) -> None:
        if notice.code == Code.NEED_KEYFRAME:
            self._outgoing.chain.lose(notice.sequence)
            self._lock.notify_all()
        if notice.code != Code.ACK:
            self._dropped[f'cloud: {notice.code.name.lower()}'] += 1
            _log.debug('cloud on frame %d: %s %s', notice.sequence, notice.code.name, notice.text)

    # -- small things

    def _event(self, kind: str, data: bytes) -> None:
        """From Zenoh's threads: hand over and be gone."""
        with self._lock:
            if len(self._events) == _EVENTS:
                self._dropped['too busy'] += 1
            self._events.append((kind, data))
            self._lock.notify_all()

    def _alive(self, sample: zenoh.Sample) -> None:
        import zenoh

        worker = str(sample.key_expr).rsplit('/', 1)[-1]
        try:
            int(worker, 16)
        except ValueError:
            return
        self._event('alive' if sample.kind == zenoh.SampleKind.PUT else 'dead', worker.encode())

    def _complain(self, error: WireError) -> None:
        """A record from the cloud was no good: count it, and tell the cloud at most once a second."""
        now_s = time.monotonic()
        with self._lock:
            self._dropped[f'malformed: {error.code}'] += 1
            if error.code == 'version':
                self._contact.explain(f'the cloud at {self._endpoint} sent a {error}')
            tell = now_s - self._told_malformed_s >= 1
            publisher = self._publisher
            if not tell or publisher is None:
                return
            self._told_malformed_s = now_s
            notice = Notice(
                Code.MALFORMED, text=str(error), session=self._outgoing.session, worker=self._contact.worker
            )
        self._put(publisher, notice.pack(), 'notice failed')

    def _tell(self) -> None:
        with self._lock:
            status = self._status()
        now = (status.connected, status.reason, status.worker, status.pictures)
        if now != self._told:
            self._told = now
            self._call(lambda: self._on_status(status))

    def _call(self, callback: Callable[[], None]) -> None:
        """Runs the user's code; its errors are its own and must not end the link."""
        with self._lock:
            if self._stopping:
                return
        try:
            callback()
        except Exception:
            _log.exception('a callback of the link failed')
            with self._lock:
                self._dropped['callback failed'] += 1

    def _status(self) -> LinkStatus:
        now_ns = time.monotonic_ns()
        now_s = now_ns / 1e9
        contact = self._contact
        return LinkStatus(
            connected=contact.connected,
            reason=contact.reason,
            worker=contact.name if contact.connected else '',
            round_trip_ms=self._round_trips.quantiles(now_s),
            predicted_delay_ms=self._delays.predict(now_s, at_least_ms=self._outgoing.flight.waiting_ms(now_ns)),
            in_flight=self._outgoing.in_flight,
            submitted=self._counts['submitted'],
            sent=self._counts['sent'],
            received=self._counts['received'],
            dropped={reason: count for reason, count in self._dropped.items() if count},
            keyframe_requests=self._counts['keyframe_requests'],
            kbps_up=self._up.kbps(now_s),
            kbps_down=self._down.kbps(now_s),
            uplink_capacity_kbps=self._way_up.bandwidth.predict(now_s),
            uplink_limit_kbps=self._way_up.limit_kbps,
        )


def _bounded(payload: zenoh.ZBytes) -> bytes:
    """The payload, or just enough of it that `unpack` says it is too large."""
    return payload.to_bytes() if len(payload) <= MAX_RECORD_BYTES else bytes(MAX_RECORD_BYTES + 1)
