"""One camera's stream at the server: decoder, chain of pictures, newest picture for the model, answers."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dedelayed_ros.cloud.served import StreamModel
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import H264Decoder
from dedelayed_ros.link import Code, FeatureFormat, FeaturesDown, FrameUp, Hello, Notice, WireError, unpack
from dedelayed_ros.link.chain import DecodeChain, Verdict

_INBOX = 64
"""Records waiting to be decoded; beyond, a stream floods us and its records are dropped."""
_NOTICE_PAUSE_S = {Code.NEED_KEYFRAME: 0.25}
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Job:
    """The newest decoded picture of a stream, for the model. `arrived_s` is on this process's monotonic clock."""

    frame: FrameUp
    image: np.ndarray
    arrived_s: float


class CloudStream:
    """Decodes every picture in order, in a thread of its own, and holds the newest ready for the model's thread.

    A picture whose predecessor is missing is not decoded; the robot is asked for a key frame, at most four times a
    second. Each decoded picture is acknowledged at once.

    Args:
        hello: what was agreed with the robot.
        worker: identity of this life of the server.
        send: sends a record to the robot, before others if it is urgent (True); drops it rather than wait.
        ready: called when there is a new picture for the model.
        feature_format: how features are written.
    """

    def __init__(
        self,
        name: str,
        hello: Hello,
        worker: int,
        send: Callable[[bytes, bool], None],
        ready: Callable[[], None],
        feature_format: FeatureFormat,
    ) -> None:
        self.name = name
        self.hello = hello
        self.counts: Counter[str] = Counter()
        """Records by what became of them, and bytes up and down."""
        self.server_ms = 0.0
        self.queue_ms = 0.0
        self.robot_gone_s: float | None = None
        """When the robot's liveliness token vanished."""
        self.last_frame_s = time.monotonic()
        self._worker = worker
        self._model: StreamModel | None = None
        self._send = send
        self._ready = ready
        self._format = feature_format
        self._chain = DecodeChain()
        self._noticed_s: dict[Code, float] = {}
        self._lock = threading.Condition()
        self._inbox: deque[tuple[bytes, float]] = deque()
        self._job: Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._decode_all, name=f'cloud-decode {name}', daemon=True)
        self._thread.start()

    def offer(self, data: bytes) -> None:
        """A record of the robot's arrived; returns at once."""
        with self._lock:
            if len(self._inbox) >= _INBOX:
                self.count('flooded')
                return
            self._inbox.append((data, time.monotonic()))
            self._lock.notify()

    def count(self, what: str, number: int = 1) -> None:
        """Counts an event of this stream, from any thread."""
        with self._lock:
            self.counts[what] += number

    def waiting(self) -> bool:
        """Whether there is a picture for the model."""
        with self._lock:
            return self._job is not None

    def take(self) -> Job | None:
        """The newest picture, for the caller to `answer`."""
        with self._lock:
            job, self._job = self._job, None
            return job

    def answer(self, job: Job, make_model: Callable[[Hello], StreamModel]) -> None:
        """Runs the model, which is made for the first picture, and sends the features; belongs to the model's thread.

        What the model raises is passed on, after the robot was told and the model's state of this stream forgotten.
        """
        start_s = time.monotonic()
        frame = job.frame
        try:
            if self._model is None:
                self._model = make_model(self.hello)
            features = self._model.step(job.image, frame.stamp_ns, frame.predicted_delay_ms)
            if features.shape != self.hello.feature_shape:
                raise WireError(
                    'value', f'the model gave features {features.shape}, agreed were {self.hello.feature_shape}'
                )
            data = self._format.pack(features)
        except Exception as error:
            self._model = None
            self.count('failed')
            self.notice(Code.FAILED, frame.sequence, f'{type(error).__name__}: {error}')
            raise
        now_s = time.monotonic()
        self.queue_ms = (start_s - job.arrived_s) * 1e3
        self.server_ms = (now_s - start_s) * 1e3
        received = self._chain.received
        assert received is not None
        record = FeaturesDown(
            frame.sequence, frame.stamp_ns, frame.sent_ns, frame.predicted_delay_ms, received, self.queue_ms,
            self.server_ms, self.hello.feature_shape, data, self.hello.session, self._worker,
        )  # fmt: skip
        self._post(record.pack(), urgent=False)
        self.count('answered')

    def notice(self, code: Code, sequence: int = 0, text: str = '') -> None:
        """Tells the robot something; the same code at most once a second (key frames: four times)."""
        now_s = time.monotonic()
        if code != Code.ACK:
            if now_s - self._noticed_s.get(code, -1e9) < _NOTICE_PAUSE_S.get(code, _PAUSE_S):
                code = Code.ACK
            else:
                self._noticed_s[code] = now_s
        text = '' if code == Code.ACK else text
        self._post(
            Notice(code, sequence, text, self._chain.received, self.hello.session, self._worker).pack(), urgent=True
        )

    def close(self) -> None:
        """Ends the stream's thread; nothing is sent afterwards."""
        with self._lock:
            self._closing = True
            self._inbox.clear()
            self._job = None
            self._lock.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _post(self, data: bytes, urgent: bool) -> None:
        with self._lock:
            if self._closing:
                return
        self.count('bytes_down', len(data))
        self._send(data, urgent)

    # -- the stream's own thread

    def _decode_all(self) -> None:
        decoder = H264Decoder()
        while True:
            with self._lock:
                while not (self._inbox or self._closing):
                    self._lock.wait()
                if self._closing:
                    return
                data, arrived_s = self._inbox.popleft()
            self.count('bytes_up', len(data))
            try:
                record = unpack(data)
            except WireError as error:
                self.count(f'malformed: {error.code}')
                self.notice(Code.MALFORMED, text=str(error))
                continue
            if isinstance(record, FrameUp):
                self._take_frame(record, arrived_s, decoder)
            elif isinstance(record, Notice):
                self.count(f'robot: {record.code.name.lower()}')
            else:
                self.count('unexpected kind')
                self.notice(Code.REFUSED, record.sequence, f'a {type(record).__name__} was not expected here')

    def _take_frame(self, frame: FrameUp, arrived_s: float, decoder: H264Decoder) -> None:
        if frame.worker != self._worker or frame.session != self.hello.session:
            # Meant for another server, or for an earlier life of this stream: late, and nobody waits for it.
            self.count('another session')
            return
        self.last_frame_s = arrived_s
        self.robot_gone_s = None
        self.count('frames')
        size = (frame.height, frame.width)
        if size != self.hello.camera_size:
            self.count('wrong size')
            agreed = self.hello.camera_size
            self.notice(
                Code.REFUSED,
                frame.sequence,
                f'picture of {size[1]}x{size[0]}, agreed were {agreed[1]}x{agreed[0]}; say hello with the new size',
            )
            return
        verdict = self._chain.judge(frame)
        if verdict is Verdict.OLD:
            self.count('old')
            self.notice(Code.STALE, frame.sequence, f'frame {frame.sequence} came twice or after a newer one')
        elif verdict is Verdict.GAP:
            self.count('undecodable')
            self.notice(Code.NEED_KEYFRAME, frame.sequence, f'frame {frame.reference} is not here')
        else:
            self._decode(frame, arrived_s, decoder)

    def _decode(self, frame: FrameUp, arrived_s: float, decoder: H264Decoder) -> None:
        try:
            image = decoder.decode(frame.data, (frame.height, frame.width))
        except InputError as error:
            self._chain.broken()
            decoder.reset()
            self.count('damaged')
            self.notice(Code.NEED_KEYFRAME, frame.sequence, str(error))
            return
        self._chain.decoded(frame)
        self.notice(Code.ACK, frame.sequence)
        with self._lock:
            if self._job is not None:
                self.count('passed over')
            self._job = Job(frame, image, arrived_s)
        self._ready()
