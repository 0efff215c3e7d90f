"""What the link asks of the camera, from whatever thread finds it: a key frame, and how many bits it may send."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from std_msgs.msg import Float32
from std_srvs.srv import Trigger

from dedelayed_ros.nodes.lifecycle import LATCHED

if TYPE_CHECKING:
    from rclpy.client import Client
    from rclpy.lifecycle import LifecyclePublisher

    from dedelayed_ros.nodes.lifecycle import StreamNode

_REQUEST_S = 0.2  # shortest time between two requests
LIMIT = 'uplink_limit'
"""The topic of the most that the camera should send, kbit/s; infinite: whatever it likes."""


class Camera(Protocol):
    """The camera node, where it is in the same process. Both may be called from any thread."""

    def request_keyframe(self) -> None:
        """The next picture becomes a key frame."""

    def limit_bitrate(self, kbps: float) -> None:
        """The encoder's target is at most that from now on."""


class CameraRequests:
    """Calls the camera's service ``~/request_keyframe`` and publishes ``uplink_limit``, or calls a ``camera`` of the
    same process.
    """

    def __init__(self, node: StreamNode[Any], camera: Camera | None) -> None:
        self._node = node
        self._camera = camera
        self._service: Client | None = None
        self._limits: LifecyclePublisher | None = None
        self._camera_node = ''
        self._asked_s = 0.0

    def open(self, camera_node: str) -> None:
        """Be ready to call the service of the node of that name, and to publish."""
        self._camera_node = camera_node
        if self._camera is None:
            self._service = self._node.create_client(Trigger, f'{camera_node}/request_keyframe')
            self._limits = self._node.publisher(Float32, LIMIT, LATCHED)

    def close(self) -> None:
        """Let go of the service; the topic goes by itself."""
        service, self._service, self._limits = self._service, None, None
        if service is not None:
            self._node.destroy_client(service)

    def request_keyframe(self) -> None:
        """Ask, at most five times a second. The camera answers with a key frame; the service's own answer is not waited
        for.
        """
        now_s = time.monotonic()
        if now_s - self._asked_s < _REQUEST_S:
            return
        self._asked_s = now_s
        if self._camera is not None:
            self._camera.request_keyframe()
        elif self._service is not None and self._service.service_is_ready():
            self._service.call_async(Trigger.Request())
        else:
            self._node.warn_once(
                f'the camera node {self._camera_node!r} offers no ~/request_keyframe: the cloud waits for its next key '
                'frame. Set camera_node to its name'
            )

    def limit_bitrate(self, kbps: float) -> None:
        """Tell how much the uplink carries; infinite: more than the camera sends."""
        if self._camera is not None:
            self._camera.limit_bitrate(kbps)
        elif self._limits is not None:
            self._limits.publish(Float32(data=float(kbps)))
