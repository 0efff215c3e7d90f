"""What every stream at the server is: records in their order, in a thread of its own, and one job for the model."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dedelayed_ros.link import Code, Hello, Notice, OffloadHello, Probe, WireError, unpack

if TYPE_CHECKING:
    from dedelayed_ros.cloud.stream import CloudStream

_INBOX = 64
"""Records waiting to be decoded; beyond, a stream floods us and its records are dropped."""
_NOTICE_PAUSE_S = {Code.NEED_KEYFRAME: 0.25}
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Wires:
    """How a stream hangs together with its server.

    Args:
        name: of the stream, for logs.
        worker: identity of this life of the server.
        send: sends a record to the robot, before others if it is urgent (True); drops it rather than wait.
        ready: called when there is a new job for the model.
        sibling: the stream of features of the same camera, where this server has it.
    """

    name: str
    worker: int
    send: Callable[[bytes, bool], None]
    ready: Callable[[], None]
    sibling: Callable[[], CloudStream | None] = lambda: None


class Stream:
    """One camera's stream: takes what arrives, and holds the newest frame ready for the model's thread.

    ``hello``: what was agreed with the robot.
    """

    def __init__(self, hello: Hello | OffloadHello, wires: Wires) -> None:
        self.name = wires.name
        self.hello = hello
        self.counts: Counter[str] = Counter()
        """Records by what became of them, and bytes up and down."""
        self.server_ms = 0.0
        self.queue_ms = 0.0
        self.robot_gone_s: float | None = None
        """When the robot's liveliness token vanished."""
        self.last_frame_s = time.monotonic()
        self._last_probe_s = self.last_frame_s
        self._worker = wires.worker
        self._send = wires.send
        self._ready = wires.ready
        self._noticed_s: dict[Code, float] = {}
        self._lock = threading.Condition()
        self._inbox: deque[tuple[Any, float]] = deque()
        self._job: Any = None
        self._closing = False
        self._thread = threading.Thread(target=self._take_all, name=f'cloud-decode {self.name}', daemon=True)

    @property
    def last_heard_s(self) -> float:
        """When the robot last sent a frame, or a probe while it had none to send."""
        return max(self.last_frame_s, self._last_probe_s)

    # -- what a stream does its own way

    @property
    def received(self) -> int | None:
        """Sequence of the newest frame that arrived; None before the first."""
        raise NotImplementedError

    def _take(self, record: Any, arrived_s: float) -> bool:
        """Takes a record of the robot in the stream's own thread; False for one of an unexpected type."""
        raise NotImplementedError

    def _take_shared(self, picture: Any) -> None:
        """Takes a picture of the camera's other stream, which this one watches, in the stream's own thread."""

    def _due_s(self) -> float | None:
        """How long until :meth:`_look_after` has something to do (seconds); None: nothing."""
        return None

    def _look_after(self) -> None:
        """What is due by now, in the stream's own thread."""

    # -- from any thread

    def offer(self, data: bytes) -> None:
        """A record of the robot's arrived; returns at once."""
        self._enter(data)

    def share(self, picture: Any) -> None:
        """A picture of the camera's other stream, which this one watches; returns at once."""
        self._enter(picture)

    def count(self, what: str, number: int = 1) -> None:
        """Counts an event of this stream, from any thread."""
        with self._lock:
            self.counts[what] += number

    def waiting(self) -> bool:
        """Whether there is a frame for the model."""
        with self._lock:
            return self._job is not None

    def take(self) -> Any:
        """The newest frame, for the caller to answer; None if there is none."""
        with self._lock:
            job, self._job = self._job, None
            return job

    def notice(self, code: Code, sequence: int = 0, text: str = '') -> None:
        """Tells the robot something; the same code at most once a second (key frames: four times)."""
        now_s = time.monotonic()
        if code != Code.ACK:
            if now_s - self._noticed_s.get(code, -1e9) < _NOTICE_PAUSE_S.get(code, _PAUSE_S):
                code = Code.ACK
            else:
                self._noticed_s[code] = now_s
        text = '' if code == Code.ACK else text
        self._post(Notice(code, sequence, text, self.received, self.hello.session, self._worker).pack(), urgent=True)

    def close(self) -> None:
        """Ends the stream's thread; nothing is sent afterwards."""
        with self._lock:
            self._closing = True
            self._inbox.clear()
            self._job = None
            self._lock.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _enter(self, item: Any) -> None:
        with self._lock:
            if len(self._inbox) >= _INBOX:
                self.count('flooded')
            elif not self._closing:
                self._inbox.append((item, time.monotonic()))
                self._lock.notify()

    def _post(self, data: bytes, urgent: bool) -> None:
        with self._lock:
            if self._closing:
                return
        self.count('bytes_down', len(data))
        self._send(data, urgent)

    def _echo(self, probe: Probe) -> None:
        """A probe goes back without what made it long; a robot that probes is there."""
        if self._is_ours(probe):
            self._last_probe_s = time.monotonic()
            self.count('probes')
            self._post(replace(probe, data=b'').pack(), urgent=True)

    def _is_ours(self, record: Any) -> bool:
        """Whether a record is for this life of server and stream; else it is late, and nobody waits for it."""
        if record.worker == self._worker and record.session == self.hello.session:
            return True
        self.count('another session')
        return False

    def _put_job(self, job: Any) -> None:
        """The newest frame is ready for the model; one that still waits is passed over."""
        with self._lock:
            if self._job is not None:
                self.count('passed over')
            self._job = job
        self._ready()

    # -- the stream's own thread

    def _take_all(self) -> None:
        while True:
            with self._lock:
                if not (self._inbox or self._closing):
                    self._lock.wait(self._due_s())
                if self._closing:
                    return
                item, arrived_s = self._inbox.popleft() if self._inbox else (None, 0.0)
            if isinstance(item, bytes):
                self._read(item, arrived_s)
            elif item is not None:
                self._take_shared(item)
            self._look_after()

    def _read(self, data: bytes, arrived_s: float) -> None:
        self.count('bytes_up', len(data))
        try:
            record = unpack(data)
        except WireError as error:
            self.count(f'malformed: {error.code}')
            self.notice(Code.MALFORMED, text=str(error))
            return
        if isinstance(record, Probe):
            self._echo(record)
        elif isinstance(record, Notice):
            self.count(f'robot: {record.code.name.lower()}')
        elif not self._take(record, arrived_s):
            self.count('unexpected kind')
            self.notice(Code.REFUSED, record.sequence, f'a {type(record).__name__} was not expected here')
