"""The street as a camera: a source of frames that behaves as a live one does."""

from __future__ import annotations

import time

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import Frame, SourceBase

from .clip import StreetClip

DEFAULT_SIZE = (320, 640)
DEFAULT_RATE = 30.0
_LONGEST_SKIP_S = 1.0  # a reader that is always too late still gets a frame of each second


class StreetSource(SourceBase):
    """Frames of one seed's street, without end unless ``frames`` is given.

    pace: 'own': each frame when it is due; the world goes on while a reader (or the rendering) is too slow, and frames
    that are overdue are left out, which shows as gaps in ``sequence``. 'fast': every frame, as fast as it is read.

    Raises:
        InputError: an argument out of range, or rendering is impossible on this machine (says what to install).
    """

    def __init__(
        self,
        seed: int,
        *,
        size: tuple[int, int] = DEFAULT_SIZE,
        rate: float = DEFAULT_RATE,
        frames: int | None = None,
        pace: str = 'own',
        frame_id: str = 'camera',
    ) -> None:
        if pace not in ('own', 'fast'):
            raise InputError(f"The pace is {pace!r}; expected 'own' or 'fast'.")
        self._clip = StreetClip(seed, size=size, rate=rate, frames=frames)
        self.size, self.rate = size, rate
        self._live = pace == 'own'
        self._frame_id = frame_id
        self._next = 0
        self._start_s: float | None = None
        self._start_ns = 0

    def read(self) -> Frame | None:
        """The next frame, waiting until it is due; None at the end."""
        if self._start_s is None:
            self._start_s, self._start_ns = time.monotonic(), time.time_ns()
        if self._live:
            late_s = min(time.monotonic() - self._start_s - self._next / self.rate, _LONGEST_SKIP_S)
            for _ in range(max(int(late_s * self.rate), 0)):
                self._clip.skip()
                self._next += 1
        street = self._clip.read()
        if street is None:
            return None
        number = self._next
        self._next += 1
        due_s = number / self.rate
        if self._live:
            time.sleep(max(self._start_s + due_s - time.monotonic(), 0.0))
        return Frame(street.image, self._start_ns + round(due_s * 1e9), number, self._frame_id)

    def close(self) -> None:
        """Release the renderer. It cannot be read any more."""
        self._clip.close()


def open_street(
    rest: str,
    *,
    loop: bool = False,
    pace: str = 'own',
    size: tuple[int, int] | None = None,
    rate: float | None = None,
    frame_id: str = 'camera',
) -> StreetSource:
    """Opens what follows ``street:``, such as ``17`` or ``17?size=640x480&rate=15&frames=300``.

    size: (H, W), and rate in frames a second: they outrank those in the name. A street has no end to loop at; with
    ``frames`` in the name and ``loop`` it goes on all the same.

    Raises:
        InputError: the name is not of this form.
    """
    word, _, query = rest.partition('?')
    wanted = 'expected street:SEED or street:SEED?size=WxH&rate=R&frames=N, such as street:17?size=640x480&rate=30'
    if not word.isdigit():
        raise InputError(f'street:{rest}: {word!r} is not a seed; {wanted}.')
    options: dict[str, str] = {}
    for item in filter(None, query.split('&')):
        key, equals, value = item.partition('=')
        if key not in ('size', 'rate', 'frames') or not equals:
            raise InputError(f'street:{rest}: {item!r} is not an option; {wanted}.')
        options[key] = value
    try:
        if 'size' in options and size is None:
            width, height = options['size'].lower().split('x')
            size = int(height), int(width)
        if 'rate' in options and rate is None:
            rate = float(options['rate'])
        frames = int(options['frames']) if 'frames' in options else None
    except ValueError as error:
        raise InputError(f'street:{rest}: a number cannot be read ({error}); {wanted}.') from error
    return StreetSource(
        int(word),
        size=size or DEFAULT_SIZE,
        rate=rate or DEFAULT_RATE,
        frames=None if loop else frames,
        pace=pace,
        frame_id=frame_id,
    )
