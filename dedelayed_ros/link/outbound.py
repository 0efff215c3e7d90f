"""What a connection needs of that which goes up: pictures and shards have it each in their own way."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from dedelayed_ros.link.flight import Flight

NO_ROOM = 'too many in flight'
"""Why a picture was dropped that there was no room for."""


class Chain(Protocol):
    """What builds on what that was sent before."""

    def lose(self, sequence: int | None = None) -> None:
        """The frame `sequence` (None: everything) is not with the other side."""
        ...


class Outbound(Protocol):
    """What waits to go up and what is on its way; its owner serialises the calls."""

    session: int
    flight: Flight
    dropped: Counter[str]

    @property
    def chain(self) -> Chain: ...

    @property
    def pending(self) -> Any: ...

    @property
    def in_flight(self) -> int: ...

    def drop_pending(self, reason: str) -> None:
        """Nothing that waits will be sent."""
        ...

    def keyframe_due(self, now_s: float) -> bool:
        """Whether to ask for a frame that needs no other one; counts as asked."""
        ...

    def begin_again(self) -> None:
        """Another server takes over: it has nothing of this stream."""
        ...
