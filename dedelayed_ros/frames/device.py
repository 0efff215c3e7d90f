"""Cameras and live streams as a source: a thread of its own captures, and the newest frame wins."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.encoded_picture import EncodedPicture
from dedelayed_ros.frames.own_pictures import OwnPictures, unusable, why_not
from dedelayed_ros.frames.pacing import Clock
from dedelayed_ros.frames.pixels import resize, to_rgb, upright
from dedelayed_ros.frames.source import Frame, SourceBase

_GENERATED = ('lavfi',)  # formats that make frames as fast as they are read, and that end
_FALLBACK_RATE = 30.0  # frames a second of devices that do not say
_RETRY_S = 0.5
_OPEN_S = 10.0
_SILENCE_S = 5.0


@dataclass(frozen=True)
class _Captured:
    frame: av.VideoFrame
    picture: EncodedPicture | None
    sequence: int
    stamp_ns: int


class DeviceSource(SourceBase):
    """Frames of any FFmpeg input device (v4l2, x11grab, lavfi, …) or network stream, stamped when they arrive.

    A camera that delivers H.264 with P-frames and one reference gives its own bits and vectors in ``Frame.picture``,
    as VideoSource does; frames that the reader was too late for are folded into the next one.

    When the device disappears, it is opened again every half second; ``read`` waits five seconds for a frame and then
    raises InputError, and may be called again. status: what is wrong with the device now, or None.
    """

    def __init__(
        self,
        name: str,
        kind: str | None,
        *,
        options: dict[str, str] | None = None,
        size: tuple[int, int] | None = None,
        rate: float | None = None,
        frame_id: str = 'camera',
        own_vectors: bool = False,
    ) -> None:
        self._name, self._kind, self._frame_id, self._insist = name, kind, frame_id, own_vectors
        self._options = _options(kind, options or {}, size, rate)
        self._forced = size
        self.rate = rate or _FALLBACK_RATE
        self.status: str | None = 'opening'
        self._reformatter = VideoReformatter()
        self._changed = threading.Condition()
        self._newest: _Captured | None = None
        self._sequence = 0
        self._ended = self._stopped = False
        self._own = True  # until the stream proves otherwise
        container = self._open()
        stated = container.streams.video[0].average_rate
        if rate is None and stated and 0.01 <= stated <= 1000:
            self.rate = float(stated)
        self._thread = threading.Thread(target=self._capture, args=(container,), name=f'capture {name}', daemon=True)
        self._thread.start()
        try:
            self.size = size or self._image(self._first().frame).shape[:2]
        except InputError:
            self.close()
            raise

    def read(self) -> Frame | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest or self._ended or self._stopped, _SILENCE_S):
                raise InputError(
                    f'{self._name} gave no picture for {_SILENCE_S:.0f} s ({self.status or "it is silent"}). '
                    'Check the camera and its cable; it is opened again as soon as it is there.'
                )
            captured, self._newest = self._newest, None
        if captured is None:
            if self.status and not self._stopped:
                raise InputError(self.status)
            return None
        image = self._image(captured.frame)
        picture = captured.picture
        if image.shape[:2] != self.size:
            image, picture = resize(image, self.size), None
        return Frame(image, captured.stamp_ns, captured.sequence, self._frame_id, picture)

    def close(self) -> None:
        self._stopped = True
        with self._changed:
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def _first(self) -> _Captured:
        """Wait for the first frame, which tells the size; it stays to be read."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._ended, _OPEN_S)
            if self._newest is None:
                raise InputError(f'{self._name} opened but gave no picture ({self.status or "it is silent"}).')
            return self._newest

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        return upright(to_rgb(frame, self._reformatter), frame)

    def _open(self) -> Any:
        try:
            container = av.open(self._name, format=self._kind, options=self._options, timeout=(_OPEN_S, _SILENCE_S))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(_cannot_open(self._name, self._kind, error)) from error
        if not container.streams.video:
            container.close()
            raise InputError(f'{self._name} gives no video. Choose another device.')
        return container

    def _capture(self, container: Any) -> None:
        """The capture thread: read until closed, opening the device again when it was lost."""
        while not self._stopped:
            try:
                container = container or self._open()
                self._drain(container)
                self.status = f'{self._name} ended'
            except InputError as error:
                self.status = str(error)
                if not self._own and self._insist:
                    self._end()
                    return
            except (av.FFmpegError, OSError) as error:
                self.status = f'{self._name} was lost ({getattr(error, "strerror", None) or error})'
            finally:
                if container is not None:
                    container.close()
                container = None
            if self._kind in _GENERATED:
                self.status = None
                self._end()
                return
            self._wait_to_retry()

    def _wait_to_retry(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, _RETRY_S)

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _drain(self, container: Any) -> None:
        stream = container.streams.video[0]
        stream.thread_type = 'NONE'
        stream.thread_count = 1  # frame threads would hold pictures back
        own = self._own_pictures(stream)
        clock = Clock(own=True)
        for packet in container.demux(stream):
            if self._stopped:
                return
            stamp_ns = time.time_ns()
            try:
                frames = list(own.feed(packet)) if own else [(frame, None) for frame in packet.decode()]
            except av.error.InvalidDataError:
                continue  # one damaged packet; the next may be whole
            except InputError:
                self._own = False  # its vectors cannot be used after all
                if self._insist:
                    raise
                return
            for frame, picture in frames:
                if self._kind in _GENERATED and frame.time is not None:
                    clock.wait(frame.time)
                    stamp_ns = time.time_ns()
                self._offer(frame, picture, stamp_ns)

    def _own_pictures(self, stream: Any) -> OwnPictures | None:
        reason = why_not(stream) if self._forced is None else 'the pictures have to be scaled'
        if reason is None and self._own:
            return OwnPictures(stream)
        if self._insist:
            self._own = False
            raise unusable(f'of {self._name} {reason}')
        return None

    def _offer(self, frame: av.VideoFrame, picture: EncodedPicture | None, stamp_ns: int) -> None:
        with self._changed:
            missed = self._newest
            if missed is not None and missed.picture is not None and picture is not None:
                picture = missed.picture.then(picture)
            self._newest = _Captured(frame, picture, self._sequence, stamp_ns)
            self._sequence += 1
            self.status = None
            self._changed.notify_all()


def _options(
    kind: str | None, options: dict[str, str], size: tuple[int, int] | None, rate: float | None
) -> dict[str, str]:
    """What to ask of the driver; it may answer with another size, which is then scaled."""
    if kind in _GENERATED or kind is None:
        return options
    asked = {'video_size': f'{size[1]}x{size[0]}'} if size else {}
    if rate:
        asked['framerate'] = f'{rate:g}'
    return {**asked, **options}


def _cannot_open(name: str, kind: str | None, error: Exception) -> str:
    if isinstance(error, ValueError) and 'no container format' in str(error):
        return f'FFmpeg here has no input format {kind!r}. Use one such as v4l2, x11grab or lavfi.'
    reason = getattr(error, 'strerror', None) or str(error)
    message = f'The device {name} cannot be opened ({reason}).'
    if kind == 'v4l2':
        present = ', '.join(sorted(str(path) for path in Path('/dev').glob('video*'))) or 'none'
        message += f' Cameras present: {present}. Check the name, and that you may read it (group video).'
    elif kind is None:
        message += ' Check the address and that the sender is running.'
    return message
