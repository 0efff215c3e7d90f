"""A folder of images as a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.pacing import Clock, Paced
from dedelayed_ros.frames.pixels import resize, to_rgb, upright
from dedelayed_ros.frames.source import Frame, SourceBase

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
DEFAULT_RATE = 25.0  # frames a second


class FolderSource(SourceBase):
    """Images of a folder in natural order (2 before 10), all of one size unless ``size`` is given, at ``rate``."""

    def __init__(
        self,
        path: str | Path,
        *,
        loop: bool = False,
        pace: str = 'own',
        size: tuple[int, int] | None = None,
        rate: float | None = None,
        frame_id: str = 'camera',
    ) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f'There is no folder {folder}. Check the name.')
        files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not files:
            raise InputError(f'The folder {folder} holds no images. Expected files ending in {", ".join(SUFFIXES)}.')
        self._files = sorted(files, key=_natural)
        self._loop, self._frame_id, self._forced = loop, frame_id, size
        self._reformatter = VideoReformatter()
        self.rate = rate or DEFAULT_RATE
        self.size = size or self._load(self._files[0]).shape[:2]
        self._clock = Clock(pace == 'own')
        self._paced = Paced(self._numbers(), lambda number: number / self.rate, self._clock)

    def read(self) -> Frame | None:
        number = self._paced.take(lambda _, following: following)
        if number is None:
            return None
        file = self._files[number % len(self._files)]
        image = self._load(file)
        if self._forced is not None:
            image = resize(image, self._forced)
        elif image.shape[:2] != self.size:
            raise InputError(
                f'{file} is {image.shape[1]}x{image.shape[0]} but {self._files[0].name} is '
                f'{self.size[1]}x{self.size[0]}: a stream has one size. Give the size to scale all images to.'
            )
        return Frame(image, self._clock.stamp_ns(number / self.rate), number, self._frame_id)

    def close(self) -> None:
        self._paced = Paced(iter(()), lambda number: number / self.rate, self._clock)

    def _numbers(self) -> Iterator[int]:
        number = 0
        while self._loop or number < len(self._files):
            yield number
            number += 1

    def _load(self, file: Path) -> np.ndarray:
        try:
            with av.open(str(file)) as container:
                for frame in container.decode(video=0):
                    return upright(to_rgb(frame, self._reformatter), frame)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            reason = getattr(error, 'strerror', None) or error
            raise InputError(f'{file} is not an image that can be read ({reason}). Remove or replace it.') from error
        raise InputError(f'{file} holds no picture. Remove or replace it.')


def _natural(file: Path) -> list[tuple[int, int, str]]:
    """Sort key: runs of digits by value, the rest by text."""
    return [
        (0, int(part), '') if part.isdigit() else (1, 0, part) for part in re.split(r'(\d+)', file.name.lower()) if part
    ]
