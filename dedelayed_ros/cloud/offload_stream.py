"""One camera's offloaded stream at the server: its replica of the robot's picture, its end of the model, its masks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dedelayed_ros import masks
from dedelayed_ros.cloud.inbox import Stream
from dedelayed_ros.link import Code, MaskDown, OffloadHello, ShardUp, WireError, pack_mask
from dedelayed_ros.offload.replica import OutOfStep, Receiver

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField
    from dedelayed_ros.offload import Endpoint


@dataclass(frozen=True)
class ShardJob:
    """The newest frame of a stream, for the model; ``motions`` are its own and those of frames passed over before."""

    record: ShardUp
    picture: np.ndarray
    motions: tuple[MotionField | None, ...]
    arrived_s: float


class OffloadStream(Stream):
    """Applies every frame to its replica, in a thread of its own, and holds the newest ready for the model's thread.

    A frame that does not fit the replica is not guessed at: the robot is told to send one whole, and why.
    """

    hello: OffloadHello

    def __init__(
        self,
        name: str,
        hello: OffloadHello,
        worker: int,
        send: Callable[[bytes, bool], None],
        ready: Callable[[], None],
    ) -> None:
        super().__init__(name, hello, worker, send, ready)
        self._receiver = Receiver(hello.input_size)
        self._replica = threading.Lock()  # guards the receiver against being evicted from while it takes a frame
        self._endpoint: Endpoint | None = None
        self._newest: int | None = None
        self._evicted = ''
        self._thread.start()

    @property
    def received(self) -> int | None:
        """Sequence of the newest frame that arrived; None before the first."""
        return self._newest

    @property
    def state_bytes(self) -> int:
        """Bytes that the stream remembers, for the model's thread."""
        return self._receiver.bytes + (0 if self._endpoint is None else self._endpoint.state_bytes)

    def evict(self, reason: str) -> None:
        """Forget the stream's caches, but not the stream; belongs to the model's thread."""
        with self._replica:
            self._receiver.reset()
            self._evicted = reason
        self._endpoint = None
        self.count('evicted')

    def answer(self, job: ShardJob, make_endpoint: Callable[[OffloadHello], Endpoint]) -> None:
        """Runs the model, which is made for the first frame, and sends the mask; belongs to the model's thread.

        What the model raises is passed on, after the robot was told and the stream's caches forgotten.
        """
        start_s = time.monotonic()
        record = job.record
        try:
            if self._endpoint is None:
                self._endpoint = make_endpoint(self.hello)
            for motion in job.motions:
                self._endpoint.observe(motion)
            logits, stats = self._endpoint.infer(job.picture)
            if len(logits) != self.hello.classes:
                raise WireError('value', f'the model gave {len(logits)} classes, agreed were {self.hello.classes}')
            data = pack_mask(*masks.render(logits, self.hello.mask_size))
        except Exception as error:
            self.count('failed')
            self.evict('the model failed')
            self.notice(Code.NEED_KEYFRAME, record.sequence, f'{type(error).__name__}: {error}')
            raise
        now_s = time.monotonic()
        self.queue_ms = (start_s - job.arrived_s) * 1e3
        self.server_ms = (now_s - start_s) * 1e3
        received = self._newest
        assert received is not None
        answer = MaskDown(
            record.sequence, record.stamp_ns, record.sent_ns, received, self.queue_ms, self.server_ms,
            stats.recompute_ratio, stats.compute_ratio, data, self.hello.session, self._worker,
        )  # fmt: skip
        self._post(answer.pack(), urgent=False)
        self.count('answered')

    def _take(self, record: Any, arrived_s: float) -> bool:
        if not isinstance(record, ShardUp):
            return False
        if not self._is_ours(record):
            return True
        self.last_frame_s = arrived_s
        self.robot_gone_s = None
        self.count('frames')
        if self._newest is not None and record.sequence <= self._newest:
            self.count('old')
            self.notice(Code.STALE, record.sequence, f'frame {record.sequence} came twice or after a newer one')
            return True
        self._newest = record.sequence
        try:
            with self._replica:
                picture, motion = self._receiver.take(record)
                self._evicted = ''
        except OutOfStep as error:
            self.count('out of step')
            why = f'; {self._evicted}' if self._evicted else ''
            self.notice(Code.NEED_KEYFRAME, record.sequence, f'{error}{why}. Send a whole frame')
            return True
        except WireError as error:
            self.count(f'malformed: {error.code}')
            with self._replica:
                self._receiver.reset()
            self.notice(Code.NEED_KEYFRAME, record.sequence, f'{error}. Send a whole frame')
            return True
        self.notice(Code.ACK, record.sequence)
        with self._lock:
            waiting: ShardJob | None = self._job
            passed = () if waiting is None else waiting.motions
            self.counts['passed over'] += waiting is not None
            self._job = ShardJob(record, picture, (*passed, motion), arrived_s)
        self._ready()
        return True
