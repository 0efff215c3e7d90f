"""The bridge node: the robot's end of the link to the cloud, for all modes but 'offload', which is perception's own."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedelayed_ros.errors import InputError
from dedelayed_ros.link import CloudClient, FeatureRecord, LinkSettings, LinkStatus
from dedelayed_ros.msg import EncodedFrame, RemoteFeatures
from dedelayed_ros.nodes.camera_requests import Camera, CameraRequests
from dedelayed_ros.nodes.diagnostics import Level, Report
from dedelayed_ros.nodes.lifecycle import CHAIN, RELIABLE, StreamNode, run
from dedelayed_ros.nodes.messages import CodedFrame, coded_frame, features_message
from dedelayed_ros.nodes.settings import BridgeSettings

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher

_RATES = (1.0, 1000.0)  # frames a second that are believed


class BridgeNode(StreamNode[BridgeSettings]):
    """Sends ``encoded`` to the cloud and publishes what comes back as ``remote_features``.

    ``on_features`` are listeners in the same process, called from a thread of the link. With ``subscribe=False`` the
    ``camera`` of the same process calls :meth:`offer_coded`, and is called itself instead of its service and topic.
    """

    settings_type = BridgeSettings

    def __init__(self, *, subscribe: bool = True, camera: Camera | None = None, **options: Any) -> None:
        self.on_features: list[Callable[[FeatureRecord], None]] = []
        self._subscribe = subscribe
        self._camera = CameraRequests(self, camera)
        self._lock = threading.Lock()  # guards the client against being replaced while it is used
        self._client: CloudClient | None = None
        self._client_size: tuple[int, int] | None = None
        self._first: CodedFrame | None = None
        self._features: LifecyclePublisher | None = None
        self._frame_id = ''
        super().__init__('bridge', **options)

    def offer_coded(self, coded: CodedFrame) -> None:
        """A frame to send, from any thread; never waits for the network."""
        with self._lock:
            if not self.active or not self.settings.endpoint or self.settings.mode == 'offload':
                return
            self._frame_id = coded.frame_id
            if self._client is None or self._client_size != coded.picture.size:
                self._connect(coded)
            if self._client is not None:
                self._client.submit(coded.picture, coded.sequence, coded.stamp_ns, coded.reference)

    # -- lifecycle

    def configure(self) -> None:
        """Check the names and the endpoint; create topics. The cloud itself may be anywhere or nowhere."""
        settings = self.settings
        if settings.zenoh_config and not Path(settings.zenoh_config).is_file():
            raise InputError(f'zenoh_config is {settings.zenoh_config!r}, which is no file')
        if settings.endpoint and settings.mode != 'offload':
            self._make_client((480, 640), 30.0)
        self._features = self.publisher(RemoteFeatures, 'remote_features', RELIABLE)
        if self._subscribe:
            self.subscription(EncodedFrame, 'encoded', self._on_encoded, CHAIN)
        self._camera.open(settings.camera_node)

    def activate(self) -> None:
        """The connection begins with the first frame, whose size the cloud has to know."""
        if not self.settings.endpoint:
            self.get_logger().info('no endpoint is set: masks are local. Set endpoint:=tcp/HOST:PORT to use a cloud')

    def deactivate(self) -> None:
        """Leave the cloud."""
        with self._lock:
            client, self._client, self._first = self._client, None, None
        if client is not None:
            client.stop()

    def cleanup(self) -> None:
        """Let go of the service."""
        self._camera.close()

    def report(self) -> Report:
        """The state of the link."""
        client = self._client
        values: dict[str, Any] = {'endpoint': self.settings.endpoint, 'connected': False, 'reason': ''}
        if not self.settings.endpoint:
            return Report(Level.OK, 'no endpoint is set: masks are local', {**values, 'reason': 'no endpoint is set'})
        if self.settings.mode == 'offload':
            return Report(Level.OK, 'perception offloads frames by itself', {**values, 'reason': 'mode is offload'})
        if client is None:
            return Report(Level.WARN, 'waiting for the camera', {**values, 'reason': 'waiting for the camera'})
        status = client.status
        values.update(_figures(status))
        if status.connected:
            limit = status.uplink_limit_kbps
            carries = (
                '' if math.isinf(limit) else f'; the uplink carries less than the camera would send: {limit:.0f} kbit/s'
            )
            return Report(Level.OK, f'connected to {status.worker} at {self.settings.endpoint}{carries}', values)
        return Report(Level.WARN, status.reason or 'connecting', values)

    # -- the link

    def _connect(self, coded: CodedFrame) -> None:
        """A client for pictures of this size. The rate is taken from the first two. The lock is held."""
        first, self._first = self._first, coded
        if first is None or first.picture.size != coded.picture.size or coded.stamp_ns <= first.stamp_ns:
            return
        rate = (coded.sequence - first.sequence) * 1e9 / (coded.stamp_ns - first.stamp_ns)
        if self._client is not None:
            self._client.stop()
        self._client = self._make_client(coded.picture.size, min(max(rate, _RATES[0]), _RATES[1]))
        self._client_size = coded.picture.size
        self._client.start()

    def _make_client(self, size: tuple[int, int], rate: float) -> CloudClient:
        from dedelayed_ros.greeting import feature_format, greeting

        settings = self.settings
        hello = greeting(settings.model, size, rate)
        link = LinkSettings(
            endpoint=settings.endpoint,
            robot=settings.robot,
            camera=settings.camera,
            config=Path(settings.zenoh_config) if settings.zenoh_config else None,
            max_in_flight=settings.max_in_flight,
            delay_quantile=settings.delay_quantile,
            limit_uplink=self._camera.limit_bitrate,
            least_uplink_kbps=float(settings.min_bitrate_kbps),
            clock_ns=lambda: self.get_clock().now().nanoseconds,
        )
        return CloudClient(
            link,
            hello,
            self._on_answer,
            self._on_status,
            self._camera.request_keyframe,
            feature_format=feature_format(settings.model),
        )

    def _on_answer(self, record: FeatureRecord) -> None:
        for listener in self.on_features:
            listener(record)
        if self._features is not None and self._features.get_subscription_count():
            self._features.publish(features_message(record, self._frame_id))

    def _on_status(self, status: LinkStatus) -> None:
        if status.connected:
            self.get_logger().info(f'connected to {status.worker} at {self.settings.endpoint}')
        else:
            self.get_logger().warning(f'no cloud, masks are local: {status.reason}')

    def _on_encoded(self, message: EncodedFrame) -> None:
        try:
            self.offer_coded(coded_frame(message))
        except InputError as error:
            self.warn_once(str(error))


def _figures(status: LinkStatus) -> dict[str, Any]:
    return {
        'connected': status.connected,
        'reason': status.reason,
        'worker': status.worker,
        'round trip ms p50': status.round_trip_ms.p50,
        'round trip ms p90': status.round_trip_ms.p90,
        'round trip ms p99': status.round_trip_ms.p99,
        'predicted delay ms': status.predicted_delay_ms,
        'in flight': status.in_flight,
        'frames submitted': status.submitted,
        'frames sent': status.sent,
        'features received': status.received,
        'key frames requested': status.keyframe_requests,
        'uplink kbit/s': status.kbps_up,
        'uplink limit kbit/s': status.uplink_limit_kbps,
        'downlink kbit/s': status.kbps_down,
        **{f'dropped, {reason}': count for reason, count in status.dropped.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The executable `bridge`."""
    return run('bridge', lambda: [BridgeNode()], argv)
