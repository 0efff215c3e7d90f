"""The camera node: takes frames from a source, publishes them, and encodes them as H.264 with their motion."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import Image
from std_msgs.msg import Float32
from std_srvs.srv import Trigger

from dedelayed_ros.errors import DedelayedError, InputError
from dedelayed_ros.frames import LEAST_KBPS, EncodedPicture, EncoderSettings, Frame, H264Encoder, Source, open_source
from dedelayed_ros.link import RateMeter
from dedelayed_ros.msg import EncodedFrame
from dedelayed_ros.nodes.camera_requests import LIMIT
from dedelayed_ros.nodes.diagnostics import Level, Report
from dedelayed_ros.nodes.images import to_image
from dedelayed_ros.nodes.lifecycle import CHAIN, LATCHED, SENSOR_DATA, StreamNode, Worker, run
from dedelayed_ros.nodes.messages import CodedFrame, encoded_message, header
from dedelayed_ros.nodes.ros_source import RosImageSource
from dedelayed_ros.nodes.settings import CameraSettings

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher

ROS = 'ros'
_SILENCE_S = 2.0  # no frame for so long is worth a warning
_LIVE = ('/dev/', 'v4l2:', 'device:')


@dataclass
class _Figures:
    """What the diagnostics tell, counted from activation."""

    problem: str = ''
    ended: bool = False
    due: int = 0
    taken: int = 0
    keyframes: int = 0
    size: tuple[int, int] | None = None
    encode_ms: float = 0.0
    last_s: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)  # guards the meter
    rate: RateMeter = field(default_factory=RateMeter)


class CameraNode(StreamNode[CameraSettings]):
    """Publishes ``image_raw`` (not with the source 'ros', which is a topic already) and ``encoded``.

    ``on_frame`` and ``on_coded`` are listeners in the same process; they are called from the capture thread, an image
    always before its coded frame. Topics are published only while somebody subscribes.
    """

    settings_type = CameraSettings

    def __init__(self, **options: Any) -> None:
        self.on_frame: list[Callable[[Frame], None]] = []
        self.on_coded: list[Callable[[CodedFrame], None]] = []
        self._source: Source | None = None
        self._worker: Worker | None = None
        self._encoder: H264Encoder | None = None
        self._images: LifecyclePublisher | None = None
        self._encoded: LifecyclePublisher | None = None
        self._keyframe_wanted = threading.Event()
        self._previous: int | None = None  # sequence of the picture that the next one predicts from
        self._bitrate: float | None = None  # a new target that the encoder has not been told yet
        self._limit = math.inf  # what the uplink carries
        self._own_h264 = False
        self._figures = _Figures()
        super().__init__('camera', **options)
        self.create_service(Trigger, '~/request_keyframe', self._on_request)

    def request_keyframe(self) -> None:
        """The next picture becomes a key frame. May be called from any thread."""
        self._keyframe_wanted.set()

    def limit_bitrate(self, kbps: float) -> None:
        """The uplink carries no more than that (kbit/s; infinite: more than enough). May be called from any thread."""
        self._limit = kbps

    # -- lifecycle

    def configure(self) -> None:
        """Open what is a file, so that a wrong name fails here and at once; devices may appear later."""
        settings = self.settings
        if bool(settings.width) != bool(settings.height):
            raise InputError(
                f'width is {settings.width} and height {settings.height}; '
                'set both, or neither to keep the size of the source'
            )
        EncoderSettings(
            size=(480, 640), encoder=settings.encoder, preset=settings.preset, bitrate_kbps=settings.bitrate_kbps,
            gop=settings.gop,
        )  # fmt: skip
        if not self._is_live():
            self._source = self._open()
        if settings.input != ROS:
            self._images = self.publisher(Image, 'image_raw', SENSOR_DATA)
        self._encoded = self.publisher(EncodedFrame, 'encoded', CHAIN)
        self.subscription(Float32, LIMIT, self._on_limit, LATCHED)
        if settings.input == ROS:
            self.subscription(Image, 'image_in', self._on_image, SENSOR_DATA)

    def activate(self) -> None:
        """Begin to capture."""
        self._figures = _Figures()
        if self._source is None and self._is_topic():
            self._source = self._open()
        self._worker = Worker(self, 'capture', self._capture)

    def deactivate(self) -> None:
        """Stop capturing and let go of the device."""
        if self._worker is not None:
            source = self._source
            self._worker.stop(wake=source.close if isinstance(source, RosImageSource) else lambda: None)
            self._worker = None
        self._close_source()

    def cleanup(self) -> None:
        """Let go of the source."""
        self._close_source()
        self._images = self._encoded = None

    def changed(self, name: str) -> None:
        """The bit rate is the one thing that changes while frames flow."""
        if name == 'bitrate_kbps':
            self._bitrate = float(self.settings.bitrate_kbps)

    def report(self) -> Report:
        """What comes in, and what is wrong with it."""
        now_s = time.monotonic()
        silent_s = now_s - self._figures.last_s
        with self._figures.lock:
            kbps = self._figures.rate.kbps(now_s)
        level, message = Level.OK, f'{self.settings.input}: frames come'
        if self._figures.problem:
            level, message = Level.ERROR, self._figures.problem
        elif self._figures.ended:
            level, message = Level.WARN, f'{self.settings.input} is at its end'
        elif silent_s > _SILENCE_S:
            level, message = Level.WARN, f'{self.settings.input}: no frame for {silent_s:.1f} s'
        size = self._figures.size
        return Report(
            level,
            message,
            {
                'input': self.settings.input,
                'size': f'{size[1]}x{size[0]}' if size else '',
                'frames due': self._figures.due,
                'frames taken': self._figures.taken,
                'frames dropped': self._figures.due - self._figures.taken,
                'key frames': self._figures.keyframes,
                'encoder': "the source's own H.264" if self._own_h264 else self.settings.encoder,
                'encode ms': self._figures.encode_ms,
                'bitrate kbit/s': kbps,
                'bitrate target kbit/s': min(self.settings.bitrate_kbps, self._allowed()),
                'bitrate limit kbit/s': self._allowed(),
            },
        )

    # -- capture thread

    def _capture(self, stop: threading.Event) -> None:
        """Take frames until told to stop; a source that is lost is opened again."""
        while not stop.is_set():
            try:
                if self._source is None:
                    self._source = self._open()
                frame = self._source.read()
                if frame is not None:
                    self._take(frame)
                    self._set_problem('')
                    continue
            except DedelayedError as error:
                self._set_problem(str(error))
                if not self._is_topic():
                    self._close_source()
                    stop.wait(self.settings.retry_s)
                continue
            if stop.is_set():
                return
            if self._is_live():
                self._set_problem(f'{self.settings.input} ended; it is opened again every {self.settings.retry_s:g} s')
                self._close_source()
                stop.wait(self.settings.retry_s)
                continue
            self._figures.ended = True
            self.get_logger().info(f'{self.settings.input} is at its end after {self._figures.taken} frames')
            if self.settings.exit_at_end:
                self.exit_code = 0
            return

    def _take(self, frame: Frame) -> None:
        self._figures.last_s = time.monotonic()
        self._figures.taken += 1
        self._figures.due = frame.sequence + 1
        self._figures.size = (frame.image.shape[0], frame.image.shape[1])
        for listener in self.on_frame:
            listener(frame)
        if self._images is not None and self._images.get_subscription_count():
            self._images.publish(to_image(frame.image, header(frame.stamp_ns, frame.frame_id), 'rgb8'))
        picture = self._encode(frame)
        reference = frame.sequence if picture.keyframe or self._previous is None else self._previous
        self._previous = frame.sequence
        self._figures.keyframes += picture.keyframe
        with self._figures.lock:
            self._figures.rate.add(len(picture.data), self._figures.last_s)
        coded = CodedFrame(frame.sequence, reference, frame.stamp_ns, frame.frame_id, picture)
        for hear in self.on_coded:
            hear(coded)
        if self._encoded is not None and self._encoded.get_subscription_count():
            self._encoded.publish(encoded_message(coded))

    def _encode(self, frame: Frame) -> EncodedPicture:
        self._own_h264 = frame.picture is not None
        if frame.picture is not None:
            return frame.picture
        size = (frame.image.shape[0], frame.image.shape[1])
        if self._encoder is not None and self._encoder.settings.size != size:
            self._encoder.close()
            self._encoder = None
        if self._encoder is None:
            settings = self.settings
            rate = self._source.rate if self._source is not None else 30.0
            self._encoder = H264Encoder(
                EncoderSettings(
                    size=size, rate=rate, encoder=settings.encoder, preset=settings.preset,
                    bitrate_kbps=settings.bitrate_kbps, gop=settings.gop,
                )
            )  # fmt: skip
            self._bitrate = None
        if self._bitrate is not None:
            self._encoder.set_bitrate(self._bitrate)
            self._bitrate = None
        self._encoder.set_limit(self._allowed())
        wanted = self._keyframe_wanted.is_set()
        self._keyframe_wanted.clear()
        start = time.perf_counter()
        picture = self._encoder.encode(frame.image, keyframe=wanted)
        self._figures.encode_ms = (time.perf_counter() - start) * 1e3
        return picture

    # -- small things

    def _is_live(self) -> bool:
        """Whether the source is one that comes and goes, so that its absence at the start is no mistake."""
        uri = self.settings.input
        return uri == ROS or uri.startswith(_LIVE) or '://' in uri

    def _is_topic(self) -> bool:
        return self.settings.input == ROS

    def _open(self) -> Source:
        settings = self.settings
        size = (settings.height, settings.width) if settings.width else None
        rate = settings.rate or None
        if settings.input == ROS:
            return RosImageSource(size=size, rate=rate, frame_id=settings.frame_id)
        return open_source(
            settings.input, loop=settings.loop, pace=settings.pace, size=size, rate=rate, frame_id=settings.frame_id,
            openers={'street': _open_street},
        )  # fmt: skip

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.close()
        self._previous = None

    def _set_problem(self, problem: str) -> None:
        if problem != self._figures.problem:
            if problem:
                self.get_logger().error(problem)
            else:
                self.get_logger().info(f'{self.settings.input}: frames come again')
        self._figures.problem = problem

    def _on_image(self, message: Image) -> None:
        if isinstance(self._source, RosImageSource):
            self._source.offer(message)

    def _on_limit(self, message: Float32) -> None:
        if message.data >= LEAST_KBPS:
            self.limit_bitrate(message.data)
        else:
            self.warn_once(f'{LIMIT} says {message.data} kbit/s; expected {LEAST_KBPS:.1f} or more')

    def _allowed(self) -> float:
        return self._limit if self.settings.adapt_bitrate else math.inf

    def _on_request(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self.active and not self._own_h264
        if self._own_h264:
            response.message = 'the source delivers its own H.264; its next key frame comes when it sends one'
        elif not self.active:
            response.message = 'the camera is not active'
        else:
            response.message = 'the next frame is a key frame'
            self.request_keyframe()
        return response


def _open_street(rest: str, **options: Any) -> Source:
    from dedelayed_ros.sim.street import open_street

    return open_street(rest, **options)


def main(argv: Sequence[str] | None = None) -> int:
    """The executable `camera`."""
    return run('camera', lambda: [CameraNode()], argv)
