"""What a frame and a source of frames are, and how a source is found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from dedelayed_ros.errors import InputError
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


class Opener(Protocol):
    """Opens what follows the prefix of a name, such as the seed of ``street:17``."""

    def __call__(
        self, rest: str, *, loop: bool, pace: str, size: tuple[int, int] | None, rate: float | None, frame_id: str
    ) -> Source: ...


def open_source(
    uri: str,
    *,
    loop: bool = False,
    pace: str = 'own',
    size: tuple[int, int] | None = None,
    rate: float | None = None,
    frame_id: str = 'camera',
    own_vectors: bool = False,
    openers: Mapping[str, Opener] | None = None,
) -> Source:
    """Open a source by name.

    uri:         ``clip.mp4`` (anything FFmpeg reads), a folder of images, ``/dev/video0`` or ``v4l2:/dev/video0``,
                 ``device:FORMAT:NAME`` (any FFmpeg input device), a URL such as ``rtsp://…``, or a prefix of
                 ``openers`` with what it needs, such as ``street:17``. Devices take ``?option=value&…``.
    loop:        begin again at the end; stamps and sequence go on rising.
    pace:        'own': each frame when it is due, leaving out those that are overdue; 'fast': as fast as it is read,
                 every frame, with the stamps that it would have had.
    size:        (H, W) to scale to; None keeps the source's.
    rate:        frames a second to play at or to ask of the device; None keeps the source's.
    own_vectors: insist on the stream's own H.264 (Frame.picture) instead of falling back to pictures alone.
    openers:     further kinds of sources by prefix.

    Raises InputError that says what is wrong with the name or with what it leads to.
    """
    from dedelayed_ros.frames.device import DeviceSource
    from dedelayed_ros.frames.folder import FolderSource
    from dedelayed_ros.frames.video import VideoSource

    _check(pace, size, rate)
    openers = openers or {}
    prefix, colon, rest = uri.partition(':')
    if colon and prefix in openers:
        return openers[prefix](rest, loop=loop, pace=pace, size=size, rate=rate, frame_id=frame_id)
    device = _device(uri)
    if device is not None:
        kind, name, options = device
        return DeviceSource(
            name, kind, options=options, size=size, rate=rate, frame_id=frame_id, own_vectors=own_vectors
        )
    path = Path(uri)
    if path.is_dir():
        if own_vectors:
            raise InputError(f'{uri} is a folder of images: it has no motion vectors of its own.')
        return FolderSource(path, loop=loop, pace=pace, size=size, rate=rate, frame_id=frame_id)
    if colon and prefix.isalnum() and len(prefix) > 1 and not path.exists():
        known = ', '.join(f'{name}:' for name in ('v4l2', 'device', *openers))
        raise InputError(f'{uri}: there is no file of that name and no kind of source {prefix!r}. Known are {known}.')
    return VideoSource(path, loop=loop, pace=pace, size=size, rate=rate, frame_id=frame_id, own_vectors=own_vectors)


def _check(pace: str, size: tuple[int, int] | None, rate: float | None) -> None:
    if pace not in ('own', 'fast'):
        raise InputError(f"The pace is {pace!r}; expected 'own' (as the source was recorded) or 'fast'.")
    if rate is not None and not 0.01 <= rate <= 1000:
        raise InputError(f'A rate of {rate} frames a second was asked for; expected 0.01 to 1000.')
    if size is not None and not (2 <= size[0] <= 8191 and 2 <= size[1] <= 8191):
        raise InputError(f'A size of {size[1]}x{size[0]} was asked for; each side must be 2 to 8191 pixels.')


def _device(uri: str) -> tuple[str | None, str, dict[str, str]] | None:
    """(FFmpeg format or None, name, options) if the name is one of a device or of a stream in the network."""
    if '://' in uri:
        return None, uri, {}
    if uri.startswith('device:'):
        kind, colon, name = uri[len('device:') :].partition(':')
        if not (kind and colon and name):
            raise InputError(
                f'{uri}: expected device:FORMAT:NAME, such as device:v4l2:/dev/video0 or '
                'device:lavfi:testsrc=size=640x480:rate=30.'
            )
    elif uri.startswith('v4l2:'):
        kind, name = 'v4l2', uri[len('v4l2:') :]
    elif uri.startswith('/dev/video'):
        kind, name = 'v4l2', uri
    else:
        return None
    options = {}
    if kind != 'lavfi' and '?' in name:
        name, _, query = name.partition('?')
        for item in query.split('&'):
            key, equals, value = item.partition('=')
            if not (key and equals):
                raise InputError(f'{uri}: expected options as ?name=value&…, such as ?input_format=mjpeg.')
            options[key] = value
    return kind, name, options
