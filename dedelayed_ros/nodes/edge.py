"""Camera, perception and bridge in one process: the same nodes, with frames handed over in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dedelayed_ros.nodes.bridge import BridgeNode
from dedelayed_ros.nodes.camera import CameraNode
from dedelayed_ros.nodes.lifecycle import StreamNode, run
from dedelayed_ros.nodes.perception import PerceptionNode


def compose(**options: Any) -> list[StreamNode]:
    """The three nodes, each with its own parameters and lifecycle, joined by calls instead of topics."""
    camera = CameraNode(**options)
    perception = PerceptionNode(subscribe=False, camera=camera, **options)
    bridge = BridgeNode(subscribe=False, camera=camera, **options)
    bridge.needed = False  # without it masks are local

    camera.on_frame.append(perception.offer_frame)
    camera.on_coded += [perception.offer_coded, bridge.offer_coded]
    bridge.on_features.append(perception.offer_features)
    # The camera last: its first frame finds the others awake.
    return [perception, bridge, camera]


def main(argv: Sequence[str] | None = None) -> int:
    """The executable `edge`."""
    return run('edge', compose, argv)
