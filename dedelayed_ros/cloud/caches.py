"""Which streams' caches stay: bounded in number and bytes, and the one that was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar('Key', bound=Hashable)


class CacheBudget(Generic[Key]):
    """Keeps account of caches; the caller does what it says. Not thread-safe.

    At most ``number`` caches of together at most ``size`` bytes are kept, and always the one used last.
    """

    def __init__(self, *, number: int, size: int) -> None:
        self._number, self._size = number, size
        self._bytes: OrderedDict[Key, int] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Of all caches that are kept."""
        return sum(self._bytes.values())

    def used(self, key: Key, size: int) -> list[Key]:
        """The cache of ``key`` was used and has ``size`` bytes now; returns those that have to go, now forgotten."""
        self._bytes[key] = size
        self._bytes.move_to_end(key)
        evicted = []
        while len(self._bytes) > 1 and (len(self._bytes) > self._number or self.bytes > self._size):
            evicted.append(self._bytes.popitem(last=False)[0])
        return evicted

    def forget(self, key: Key) -> None:
        """The cache of ``key`` is gone."""
        self._bytes.pop(key, None)
