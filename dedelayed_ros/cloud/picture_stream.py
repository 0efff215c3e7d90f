"""An offloaded stream of pictures: those of the camera's own H.264, or those that its other stream takes up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dedelayed_ros.cloud.asked_pictures import WATCH_S, AskedPictures, Found, Missing
from dedelayed_ros.cloud.inbox import Wires
from dedelayed_ros.cloud.intake import Intake
from dedelayed_ros.cloud.offload_stream import OffloadJob, OffloadStream
from dedelayed_ros.frames import DecodedPicture, H264Decoder
from dedelayed_ros.link import AskUp, Code, FrameUp, Notice, OffloadHello
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.offload.endpoint import MotionSince
from dedelayed_ros.scene_cut import SceneCuts

if TYPE_CHECKING:
    from dedelayed_ros.cloud.stream import CloudStream

_SILENCE_S = 1.0
"""Another stream of which nothing came for so long has no pictures to ask for."""


class PictureStream(OffloadStream):
    """Decodes every picture in order, in a thread of its own, and keeps account of the motion in their bits.

    Pictures that the robot computes by itself move nothing but the decoder and that account. A key frame does not say
    how it came about, and after a cut nothing does: the next frame is computed in full. Pictures that the camera's
    other stream decodes at this server need not come here: they are asked for.
    """

    def __init__(self, hello: OffloadHello, wires: Wires) -> None:
        super().__init__(hello, wires)
        assert hello.camera_size is not None
        self._intake: Intake[DecodedPicture] = Intake(self, hello.camera_size, H264Decoder(motion=True).decode_moved)
        self._cuts = SceneCuts()
        self._account = MotionSince()
        self._sibling = wires.sibling
        self._asked = AskedPictures(hello.input_size)
        self._newest_ask: int | None = None
        self._thread.start()

    @property
    def received(self) -> int | None:
        """Sequence of the newest picture that arrived or was asked for; None before the first."""
        return max((n for n in (self._intake.received, self._newest_ask) if n is not None), default=None)

    @property
    def state_bytes(self) -> int:
        """Bytes that the stream remembers, for the model's thread."""
        return self._asked.bytes + super().state_bytes

    def evict(self, reason: str) -> None:
        """Forget the stream's caches, but not the stream; belongs to the model's thread."""
        self._asked.forget()
        super().evict(reason)

    def _take(self, record: Any, arrived_s: float) -> bool:
        if not isinstance(record, (FrameUp, AskUp)):
            return False
        if not self._is_ours(record):
            return True
        if isinstance(record, AskUp):
            self._take_ask(record, arrived_s)
        else:
            self._take_frame(record, arrived_s)
        return True

    def _take_frame(self, frame: FrameUp, arrived_s: float) -> None:
        self._arrived(arrived_s)
        decoded = self._intake.take(frame)
        if decoded is None:
            return
        small = scaled(decoded.image, self.hello.input_size)
        cut = self._cuts.is_cut(small, decoded.intra_ratio, decoded.keyframe)
        self._account.observe(None if cut else decoded.motion)
        if frame.answer:
            self._asked.lose()
            self._put_job(OffloadJob(frame, np.ascontiguousarray(small), self._account.take(), arrived_s))

    # -- pictures of the camera's other stream

    def _take_ask(self, ask: AskUp, arrived_s: float) -> None:
        self._seen(arrived_s)
        sibling = self._sibling()
        objection = self._objection(sibling)
        if sibling is not None and not objection and not ask.answer:
            objection = _unready(sibling, arrived_s)
        if sibling is None or objection:
            self._tell(Code.REFUSED, ask.sequence, objection)
            return
        if ask.answer and self._newest_ask is not None and ask.sequence <= self._newest_ask:
            self.count('old')
            self._tell(Code.STALE, ask.sequence, f'frame {ask.sequence} was asked for twice or after a newer one')
            return
        sibling.watch(self.share, WATCH_S)
        if not ask.answer:
            self._asked.keep_ready(arrived_s)
            self._tell(Code.SHARED, 0, '')
            return
        self.count('asks')
        self._newest_ask = ask.sequence
        self.notice(Code.ACK, ask.sequence)
        self._settle(self._asked.ask(ask, arrived_s))

    def _objection(self, sibling: CloudStream | None) -> str:
        """Why no picture can be asked for; empty if one can."""
        if sibling is None:
            return "this cloud does not have the camera's other stream"
        theirs, ours = sibling.hello.camera_size, self.hello.camera_size
        assert ours is not None
        if theirs != ours:
            return f"pictures of the camera's other stream have {theirs[1]}x{theirs[0]} pixels, not {ours[1]}x{ours[0]}"
        return ''

    def _take_shared(self, picture: Any) -> None:
        self._settle(self._asked.show(picture))

    def _due_s(self) -> float | None:
        return self._asked.due_s(time.monotonic())

    def _look_after(self) -> None:
        self._settle(self._asked.look_after(time.monotonic()))

    def _settle(self, settled: Sequence[Found | Missing]) -> None:
        for one in settled:
            if isinstance(one, Missing):
                self.count('missing')
                self._tell(one.code, one.ask.sequence, one.reason)
            else:
                self._account.lose()
                # From now on it waits for the model, and no more for its picture.
                self._put_job(OffloadJob(one.ask, one.picture, one.motion, time.monotonic()))

    def _tell(self, code: Code, sequence: int, text: str) -> None:
        """What becomes of one ask: the robot waits for it."""
        self._post(Notice(code, sequence, text, self.received, self.hello.session, self._worker).pack(), urgent=True)


def _unready(sibling: CloudStream, now_s: float) -> str:
    """Why it is too early to begin asking for pictures of ``sibling``; empty if it is not.

    Who asks for them already waits through as much: a link that stalls does so for all that goes up.
    """
    silent_s = now_s - sibling.last_frame_s
    if silent_s > _SILENCE_S:
        return f"no picture of the camera's other stream came for {silent_s:.1f} s"
    return '' if sibling.in_step else "the camera's other stream waits for a key frame"
