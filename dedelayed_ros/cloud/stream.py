"""One camera's stream at the server: decoder, chain of pictures, newest picture for the model, answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dedelayed_ros.cloud.inbox import Stream, Wires
from dedelayed_ros.cloud.intake import Intake
from dedelayed_ros.cloud.served import StreamModel
from dedelayed_ros.cloud.shared_picture import SharedPicture
from dedelayed_ros.frames import DecodedPicture, H264Decoder
from dedelayed_ros.link import Code, FeatureFormat, FeaturesDown, FrameUp, Hello, WireError


@dataclass(frozen=True)
class Job:
    """The newest decoded picture of a stream, for the model. `arrived_s` is on this process's monotonic clock."""

    frame: FrameUp
    image: np.ndarray
    arrived_s: float


@dataclass(frozen=True)
class _Decoded:
    """A picture, and where somebody watches the same with its motion."""

    image: np.ndarray
    moved: DecodedPicture | None


class CloudStream(Stream):
    """Decodes every picture in order, in a thread of its own, and holds the newest ready for the model's thread.

    Args:
        feature_format: how features are written; the others are those of :class:`Stream`.
    """

    hello: Hello

    def __init__(self, hello: Hello, wires: Wires, feature_format: FeatureFormat) -> None:
        super().__init__(hello, wires)
        self._model: StreamModel | None = None
        self._format = feature_format
        # That it can read vectors costs nothing until it does.
        self._decoder = H264Decoder(motion=True)
        self._intake: Intake[_Decoded] = Intake(self, hello.camera_size, self._decode)
        self._watch: tuple[Callable[[SharedPicture], None], float] | None = None
        self._watched = False  # when the picture in hand came
        self._thread.start()

    @property
    def received(self) -> int | None:
        """Sequence of the newest picture that arrived; None before the first."""
        return self._intake.received

    @property
    def in_step(self) -> bool:
        """Whether the newest picture that arrived was decoded."""
        return self._intake.in_step

    def watch(self, watcher: Callable[[SharedPicture], None], seconds: float) -> None:
        """Pictures that come within the next ``seconds`` are shown to ``watcher``, from this stream's thread, with
        their motion, which is read only then. From any thread; the last watcher counts.
        """
        with self._lock:
            self._watch = watcher, time.monotonic() + seconds

    def answer(self, job: Job, make_model: Callable[[Hello], StreamModel]) -> None:
        """Runs the model, which is made for the first picture, and sends the features; belongs to the model's thread.

        What the model raises is passed on, after the robot was told and the model's state of this stream forgotten.
        """
        start_s = time.monotonic()
        frame = job.frame
        try:
            features = self.model(make_model).step(job.image, frame.stamp_ns, frame.predicted_delay_ms)
        except Exception as error:
            self._failed(job, error)
            raise
        self.send(job, features, start_s)

    def model(self, make_model: Callable[[Hello], StreamModel]) -> StreamModel:
        """The model's state of this stream; belongs to the model's thread."""
        if self._model is None:
            self._model = make_model(self.hello)
        return self._model

    def send(self, job: Job, features: np.ndarray, start_s: float) -> None:
        """Sends what the model gave for a frame, which it was asked for at ``start_s``; belongs to the model's thread.

        Features that are none are refused, as what the model raises is.
        """
        frame = job.frame
        try:
            if features.shape != self.hello.feature_shape:
                raise WireError(
                    'value', f'the model gave features {features.shape}, agreed were {self.hello.feature_shape}'
                )
            data = self._format.pack(features)
        except Exception as error:
            self._failed(job, error)
            raise
        now_s = time.monotonic()
        self.queue_ms = (start_s - job.arrived_s) * 1e3
        self.server_ms = (now_s - start_s) * 1e3
        received = self.received
        assert received is not None
        record = FeaturesDown(
            frame.sequence, frame.stamp_ns, frame.sent_ns, frame.predicted_delay_ms, received, self.queue_ms,
            self.server_ms, self.hello.feature_shape, data, self.hello.session, self._worker,
        )  # fmt: skip
        self._post(record.pack(), urgent=False)
        self.count('answered')

    def _failed(self, job: Job, error: Exception) -> None:
        self._model = None
        self.count('failed')
        self.notice(Code.FAILED, job.frame.sequence, f'{type(error).__name__}: {error}')

    def _take(self, record: Any, arrived_s: float) -> bool:
        if not isinstance(record, FrameUp):
            return False
        if self._is_ours(record):
            self._take_frame(record, arrived_s)
        return True

    def _take_frame(self, frame: FrameUp, arrived_s: float) -> None:
        self.last_frame_s = arrived_s
        self.robot_gone_s = None
        self.count('frames')
        watcher, before = self._watcher(), self.received
        self._watched = watcher is not None
        decoded = self._intake.take(frame)
        if watcher is not None and self.received != before:
            moved = None if decoded is None else decoded.moved
            watcher(SharedPicture(frame.session, frame.sequence, frame.reference, frame.stamp_ns, moved))
        if decoded is not None and frame.answer:
            self._put_job(Job(frame, decoded.image, arrived_s))

    def _watcher(self) -> Callable[[SharedPicture], None] | None:
        with self._lock:
            if self._watch is not None and time.monotonic() >= self._watch[1]:
                self._watch = None  # whoever watched may be gone
            return None if self._watch is None else self._watch[0]

    def _decode(self, data: bytes, size: tuple[int, int]) -> _Decoded:
        if not self._watched:
            return _Decoded(self._decoder.decode(data, size), None)
        moved = self._decoder.decode_moved(data, size)
        return _Decoded(moved.image, moved)
