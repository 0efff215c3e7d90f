"""When recorded frames are due: media time laid on the clocks of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_LATE_S = 0.002  # a frame that is later than this may have a successor that is due
_LONGEST_SKIP_S = 1.0  # a reader that is always too late still gets a frame of each second

Item = TypeVar('Item')


class Clock:
    """Starts at the first use. ``own``: things are due at their time; otherwise at once."""

    def __init__(self, own: bool) -> None:
        self._own = own
        self._start_s: float | None = None
        self._start_ns = 0

    def stamp_ns(self, media_s: float) -> int:
        """The wall-clock time, in ns, at which media time ``media_s`` is or was due."""
        self._begin(media_s)
        return self._start_ns + round(media_s * 1e9)

    def late_s(self, media_s: float) -> float:
        """How long ago something at ``media_s`` was due, in seconds; negative if it is still to come."""
        if not self._own:
            return 0.0
        return time.monotonic() - self._begin(media_s) - media_s

    def wait(self, media_s: float) -> None:
        """Sleep until ``media_s`` is due."""
        remaining = -self.late_s(media_s)
        if remaining > 0:
            time.sleep(remaining)

    def _begin(self, media_s: float) -> float:
        if self._start_s is None:
            self._start_s = time.monotonic() - media_s
            self._start_ns = time.time_ns() - round(media_s * 1e9)
        return self._start_s


class Paced(Generic[Item]):
    """Hands out items in time: waits for the next one, and leaves out those whose successor is due already."""

    def __init__(self, items: Iterator[Item], media_s: Callable[[Item], float], clock: Clock) -> None:
        self._items, self._media_s, self._clock = items, media_s, clock
        self._next: Item | None = None

    def take(self, fold: Callable[[Item, Item], Item]) -> Item | None:
        """The next item when it is due, or None at the end. ``fold(skipped, successor)`` gives what to hand out."""
        current = self._next if self._next is not None else next(self._items, None)
        self._next = None
        if current is None:
            return None
        first = self._media_s(current)
        while self._clock.late_s(self._media_s(current)) > _LATE_S:
            following = next(self._items, None)
            if following is None:
                break
            due = self._clock.late_s(self._media_s(following)) >= 0
            if not due or self._media_s(following) - first > _LONGEST_SKIP_S:
                self._next = following
                break
            current = fold(current, following)
        self._clock.wait(self._media_s(current))
        return current
