"""The topics `segmentation/*`: masks, their confidence and provenance, and what is painted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sensor_msgs.msg import Image

from dedelayed_ros import masks
from dedelayed_ros.errors import InputError
from dedelayed_ros.msg import MaskProvenance
from dedelayed_ros.nodes.images import to_image
from dedelayed_ros.nodes.lifecycle import LATCHED, RELIABLE
from dedelayed_ros.nodes.messages import header, provenance_message

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher

    from dedelayed_ros.edge import EdgeResult
    from dedelayed_ros.models.labels import Labels
    from dedelayed_ros.nodes.lifecycle import StreamNode


class MaskTopics:
    """Publishers of one node, for masks of ``labels``. Pictures for people are painted only if somebody looks."""

    def __init__(self, node: StreamNode[Any], labels: Labels) -> None:
        self._labels = labels
        self._mask = node.publisher(Image, 'segmentation/mask', RELIABLE)
        self._confidence = node.publisher(Image, 'segmentation/confidence', RELIABLE)
        self._color_mask = node.publisher(Image, 'segmentation/color_mask', RELIABLE)
        self._overlay = node.publisher(Image, 'segmentation/overlay', RELIABLE)
        self._provenance = node.publisher(MaskProvenance, 'segmentation/provenance', RELIABLE)
        self._label_info = _label_publisher(node)

    @property
    def tells_labels(self) -> bool:
        """Whether `segmentation/label_info` can be published; `vision_msgs` is not in every installation."""
        return self._label_info is not None

    def publish(self, result: EdgeResult, frame_id: str) -> None:
        """The mask first: everything else may come a moment later."""
        provenance = result.provenance
        head = header(provenance.stamp_ns, frame_id)
        self._mask.publish(to_image(result.mask, head, 'mono8'))
        self._provenance.publish(provenance_message(provenance, frame_id))
        self._confidence.publish(to_image(result.confidence, head, 'mono8'))
        if self._color_mask.get_subscription_count():
            self._color_mask.publish(to_image(masks.colorize(result.mask, self._labels.palette), head, 'rgb8'))

    def paint(self, image: np.ndarray, result: EdgeResult, frame_id: str, alpha: float) -> None:
        """The overlay of a mask, weighted by ``alpha`` (0–1), on its picture uint8 [H, W, 3].

        Raises:
            InputError: the mask is of another size.
        """
        if not self._overlay.get_subscription_count():
            return
        if result.mask.shape != image.shape[:2]:
            raise InputError("segmentation/overlay needs masks at the camera's size: set mask_size to camera")
        painted = masks.overlay(image, result.mask, self._labels.palette, alpha)
        self._overlay.publish(to_image(painted, header(result.provenance.stamp_ns, frame_id), 'rgb8'))

    def publish_labels(self, stamp: Any) -> None:
        """The class names, as of ``stamp`` (a time message)."""
        if self._label_info is None:
            return
        from vision_msgs.msg import LabelInfo, VisionClass

        message = LabelInfo(threshold=0.0)
        message.header.stamp = stamp
        message.class_map = [
            VisionClass(class_id=number, class_name=name) for number, name in enumerate(self._labels.names)
        ]
        self._label_info.publish(message)


def _label_publisher(node: StreamNode[Any]) -> LifecyclePublisher | None:
    """Nav2's layer reads the class names there."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        return None
    return node.publisher(LabelInfo, 'segmentation/label_info', LATCHED)
