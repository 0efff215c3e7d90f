"""A ROS image topic as a source of frames: the newest image wins, and each keeps its own stamp and frame_id."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dedelayed_ros.frames import Frame, SourceBase, resize
from dedelayed_ros.nodes.images import to_rgb
from dedelayed_ros.nodes.messages import stamp_ns

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

RATE = 30.0  # nominal: a topic does not tell its rate before it was watched
_PATIENCE_S = 0.5


class RosImageSource(SourceBase):
    """Give :meth:`offer` to a subscription; :meth:`read` belongs to one other thread.

    ``size``: (H, W) to scale to, None keeps the topic's; then it is (0, 0) until the first image came, and may change.
    ``frame_id``: for images that have none.
    """

    def __init__(
        self, *, size: tuple[int, int] | None = None, rate: float | None = None, frame_id: str = 'camera'
    ) -> None:
        self.size = size or (0, 0)
        self.rate = rate or RATE
        self._forced = size
        self._frame_id = frame_id
        self._arrived = threading.Condition()
        self._newest: Image | None = None
        self._count = 0
        self._closed = False

    def offer(self, message: Image) -> None:
        """An image arrived. Never blocks."""
        with self._arrived:
            self._newest = message
            self._count += 1
            self._arrived.notify()

    def read(self) -> Frame | None:
        """The newest image that was not read yet, waiting for it; None once closed.

        Raises:
            InputError: the image is of an unknown encoding or damaged. The next one may be read all the same.
        """
        with self._arrived:
            while self._newest is None and not self._closed:
                self._arrived.wait(_PATIENCE_S)
            message, self._newest = self._newest, None
            sequence = self._count - 1
        if message is None or self._closed:
            return None
        image = to_rgb(message)
        if self._forced is not None and image.shape[:2] != self._forced:
            image = resize(image, self._forced)
        self.size = (image.shape[0], image.shape[1])
        return Frame(image, stamp_ns(message.header), sequence, message.header.frame_id or self._frame_id)

    def close(self) -> None:
        """End; a waiting read returns."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
