"""The robot's side in one piece and without ROS: a frame in, a mask out, the cloud asked along the way.

The nodes do the same in processes of their own; this is for `dedelayed run`, for tests, and for programs that bring
their own frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dedelayed_ros.edge import EdgePipeline, EdgeResult, EdgeSettings
from dedelayed_ros.frames import EncoderSettings, H264Encoder
from dedelayed_ros.greeting import feature_format, greeting
from dedelayed_ros.link import CloudClient, FeatureRecord, LinkSettings, LinkStatus
from dedelayed_ros.offload.pipeline import OffloadPipeline, OffloadSettings

if TYPE_CHECKING:
    from dedelayed_ros.frames import Frame


@dataclass(frozen=True)
class RobotSettings:
    """``cloud``: endpoint of a `dedelayed cloud`, as tcp/host:port, or None; ``bitrate_kbps`` of the uplink.

    ``offload``: run in offload mode, and ``edge`` is not used; then the encoder's bits stay on the robot.
    """

    edge: EdgeSettings = field(default_factory=EdgeSettings)
    cloud: str | None = None
    bitrate_kbps: float = 4000.0
    encoder: str = 'libx264'
    offload: OffloadSettings | None = None


class Robot:
    """One camera's robot side. :meth:`see` belongs to one thread.

    ``size`` (H, W) pixels and ``rate`` (frames a second) of the camera. ``on_status`` is told, from a thread of the
    link, when the cloud comes or goes; an unreachable cloud is never an error here.

    Raises:
        InputError, WeightsError, LinkError: a setting that cannot work at all.
    """

    def __init__(
        self,
        settings: RobotSettings,
        size: tuple[int, int],
        rate: float,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
    ) -> None:
        link = None if settings.cloud is None else LinkSettings(endpoint=settings.cloud)
        self._offload: OffloadPipeline | None = None
        self._edge: EdgePipeline | None = None
        if settings.offload is not None:
            self._offload = OffloadPipeline(settings.offload, size, rate, link, on_status)
        else:
            self._edge = EdgePipeline(settings.edge, size)
        self._encoder = H264Encoder(
            EncoderSettings(size=size, rate=rate, encoder=settings.encoder, bitrate_kbps=settings.bitrate_kbps)
        )
        self._keyframe_wanted = threading.Event()
        self._lock = threading.Lock()
        self._bytes = (0, 0)
        self._client: CloudClient | None = None
        if link is not None and self._edge is not None and settings.edge.mode != 'local':
            self._client = CloudClient(
                link,
                greeting(settings.edge.model, size, rate),
                self._on_features,
                on_status,
                self._keyframe_wanted.set,
                feature_format=feature_format(settings.edge.model),
            )
            self._client.start()

    @property
    def link(self) -> LinkStatus | None:
        """How the link is doing; None without a cloud."""
        if self._offload is not None:
            return self._offload.link
        return None if self._client is None else self._client.status

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes sent up and received, of all pictures up to the last answered one."""
        with self._lock:
            return self._bytes

    def see(self, frame: Frame) -> EdgeResult:
        """Segment a frame, uint8 [H, W, 3] of the camera's size; its provenance has the time of encoding too."""
        start = time.perf_counter()
        picture = frame.picture
        if picture is None:
            wanted = self._keyframe_wanted.is_set()
            self._keyframe_wanted.clear()
            picture = self._encoder.encode(frame.image, keyframe=wanted)
        encoding_ms = (time.perf_counter() - start) * 1e3
        if self._client is not None:
            self._client.submit(picture, frame.sequence, frame.stamp_ns)
        pipeline = self._offload or self._edge
        assert pipeline is not None
        result = pipeline.step(
            frame.image,
            stamp_ns=frame.stamp_ns,
            sequence=frame.sequence,
            motion=picture.motion,
            intra_ratio=picture.intra_ratio,
            keyframe=picture.keyframe,
        )
        if self._offload is not None:
            with self._lock:
                up, down = result.provenance.bytes_up, result.provenance.bytes_down
                self._bytes = self._bytes[0] + up, self._bytes[1] + down
        stages = {'encode': encoding_ms, **result.provenance.stages_ms}
        provenance = replace(result.provenance, stages_ms=stages, latency_ms=encoding_ms + result.provenance.latency_ms)
        return replace(result, provenance=provenance)

    def close(self) -> None:
        """End the link and the encoder."""
        if self._client is not None:
            self._client.stop()
        if self._offload is not None:
            self._offload.close()
        self._encoder.close()

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_features(self, record: FeatureRecord) -> None:
        if self._edge is not None:
            self._edge.offer_features(record)
        with self._lock:
            self._bytes = self._bytes[0] + record.bytes_up, self._bytes[1] + record.bytes_down
