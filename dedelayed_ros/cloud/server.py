"""CloudServer: greets robots, keeps their streams apart, and lets one model serve them in turn."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dedelayed_ros.cloud.caches import CacheBudget
from dedelayed_ros.cloud.inbox import Wires
from dedelayed_ros.cloud.model_thread import ModelThread, Turns
from dedelayed_ros.cloud.served import ServedModel, serve_from_zoo
from dedelayed_ros.cloud.served_offload import OffloadModels, ServedOffload, serve_offload_from_zoo
from dedelayed_ros.cloud.stream import CloudStream
from dedelayed_ros.errors import DedelayedError, InputError, LinkError
from dedelayed_ros.link import (
    MAX_RECORD_BYTES,
    PROTOCOL,
    Code,
    Hello,
    HelloReply,
    Notice,
    OffloadHello,
    WireError,
    unpack,
)
from dedelayed_ros.link.session import (
    OFFLOAD,
    ROOT,
    WORKERS,
    StreamKey,
    every_stream,
    open_session,
    parse_stream_key,
)
from dedelayed_ros.models.zoo import DEFAULT

if TYPE_CHECKING:
    import zenoh

    from dedelayed_ros.cloud.offload_stream import OffloadStream

_log = logging.getLogger(__name__)
_ORPHAN_S = 1.0
"""A stream whose robot vanished is kept so long, lest a connection that is only being replaced costs a key frame."""
_TICK_S = 0.2
_UNKNOWN_PAUSE_S = 0.2
_RECENT_S = 2.0
"""How long the waiting time of a stream's newest frame says something about the next one's."""


@dataclass(frozen=True)
class CloudSettings:
    """Where a server listens and what it serves."""

    listen: tuple[str, ...] = ('tcp/0.0.0.0:7447',)
    connect: tuple[str, ...] = ()
    """Routers to connect to."""
    config: Path | None = None
    """A Zenoh configuration file, see config/zenoh."""
    model: str = DEFAULT
    dtype: str = 'auto'
    offload_model: str = 'street-conv'
    """The robot's model that offloaded frames are computed with; empty: no frame is offloaded to this server."""
    threads: int = 0
    """Threads that the model computes with; 0 leaves the choice to torch."""
    max_streams: int = 8
    max_caches: int = 8
    """Offloaded streams whose caches are kept; beyond, the one used longest ago has to send its next frame whole."""
    cache_mb: float = 1024.0
    """Memory of these caches together, in 10^6 bytes."""
    max_queue_ms: float = 500.0
    """No further stream is let in while frames wait longer than this for the model."""
    idle_s: float = 30.0
    """A stream without pictures for so long loses its place."""
    report_s: float = 10.0
    """Time between status lines; 0 for none."""
    name: str = ''
    """This server's name in answers and logs; empty: host name and process."""
    device: str = 'auto'
    """Where the model computes: 'cpu', 'cuda', or 'auto' for a GPU where torch finds one."""
    max_batch: int = 0
    """Streams whose frames the model computes together where they wait for it; 0 for what suits the device."""


