"""H.264 of one stream as it arrives: decoded in order, or refused with a notice that says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from dedelayed_ros.cloud.inbox import Stream
from dedelayed_ros.errors import InputError
from dedelayed_ros.link import Code, FrameUp
from dedelayed_ros.link.chain import DecodeChain, Verdict

Picture = TypeVar('Picture')


class Intake(Generic[Picture]):
    """Decodes the pictures of ``stream``, which are of ``size`` (H, W) pixels, for its own thread.

    ``decode`` makes a picture of an access unit and its size; after an InputError it expects a key frame.

    A picture whose predecessor is missing is not decoded; the robot is asked for a key frame, at most four times a
    second. Each picture is acknowledged before it is decoded, so that the robot sees how long it was on its way.
    """

    def __init__(
        self, stream: Stream, size: tuple[int, int], decode: Callable[[bytes, tuple[int, int]], Picture]
    ) -> None:
        self._stream = stream
        self._size = size
        self._chain = DecodeChain()
        self._decode = decode

    @property
    def received(self) -> int | None:
        """Sequence of the newest picture that arrived; None before the first."""
        return self._chain.received

    @property
    def in_step(self) -> bool:
        """Whether the newest picture that arrived was decoded."""
        return self._chain.in_step

    def take(self, frame: FrameUp) -> Picture | None:
        """The picture; None where it cannot be had, which the robot was told then."""
        stream, size = self._stream, (frame.height, frame.width)
        if size != self._size:
            stream.count('wrong size')
            stream.notice(
                Code.REFUSED,
                frame.sequence,
                f'picture of {size[1]}x{size[0]}, agreed were {self._size[1]}x{self._size[0]}; say hello with the new '
                'size',
            )
            return None
        verdict = self._chain.judge(frame)
        if verdict is Verdict.OLD:
            stream.count('old')
            stream.notice(Code.STALE, frame.sequence, f'frame {frame.sequence} came twice or after a newer one')
            return None
        if verdict is Verdict.GAP:
            stream.count('undecodable')
            stream.notice(Code.NEED_KEYFRAME, frame.sequence, f'frame {frame.reference} is not here')
            return None
        stream.notice(Code.ACK, frame.sequence)
        try:
            picture = self._decode(frame.data, size)
        except InputError as error:
            self._chain.broken()
            stream.count('damaged')
            stream.notice(Code.NEED_KEYFRAME, frame.sequence, str(error))
            return None
        self._chain.decoded(frame)
        return picture
