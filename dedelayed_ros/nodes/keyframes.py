"""Asking the camera for a key frame, from whatever thread finds that one is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from std_srvs.srv import Trigger

if TYPE_CHECKING:
    from rclpy.client import Client

    from dedelayed_ros.nodes.lifecycle import StreamNode

_REQUEST_S = 0.2  # shortest time between two requests


class KeyframeRequests:
    """Calls the camera's service ``~/request_keyframe``, or ``ask`` where the camera is in the same process."""

    def __init__(self, node: StreamNode[Any], ask: Callable[[], None] | None) -> None:
        self._node = node
        self._ask = ask
        self._service: Client | None = None
        self._camera_node = ''
        self._asked_s = 0.0

    def open(self, camera_node: str) -> None:
        """Be ready to call the service of the node of that name."""
        self._camera_node = camera_node
        if self._ask is None:
            self._service = self._node.create_client(Trigger, f'{camera_node}/request_keyframe')

    def close(self) -> None:
        """Let go of the service."""
        service, self._service = self._service, None
        if service is not None:
            self._node.destroy_client(service)

    def request(self) -> None:
        """Ask, at most five times a second. The camera answers with a key frame; the service's own answer is not waited
        for.
        """
        now_s = time.monotonic()
        if now_s - self._asked_s < _REQUEST_S:
            return
        self._asked_s = now_s
        if self._ask is not None:
            self._ask()
        elif self._service is not None and self._service.service_is_ready():
            self._service.call_async(Trigger.Request())
        else:
            self._node.warn_once(
                f'the camera node {self._camera_node!r} offers no ~/request_keyframe: the cloud waits for its next key '
                'frame. Set camera_node to its name'
            )