class CloudServer:
    """Serves `settings.model`, or the `served` model given, to every robot that says hello.

    Args:
        settings: where and how much.
        served: another model than one of the zoo.
        report: takes the periodic status line.
        offload: another model for offloaded frames than one of the zoo.
    """

    def __init__(
        self,
        settings: CloudSettings,
        served: ServedModel | None = None,
        report: Callable[[str], None] = lambda line: None,
        offload: ServedOffload | None = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name or f'{socket.gethostname()}-{os.getpid()}'
        self.worker = secrets.randbits(63) + 1
        """Identity of this life of the server."""
        self.place = ''
        """Where the model computes, in words; known when it is loaded."""
        self._served = served
        self._offload = offload
        self._caches: CacheBudget[StreamKey] = CacheBudget(
            number=settings.max_caches, size=int(settings.cache_mb * 1e6)
        )
        self._report = report
        self._session: zenoh.Session | None = None
        self._entities: list[object] = []
        self._threads: list[threading.Thread] = []
        self._door = threading.Lock()  # one hello at a time, whatever kind of stream it is for
        self._lock = threading.Condition()
        self._streams: dict[StreamKey, CloudStream | OffloadStream] = {}
        self._unknown_s: dict[StreamKey, float] = {}
        self._strays: Counter[str] = Counter()
        self._stopping = False

    def start(self) -> None:
        """Listens, loads the model, and returns when pictures are answered.

        Robots are greeted and their pictures decoded while the model is still loading: after a restart every tenth of a
        second counts.

        Raises:
            WeightsError: the model is unknown, missing or damaged.
            LinkError: the address is in use or cannot be used.
        """
        if self._session is not None or self._stopping:
            raise LinkError('this server was started before; make a new one')
        # The address first: whether it is free is known before anything heavy is loaded.
        self._session = open_session(
            listen=self.settings.listen, connect=self.settings.connect, config=self.settings.config
        )
        try:
            self._served = self._served or serve_from_zoo(
                self.settings.model, self.settings.dtype, self.settings.device
            )
            self._open(self._session).result()
        except BaseException:
            self.stop()
            raise

    def _open(self, session: zenoh.Session) -> Future[None]:
        """Lets robots in; the future is done when the model is loaded."""
        import zenoh

        ring = zenoh.handlers.RingChannel
        up = [session.declare_subscriber(keys, self._arrived) for keys in every_stream('up')]
        hellos = [session.declare_queryable(keys, ring(64), complete=True) for keys in every_stream('hello')]
        alive = every_stream('alive')
        robots = [session.liveliness().declare_subscriber(keys, self._robot_changed) for keys in alive]
        self._entities = [*robots, *hellos, *up]
        loaded: Future[None] = Future()
        for work, name in (
            (lambda: self._compute(loaded), 'cloud-model'),
            (lambda: self._greet(hellos[0]), 'cloud-hello'),
            (lambda: self._greet(hellos[1]), 'cloud-hello-offload'),
            (self._keep_house, 'cloud-house'),
        ):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        # After the queryable, because it is what makes robots say hello at once.
        token = session.liveliness().declare_token(f'{WORKERS}/{self.worker:x}')
        self._entities.insert(0, token)
        return loaded

    def stop(self) -> None:
        """Says good-bye by taking back the liveliness token, and ends all threads. May be called twice."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        for entity in self._entities:
            entity.undeclare()  # type: ignore[attr-defined]
        self._entities = []
        for thread in self._threads:
            thread.join(timeout=5)
        for key in list(self._streams):
            self._drop(key)
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> CloudServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def streams(self) -> dict[StreamKey, CloudStream | OffloadStream]:
        """The streams being served: of features by (robot, camera), offloaded ones by (robot, camera, 'offload')."""
        with self._lock:
            return dict(self._streams)

    @property
    def strays(self) -> Counter[str]:
        """Records that belong to no stream, by what was wrong with them."""
        with self._lock:
            return Counter(self._strays)

    # -- from Zenoh's threads: hand over and be gone

    def _arrived(self, sample: zenoh.Sample) -> None:
        key = parse_stream_key(str(sample.key_expr))
        payload = sample.payload
        size = len(payload)
        with self._lock:
            stream = self._streams.get(key) if key is not None else None
            if stream is None:
                self._strays['no stream'] += 1
        if stream is None:
            if key is not None and size <= MAX_RECORD_BYTES:
                self._unknown(key, payload.to_bytes())
        elif size > MAX_RECORD_BYTES:
            stream.count('malformed: too_large')
            stream.notice(Code.MALFORMED, text=f'record of {size} bytes, at most {MAX_RECORD_BYTES} are allowed')
        else:
            stream.offer(payload.to_bytes())

    def _unknown(self, key: StreamKey, data: bytes) -> None:
        """A record for this server of a stream that it does not have: its robot should say hello again."""
        now_s = time.monotonic()
        with self._lock:
            if self._session is None or now_s - self._unknown_s.get(key, -1e9) < _UNKNOWN_PAUSE_S:
                return
            self._unknown_s[key] = now_s
        try:
            record = unpack(data)
        except WireError as error:
            with self._lock:
                self._strays[f'malformed: {error.code}'] += 1
            return
        if record.worker == self.worker:
            notice = Notice(
                Code.UNKNOWN_SESSION, record.sequence, 'say hello first', session=record.session, worker=self.worker
            )
            self._publish(key, notice.pack(), urgent=True)

    def _robot_changed(self, sample: zenoh.Sample) -> None:
        import zenoh

        key = parse_stream_key(str(sample.key_expr))
        with self._lock:
            stream = self._streams.get(key) if key is not None else None
            if stream is not None:
                stream.robot_gone_s = time.monotonic() if sample.kind == zenoh.SampleKind.DELETE else None

    # -- greeting

    def _greet(self, queryable: zenoh.Queryable) -> None:
        for query in queryable:
            with query:
                if self._stopping:
                    return
                key = parse_stream_key(str(query.key_expr))
                payload = query.payload
                if key is None or payload is None or len(payload) > MAX_RECORD_BYTES:
                    with self._lock:
                        self._strays['hello of nobody'] += 1
                    continue
                with self._door:
                    reply = self._admit(key, payload.to_bytes())
                _log.info('hello of %s: %s', '/'.join(key), reply.reason or 'accepted')
                query.reply(query.key_expr, reply.pack())

    def _admit(self, key: StreamKey, data: bytes) -> HelloReply:
        assert self._served is not None
        reply = HelloReply(False, '', self.name, self._served.name, self._served.checksum, worker=self.worker)
        try:
            hello = unpack(data)
        except WireError as error:
            with self._lock:
                self._strays[f'malformed: {error.code}'] += 1
            return replace(reply, reason=f'hello cannot be read: {error}')
        if not isinstance(hello, (Hello, OffloadHello)):
            return replace(reply, reason=f'expected a hello, a {type(hello).__name__} came')
        reply = replace(reply, session=hello.session, stamp_ns=hello.stamp_ns)
        if hello.protocol != PROTOCOL:
            return replace(
                reply, reason=f'the robot speaks protocol {hello.protocol}, this cloud {PROTOCOL}; install one version'
            )
        if isinstance(hello, OffloadHello) != (key[2:] == (OFFLOAD,)):
            return replace(reply, reason=f'a {type(hello).__name__} came under the key of another kind of stream')
        try:
            if isinstance(hello, OffloadHello):
                served = self._served_offload()
                reply = replace(reply, model=served.name, model_checksum=served.checksum)
                objection = served.objection(hello)
            else:
                objection = self._served.objection(hello)
            if objection is None:
                objection, resumed = self._seat(key, hello)
                return replace(reply, accepted=objection is None, reason=objection or '', resumed=resumed)
        except DedelayedError as error:
            objection = str(error)
        return replace(reply, reason=objection)

    def _seat(self, key: StreamKey, hello: Hello | OffloadHello) -> tuple[str | None, bool]:
        """A place for the stream: (why there is none, whether the stream was known and goes on)."""
        with self._lock:
            before = self._streams.get(key)
            if before is not None and replace(before.hello, stamp_ns=hello.stamp_ns) == hello:
                return None, True
            if before is None and (refusal := self._full()):
                return refusal, False
        if before is not None:
            if time.monotonic() - before.last_heard_s < _ORPHAN_S:
                before.notice(Code.REPLACED, text='another process uses the same robot and camera names')
            self._drop(key)
        stream = self._new_stream(key, hello)
        with self._lock:
            self._streams[key] = stream
            self._lock.notify_all()  # a model may have to be made for it
        return None, False

    def _full(self) -> str:
        """Why no further stream can be served; empty if one can (lock held)."""
        count = len(self._streams)
        if count >= self.settings.max_streams:
            return (
                f'this cloud serves {count} of at most {self.settings.max_streams} streams; '
                'start another, or raise --max-streams'
            )
        busy_s = time.monotonic() - _RECENT_S
        queue_ms = max((s.queue_ms for s in self._streams.values() if s.last_frame_s > busy_s), default=0.0)
        if queue_ms > self.settings.max_queue_ms:
            return (
                f'frames of {count} streams wait {queue_ms:.0f} ms for this cloud already, at most '
                f'{self.settings.max_queue_ms:.0f} ms are allowed; start another'
            )
        return ''

    def _new_stream(self, key: StreamKey, hello: Hello | OffloadHello) -> CloudStream | OffloadStream:
        def send(data: bytes, urgent: bool) -> None:
            self._publish(key, data, urgent)

        wires = Wires('/'.join(key), self.worker, send, self._wake, lambda: self._features_of(key))
        if isinstance(hello, OffloadHello):
            from dedelayed_ros.cloud.offload_stream import ShardStream  # which imports torch
            from dedelayed_ros.cloud.picture_stream import PictureStream

            kind = ShardStream if hello.camera_size is None else PictureStream
            return kind(hello, wires)
        assert self._served is not None
        return CloudStream(hello, wires, self._served.feature_format)

    def _features_of(self, key: StreamKey) -> CloudStream | None:
        """The stream of features of the camera that an offloaded stream is of, if it is served here."""
        with self._lock:
            stream = self._streams.get(key[:2])
        return stream if isinstance(stream, CloudStream) else None

    def _served_offload(self) -> ServedOffload:
        """What offloaded frames are computed with. Raises DedelayedError where there is nothing."""
        if self._offload is None:
            if not self.settings.offload_model:
                raise InputError('this cloud computes no offloaded frames; start it with --offload-model')
            self._offload = serve_offload_from_zoo(self.settings.offload_model)
        return self._offload

    # -- model thread

    def _compute(self, loaded: Future[None]) -> None:
        assert self._served is not None
        try:
            model = self._served.load()
            if self.settings.threads:
                import torch

                torch.set_num_threads(self.settings.threads)
        except Exception as error:
            loaded.set_exception(error)
            return
        self.place = model.place
        loaded.set_result(None)
        at_once = 1 if model.together is None else self.settings.max_batch or model.at_once
        thread = ModelThread(model, OffloadModels(self._served_offload, self.settings.threads, self.settings.dtype))
        turns = Turns()
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._stopping or any(s.waiting() for s in self._streams.values()))
                if self._stopping:
                    return
                chosen = turns.next(self._streams, at_once)
            features = [stream for _, stream in chosen if isinstance(stream, CloudStream)]
            if features:
                thread.answer_features(features)
            for key, stream in chosen:
                if not isinstance(stream, CloudStream) and thread.answer_offloaded(stream):
                    self._bound_caches(key, stream)

    def _bound_caches(self, key: StreamKey, stream: OffloadStream) -> None:
        """Evicts the caches that there is no room for beside the one that was just used."""
        with self._lock:
            evicted = [self._streams.get(k) for k in self._caches.used(key, stream.state_bytes)]
        for other in evicted:
            if other is not None and not isinstance(other, CloudStream):
                other.evict('its cache was evicted for that of another stream, which was used later')

    def _wake(self) -> None:
        with self._lock:
            self._lock.notify_all()

    # -- house-keeping

    def _keep_house(self) -> None:
        before: dict[str, int] = {}
        report_s = time.monotonic() + self.settings.report_s
        while True:
            with self._lock:
                if self._lock.wait_for(lambda: self._stopping, timeout=_TICK_S):
                    return
            now_s = time.monotonic()
            for key, stream in self.streams.items():
                if stream.robot_gone_s is not None and now_s - stream.robot_gone_s > _ORPHAN_S:
                    self._drop(key)
                elif now_s - stream.last_heard_s > self.settings.idle_s:
                    stream.notice(Code.EVICTED, text=f'no picture for {self.settings.idle_s:g} s')
                    self._drop(key)
            if self.settings.report_s and now_s >= report_s:
                report_s = now_s + self.settings.report_s
                before = self._tell(before)

    def _tell(self, before: dict[str, int]) -> dict[str, int]:
        """Reports what happened since the totals `before`; returns those of now."""
        streams = list(self.streams.values())
        now = dict(sum((stream.counts for stream in streams), Counter()))

        def since(name: str) -> float:
            return max(0, now.get(name, 0) - before.get(name, 0)) / self.settings.report_s

        slowest = max(streams, key=lambda stream: stream.queue_ms + stream.server_ms, default=None)
        times = f', queue {slowest.queue_ms:.0f} ms, model {slowest.server_ms:.0f} ms' if slowest else ''
        self._report(
            f'{len(streams)} streams: {since("frames"):.1f} frames/s in, {since("answered"):.1f} answers/s out, '
            f'{since("bytes_up") * 8e-3:.0f} kbit/s up, {since("bytes_down") * 8e-3:.0f} kbit/s down{times}'
        )
        return now

    def _drop(self, key: StreamKey) -> None:
        with self._lock:
            stream = self._streams.pop(key, None)
            self._caches.forget(key)
        if stream is not None:
            stream.close()
            _log.info('stream %s ended: %s', stream.name, dict(stream.counts))

    def _publish(self, key: StreamKey, data: bytes, urgent: bool) -> None:
        """Sends to one robot; where its connection is full, the record is dropped and no other robot waits."""
        import zenoh

        session = self._session
        if session is None:
            return
        try:
            session.put(
                '/'.join((ROOT, *key, 'down')),
                data,
                congestion_control=zenoh.CongestionControl.DROP,
                priority=zenoh.Priority.INTERACTIVE_HIGH if urgent else zenoh.Priority.DATA,
                express=True,
            )
        except zenoh.ZError as error:
            with self._lock:
                self._strays['send failed'] += 1
            _log.debug('cannot send to %s: %s', '/'.join(key), error)
