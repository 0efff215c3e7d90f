"""One camera's offloaded stream at the server: frames for its end of the model, and its masks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dedelayed_ros import masks
from dedelayed_ros.cloud.inbox import Stream, Wires
from dedelayed_ros.link import AskUp, Code, FrameUp, MaskDown, OffloadHello, ShardUp, WireError, pack_mask
from dedelayed_ros.offload.replica import OutOfStep, Receiver

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField
    from dedelayed_ros.offload import Endpoint

_WAITING = 8
"""Frames of a stream that wait for the model; of more the oldest goes without a mask."""


@dataclass(frozen=True)
class OffloadJob:
    """A frame for the model: its picture uint8 [H, W, 3] of the model's input, and how it came about.

    ``motion`` from the job before to this one, at any size; None: not known. ``arrived_s`` on this process's monotonic
    clock.
    """

    frame: ShardUp | FrameUp | AskUp
    picture: np.ndarray
    motion: MotionField | None
    arrived_s: float


class OffloadStream(Stream):
    """What streams of shards and of H.264 have in common: the model's end, its jobs and its answers.

    Every frame whose mask is wanted is computed, in order; only of a stream that sends more than the model can do the
    oldest are passed over.
    """

    hello: OffloadHello

    def __init__(self, hello: OffloadHello, wires: Wires) -> None:
        super().__init__(hello, wires)
        self._endpoint: Endpoint | None = None
        self._jobs: deque[OffloadJob] = deque()
        self._prepared = False

    @property
    def state_bytes(self) -> int:
        """Bytes that the stream remembers, for the model's thread."""
        return 0 if self._endpoint is None else self._endpoint.state_bytes

    def evict(self, reason: str) -> None:
        """Forget the stream's caches, but not the stream; belongs to the model's thread."""
        self._endpoint = None
        self.count('evicted')

    def waiting(self) -> bool:
        """Whether there is a frame for the model, or the model to be made for the frames that will come."""
        with self._lock:
            return bool(self._jobs) or not self._prepared

    def take(self) -> Any:
        """The oldest frame, for the caller to answer; None if there is none."""
        with self._lock:
            return self._jobs.popleft() if self._jobs else None

    def prepare(self, make_endpoint: Callable[[OffloadHello], Endpoint]) -> None:
        """Makes the model before the first frame is wanted; belongs to the model's thread."""
        self._prepared = True
        if self._endpoint is None:
            self._make(make_endpoint)

    def close(self) -> None:
        """Ends the stream's thread; nothing is sent afterwards."""
        super().close()
        self._jobs.clear()

    def answer(self, job: OffloadJob, make_endpoint: Callable[[OffloadHello], Endpoint]) -> None:
        """Runs the model, which is made for the first frame, and sends the mask; belongs to the model's thread.

        What the model raises is passed on, after the robot was told and the stream's caches forgotten.
        """
        frame = job.frame
        try:
            end = self._endpoint
            if end is None:
                end = self._make(make_endpoint)
                newer = self.take()
                if newer is not None:
                    job, frame = newer, newer.frame
                    self.count('passed over')
            start_s = time.monotonic()  # making it is waiting, not computing: no later frame has to
            end.observe(job.motion)
            logits, stats = end.infer(job.picture)
            if len(logits) != self.hello.classes:
                raise WireError('value', f'the model gave {len(logits)} classes, agreed were {self.hello.classes}')
            data = pack_mask(*masks.render(logits, self.hello.mask_size))
        except Exception as error:
            self.count('failed')
            self.evict('the model failed')
            self.notice(Code.NEED_KEYFRAME, frame.sequence, f'{type(error).__name__}: {error}')
            raise
        now_s = time.monotonic()
        self.queue_ms = (start_s - job.arrived_s) * 1e3
        self.server_ms = (now_s - start_s) * 1e3
        received = self.received
        assert received is not None
        answer = MaskDown(
            frame.sequence, frame.stamp_ns, frame.sent_ns, received, self.queue_ms, self.server_ms,
            stats.recompute_ratio, stats.compute_ratio, data, self.hello.session, self._worker,
        )  # fmt: skip
        self._post(answer.pack(), urgent=False)
        self.count('answered')

    def _put_job(self, job: OffloadJob) -> None:
        """A frame is ready for the model."""
        with self._lock:
            self._jobs.append(job)
            if len(self._jobs) > _WAITING:
                passed, next_job = self._jobs.popleft(), self._jobs[0]
                self._jobs[0] = replace(next_job, motion=_after(passed.motion, next_job.motion))
                self.counts['passed over'] += 1
        self._ready()

    def _make(self, make_endpoint: Callable[[OffloadHello], Endpoint]) -> Endpoint:
        """Makes the model's end. Of the frames that waited for it only the newest stays: none of them could be reused,
        and the robot has long given up the others.
        """
        end = self._endpoint = make_endpoint(self.hello)
        with self._lock:
            passed = len(self._jobs) - 1
            if passed > 0:
                self.counts['passed over'] += passed
                self._jobs = deque([replace(self._jobs[-1], motion=None)])
        return end

    def _arrived(self, arrived_s: float) -> None:
        self._seen(arrived_s)
        self.count('frames')

    def _seen(self, arrived_s: float) -> None:
        """The robot is there."""
        self.last_frame_s = arrived_s
        self.robot_gone_s = None


class ShardStream(OffloadStream):
    """Applies every shard to its replica, in a thread of its own.

    A frame that does not fit the replica is not guessed at: the robot is told to send one whole, and why.
    """

    def __init__(self, hello: OffloadHello, wires: Wires) -> None:
        super().__init__(hello, wires)
        self._receiver = Receiver(hello.input_size)
        self._replica = threading.Lock()  # guards the receiver against being evicted from while it takes a frame
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
        return self._receiver.bytes + super().state_bytes

    def evict(self, reason: str) -> None:
        """Forget the stream's caches, but not the stream; belongs to the model's thread."""
        with self._replica:
            self._receiver.reset()
            self._evicted = reason
        super().evict(reason)

    def _take(self, record: Any, arrived_s: float) -> bool:
        if not isinstance(record, ShardUp):
            return False
        if not self._is_ours(record):
            return True
        self._arrived(arrived_s)
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
        self._put_job(OffloadJob(record, picture, motion, arrived_s))
        return True


def _after(older: MotionField | None, newer: MotionField | None) -> MotionField | None:
    """Both motions in a row; None where either is not known."""
    return None if older is None or newer is None else older.compose(newer)
