"""What a frame and a source of frames are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from dedelayed_ros.frames.encoded_picture import EncodedPicture


@dataclass(frozen=True)
class Frame:
    """A picture with its time.

    image:    uint8 [H, W, 3] RGB, contiguous.
    stamp_ns: capture time in ns on the robot's wall clock; for files the time at which it was due.
    sequence: its number among the frames due at the source's own rate, 0, 1, 2, …; a gap is a frame that the reader
              was too late for.
    frame_id: the coordinate frame of the camera, as in a ROS header.
    picture:  the source's own H.264 of this frame with its vectors, where it has any that can be used; None means that
              the frame is still to be encoded.
    """

    image: np.ndarray
    stamp_ns: int
    sequence: int
    frame_id: str = 'camera'
    picture: EncodedPicture | None = None


@runtime_checkable
class Source(Protocol):
    """Somewhere frames come from. It is a context manager and an iterator of its frames.

    size: (H, W) of the images, after rotation and resizing.
    rate: frames a second, nominal.
    """

    size: tuple[int, int]
    rate: float

    def read(self) -> Frame | None:
        """The next frame, waiting until it is due; None at the end."""

    def close(self) -> None:
        """Free the source. It cannot be read any more."""

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SourceBase(ABC):
    """Iteration and closing, the same for every source."""

    size: tuple[int, int]
    rate: float

    @abstractmethod
    def read(self) -> Frame | None:
        """The next frame, waiting until it is due; None at the end."""

    @abstractmethod
    def close(self) -> None:
        """Free the source. It cannot be read any more."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> SourceBase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
