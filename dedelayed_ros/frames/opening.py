"""Finding a source by its name: a file, a folder, a device, a URL, or a kind that the caller adds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.device import DeviceSource
from dedelayed_ros.frames.folder import FolderSource
from dedelayed_ros.frames.source import Source
from dedelayed_ros.frames.video import VideoSource


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
