"""A link in virtual time, driven by a bandwidth trace: what a transfer takes, without any waiting for it."""

from __future__ import annotations

from dataclasses import dataclass

from dedelayed_ros.sim.traces import BandwidthTrace


@dataclass(frozen=True)
class Transfer:
    """``size`` bytes: handed over at ``sent_s``, on the link from ``begin_s`` to ``end_s``, there at ``arrived_s``."""

    client: int
    size: int
    sent_s: float
    begin_s: float
    end_s: float
    arrived_s: float

    @property
    def waited_s(self) -> float:
        """Time behind the transfers of others, and one's own earlier ones."""
        return self.begin_s - self.sent_s

    @property
    def carried_s(self) -> float:
        """Time on the link, stalls included and propagation not."""
        return self.end_s - self.begin_s


class Link:
    """One direction of a link that several clients share, first in, first out.

    trace:          rate over time; while it is 0 nothing passes. It begins at ``start_s`` of its own time.
    propagation_ms: one way, after the last byte has left.

    Transfers are handed over in the order of time, as a simulation's events are.
    """

    def __init__(self, trace: BandwidthTrace, *, propagation_ms: float = 20.0, start_s: float = 0.0) -> None:
        self.trace = trace
        self.propagation_ms = propagation_ms
        self._start_s = start_s
        self._free_s = 0.0  # when all that was handed over so far has left
        self._newest_s = 0.0
        self.carried_bytes = 0

    def send(self, size: int, at_s: float, client: int = 0) -> Transfer:
        """Hand over ``size`` bytes at ``at_s`` (seconds since the simulation began).

        Raises:
            ValueError: a negative size, or a time before that of an earlier call.
        """
        if size < 0 or not at_s >= self._newest_s:
            raise ValueError(f'{size} bytes at {at_s} s; expected 0 or more, and no earlier than {self._newest_s} s')
        self._newest_s = at_s
        begin_s = max(at_s, self._free_s)
        end_s = self.trace.done_s(begin_s + self._start_s, size) - self._start_s if size else begin_s
        end_s = max(end_s, begin_s)
        self._free_s = end_s
        self.carried_bytes += size
        return Transfer(client, size, at_s, begin_s, end_s, end_s + self.propagation_ms / 1e3)


class Server:
    """A processor that several clients share: one job after the other, in the order in which they come."""

    def __init__(self) -> None:
        self._free_s = 0.0

    def queue_ms(self, at_s: float) -> float:
        """How long a job that comes at ``at_s`` has to wait."""
        return max(0.0, self._free_s - at_s) * 1e3

    def run(self, at_s: float, ms: float) -> float:
        """Take a job of ``ms`` that comes at ``at_s``; when it is done (s)."""
        self._free_s = max(at_s, self._free_s) + ms / 1e3
        return self._free_s
