"""An offloaded stream that comes as the camera's own H.264: decoded picture by picture, computed where it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dedelayed_ros.cloud.inbox import Wires
from dedelayed_ros.cloud.intake import Intake
from dedelayed_ros.cloud.offload_stream import OffloadJob, OffloadStream
from dedelayed_ros.frames import DecodedPicture, H264Decoder
from dedelayed_ros.link import FrameUp, OffloadHello
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.scene_cut import SceneCuts

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField


class PictureStream(OffloadStream):
    """Decodes every picture in order, in a thread of its own, and keeps account of the motion in their bits.

    Pictures that the robot computes by itself move nothing but the decoder and that account. A key frame does not say
    how it came about, and after a cut nothing does: the next frame is computed in full.
    """

    def __init__(self, hello: OffloadHello, wires: Wires) -> None:
        super().__init__(hello, wires)
        assert hello.camera_size is not None
        self._intake: Intake[DecodedPicture] = Intake(self, hello.camera_size, H264Decoder(motion=True).decode_moved)
        self._cuts = SceneCuts()
        self._motion: MotionField | None = None  # since the last frame that was computed; None: none, or not known
        self._known = False
        self._thread.start()

    @property
    def received(self) -> int | None:
        """Sequence of the newest picture that arrived; None before the first."""
        return self._intake.received

    def _take(self, record: Any, arrived_s: float) -> bool:
        if not isinstance(record, FrameUp):
            return False
        if not self._is_ours(record):
            return True
        self._arrived(arrived_s)
        decoded = self._intake.take(record)
        if decoded is None:
            return True
        small = scaled(decoded.image, self.hello.input_size)
        self._observe(None if self._cuts.is_cut(small, decoded.intra_ratio, decoded.keyframe) else decoded.motion)
        if record.answer:
            motion, self._motion, self._known = self._motion, None, True
            self._put_job(OffloadJob(record, np.ascontiguousarray(small), motion, arrived_s))
        return True

    def _observe(self, motion: MotionField | None) -> None:
        if motion is None:
            self._motion, self._known = None, False
        elif self._known:
            self._motion = motion if self._motion is None else self._motion.compose(motion)
