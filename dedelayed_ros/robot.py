"""The robot's side in one piece and without ROS: a frame in, a mask out, the cloud asked along the way.

The nodes do the same in processes of their own; this is for `dedelayed run`, for tests, and for programs that bring
their own frames.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dedelayed_ros.edge import EdgePipeline, EdgeResult, EdgeSettings
from dedelayed_ros.frames import EncoderSettings, H264Encoder
from dedelayed_ros.greeting import feature_format, greeting
from dedelayed_ros.link import CloudClient, FeatureRecord, LinkSettings, LinkStatus
from dedelayed_ros.offload.auto import AutoPipeline
from dedelayed_ros.offload.pipeline import OffloadPipeline, OffloadSettings

if TYPE_CHECKING:
    from dedelayed_ros.frames import EncodedPicture, Frame


@dataclass(frozen=True)
class RobotSettings:
    """``cloud``: endpoint of a `dedelayed cloud`, as tcp/host:port, or None; ``bitrate_kbps`` of the uplink, or with
    ``adapt_bitrate`` less where it carries less.

    ``offload``: run in offload mode, and ``edge`` is not used; with ``auto`` in mode 'auto', where both are.
    """

    edge: EdgeSettings = field(default_factory=EdgeSettings)
    cloud: str | None = None
    bitrate_kbps: float = 4000.0
    adapt_bitrate: bool = True
    encoder: str = 'libx264'
    offload: OffloadSettings | None = None
    auto: bool = False


@dataclass(frozen=True)
class _Coded:
    """A picture of the camera's stream; ``reference``: the one that it predicts from, None: the one before."""

    sequence: int
    reference: int | None
    stamp_ns: int
    picture: EncodedPicture


class Robot:
    """One camera's robot side. :meth:`see` belongs to one thread; or :meth:`take` to one, what it returns to another.

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
        limit = self._limit_uplink if settings.adapt_bitrate else None
        link = None if settings.cloud is None else LinkSettings(endpoint=settings.cloud, limit_uplink=limit)
        self._keyframe_wanted = threading.Event()
        self._limit_kbps = math.inf
        self._offload: OffloadPipeline | AutoPipeline | None = None
        self._edge: EdgePipeline | None = None
        ask = self._keyframe_wanted.set
        if settings.offload is not None and settings.auto:
            self._offload = AutoPipeline(
                settings.offload, settings.edge, size, rate, link, on_status, request_keyframe=ask
            )
            self._edge = self._offload.local
        elif settings.offload is not None:
            self._offload = OffloadPipeline(settings.offload, size, rate, link, on_status, request_keyframe=ask)
        else:
            self._edge = EdgePipeline(settings.edge, size)
        self._encoder = H264Encoder(
            EncoderSettings(size=size, rate=rate, encoder=settings.encoder, bitrate_kbps=settings.bitrate_kbps)
        )
        self._lock = threading.Lock()
        self._bytes = (0, 0)
        self._waits = False
        self._client: CloudClient | None = None
        if link is not None and self._edge is not None and settings.edge.mode != 'local':
            self._client = CloudClient(
                link,
                greeting(settings.edge.model, size, rate),
                self._on_features,
                on_status if self._offload is None else lambda status: None,
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
        return self.take(frame)()

    @property
    def waits(self) -> bool:
        """Whether the frame that was taken last waits for the cloud, so that others can be taken meanwhile."""
        return self._waits

    def take(self, frame: Frame) -> Callable[[], EdgeResult]:
        """Encode a frame, and send it where it goes; what is returned finishes it, and is called in the same order."""
        start = time.perf_counter()
        picture = frame.picture
        if picture is None:
            self._encoder.set_limit(self._limit_kbps)
            wanted = self._keyframe_wanted.is_set()
            self._keyframe_wanted.clear()
            picture = self._encoder.encode(frame.image, keyframe=wanted)
        encoding_ms = (time.perf_counter() - start) * 1e3
        if self._client is not None:
            self._client.submit(picture, frame.sequence, frame.stamp_ns)
        told: dict[str, Any] = {
            'stamp_ns': frame.stamp_ns,
            'sequence': frame.sequence,
            'motion': picture.motion,
            'intra_ratio': picture.intra_ratio,
            'keyframe': picture.keyframe,
        }
        offload, edge = self._offload, self._edge
        if offload is None:
            assert edge is not None
            return lambda: self._finished(edge.step(frame.image, **told), encoding_ms)
        coded = _Coded(frame.sequence, None, frame.stamp_ns, picture)
        begun = offload.begin(frame.image, **told, coded=coded)
        self._waits = begun.asked
        return lambda: self._finished(begun.finish(), encoding_ms)

    def _finished(self, result: EdgeResult, encoding_ms: float) -> EdgeResult:
        provenance = result.provenance
        if provenance.source == 'cloud':
            with self._lock:
                up, down = provenance.bytes_up, provenance.bytes_down
                self._bytes = self._bytes[0] + up, self._bytes[1] + down
        stages = {'encode': encoding_ms, **provenance.stages_ms}
        provenance = replace(provenance, stages_ms=stages, latency_ms=encoding_ms + provenance.latency_ms)
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

    def _limit_uplink(self, kbps: float) -> None:
        self._limit_kbps = kbps

    def _on_features(self, record: FeatureRecord) -> None:
        if isinstance(self._offload, AutoPipeline):
            self._offload.offer_features(record)
        elif self._edge is not None:
            self._edge.offer_features(record)
        with self._lock:
            self._bytes = self._bytes[0] + record.bytes_up, self._bytes[1] + record.bytes_down
