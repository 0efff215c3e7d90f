"""Video files as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.encoded_picture import EncodedPicture
from dedelayed_ros.frames.own_pictures import OwnPictures, unusable, why_not_file
from dedelayed_ros.frames.pacing import Clock, Paced
from dedelayed_ros.frames.pixels import resize, to_rgb, upright
from dedelayed_ros.frames.source import Frame, SourceBase

FALLBACK_RATE = 25.0  # frames a second of files that do not say


@dataclass(frozen=True)
class _Decoded:
    frame: av.VideoFrame
    picture: EncodedPicture | None
    sequence: int
    media_s: float


class VideoSource(SourceBase):
    """Frames of a video file in any format that FFmpeg reads, upright, in RGB.

    A file that is H.264 with P-frames and one reference throughout, and needs neither turning nor scaling, delivers its
    own bits and vectors in ``Frame.picture``; frames that the reader was too late for are then folded into the next
    one. ``own_vectors`` makes anything else an InputError that says why. Other files give pictures alone.

    damaged: number of packets so far that could not be decoded.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        loop: bool = False,
        pace: str = 'own',
        size: tuple[int, int] | None = None,
        rate: float | None = None,
        frame_id: str = 'camera',
        own_vectors: bool = False,
    ) -> None:
        self._path, self._loop, self._frame_id, self._forced_rate = Path(path), loop, frame_id, rate
        self.damaged = 0
        self._container: Any = None
        self._reformatter = VideoReformatter()
        with _opened(self._path) as container:
            self.rate = rate or _nominal_rate(container.streams.video[0])
        self._own = False
        self._size: tuple[int, int] | None = None
        first = self._first_image()
        reason = self._why_not(first, size)
        if own_vectors and reason:
            raise unusable(f'in {self._path.name} {reason}')
        self._own = reason is None
        self._size = self.size = size or first[1].shape[:2]
        self._clock = Clock(pace == 'own')
        self._paced = Paced(self._decoded(), lambda item: item.media_s, self._clock)

    def read(self) -> Frame | None:
        item = self._paced.take(_folded)
        if item is None:
            return None
        return Frame(
            image=self._image(item.frame),
            stamp_ns=self._clock.stamp_ns(item.media_s),
            sequence=item.sequence,
            frame_id=self._frame_id,
            picture=item.picture,
        )

    def close(self) -> None:
        self._paced = Paced(iter(()), lambda item: item.media_s, self._clock)
        if self._container is not None:
            self._container.close()
            self._container = None

    def _first_image(self) -> tuple[av.VideoFrame, np.ndarray]:
        for frame, _ in self._pass():
            return frame, self._image(frame)
        raise InputError(f'{self._path} holds no picture that can be decoded. Check that the file is complete.')

    def _why_not(self, first: tuple[av.VideoFrame, np.ndarray], size: tuple[int, int] | None) -> str | None:
        frame, image = first
        if frame.side_data.get('DISPLAYMATRIX') is not None and not np.array_equal(
            image, to_rgb(frame, self._reformatter)
        ):
            return 'the pictures have to be turned upright'
        if size is not None and tuple(size) != image.shape[:2]:
            return 'the pictures have to be scaled'
        return why_not_file(self._path)

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        image = upright(to_rgb(frame, self._reformatter), frame)
        return image if self._size is None else resize(image, self._size)

    def _decoded(self) -> Iterator[_Decoded]:
        """Every frame of every pass, numbered, with media times that never fall."""
        sequence, start = 0, 0.0
        period = 1 / self.rate
        while True:
            offset, previous = None, start - period
            for frame, picture in self._pass():
                media_s = previous + period
                if self._forced_rate is None and frame.time is not None:
                    offset = frame.time - start if offset is None else offset
                    told = frame.time - offset
                    media_s = told if told > previous else media_s
                yield _Decoded(frame, picture, sequence, media_s)
                sequence, previous = sequence + 1, media_s
            start = previous + period
            if not self._loop:
                return

    def _pass(self) -> Iterator[tuple[av.VideoFrame, EncodedPicture | None]]:
        """Frames from beginning to end, in the order of display."""
        with _opened(self._path) as container:
            self._container = container
            stream = container.streams.video[0]
            own = OwnPictures(stream) if self._own else None
            stream.thread_type = 'AUTO'
            for packet in self._packets(container, stream):
                try:
                    if own is not None:
                        yield from own.feed(packet)
                    else:
                        yield from ((frame, None) for frame in packet.decode())
                except (av.error.InvalidDataError, av.error.EOFError):
                    self.damaged += 1

    def _packets(self, container: Any, stream: Any) -> Iterator[av.Packet]:
        """The packets of a file, up to a place behind which nothing can be found any more."""
        try:
            yield from container.demux(stream)
        except (av.FFmpegError, MemoryError, IndexError):  # a size, or a number of a stream, that makes no sense
            self.damaged += 1


def _folded(skipped: _Decoded, following: _Decoded) -> _Decoded:
    if skipped.picture is None or following.picture is None:
        return following
    return replace(following, picture=skipped.picture.then(following.picture))


def _nominal_rate(stream: Any) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0.01 <= rate <= 1000:
            return float(rate)
    return FALLBACK_RATE


def _opened(path: Path) -> Any:
    if not path.exists():
        raise InputError(f'There is no file {path}. Check the name.')
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f'{path} is empty. Expected a video file.')
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise InputError(f'{path} is not a video that FFmpeg can read ({reason}). Expected mp4, mkv, avi, …') from error
    if not container.streams.video:
        kinds = ', '.join(sorted({stream.type for stream in container.streams})) or 'none'
        container.close()
        raise InputError(f'{path} has no video stream (streams: {kinds}). Expected a video file.')
    return container
