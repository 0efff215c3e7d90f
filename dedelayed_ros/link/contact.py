"""The state of a robot's acquaintance with the cloud: who serves it, whether it answers, when to say hello again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from dedelayed_ros.link.wire import HelloReply


@dataclass(frozen=True)
class Timing:
    """How soon and how often, in seconds."""

    silence_s: float = 1.0
    """A cloud that acknowledges nothing for so long counts as away, until it is heard again."""
    first_retry_s: float = 0.25
    longest_retry_s: float = 0.5
    refused_retry_s: float = 2.0
    """After a refusal, which seldom changes."""
    hello_timeout_s: float = 3.0


class _State(Enum):
    SEEKING = 'seeking'  # nobody has accepted this stream
    REFUSED = 'refused'
    IDLE = 'idle'  # given up for want of pictures; the next one seeks again
    SERVED = 'served'
    SILENT = 'silent'  # served, but nothing is heard


class Contact:
    """Who serves this stream. Knows no network and reads no clock: it is told what happened and when (seconds)."""

    def __init__(self, endpoint: str, timing: Timing) -> None:
        self._endpoint = endpoint
        self._timing = timing
        self._state = _State.SEEKING
        self._reason = f'no dedelayed cloud has answered at {endpoint} yet'
        self._obstacle = f'{endpoint} is not connected yet'
        self._reachable = False
        self._next_hello_s = 0.0
        self._pause_s = timing.first_retry_s
        self._heard_s = -math.inf
        self._gone = 0
        self.worker = 0
        """Identity of the server's life that accepted the stream; 0 before the first."""
        self.name = ''
        self.round_trip_ms = 0.0
        """Of the last hello: the least that any answer takes."""

    @property
    def connected(self) -> bool:
        """Whether a server accepted the stream and answers."""
        return self._state is _State.SERVED

    @property
    def reason(self) -> str:
        """Why not connected; empty when it is."""
        if self.connected:
            return ''
        return self._reason if self._reachable or self._state is _State.REFUSED else self._obstacle

    def hello_due(self, now_s: float) -> bool:
        """Whether to say hello now; counts as said."""
        if self._state in (_State.SERVED, _State.IDLE) or now_s < self._next_hello_s:
            return False
        pause_s = self._timing.refused_retry_s if self._state is _State.REFUSED else self._pause_s
        self._next_hello_s = now_s + pause_s
        self._pause_s = min(1.5 * self._pause_s, self._timing.longest_retry_s)
        return True

    def check(self, now_s: float, *, waiting_s: float, reachable: bool) -> None:
        """Looks after silence.

        `waiting_s` is how long a picture has gone unacknowledged, `reachable` whether there is any connection.
        """
        if self._state is _State.SERVED:
            silence_s = min(waiting_s, now_s - self._heard_s)
            if silence_s > self._timing.silence_s:
                self._hasten(now_s)
                self._state = _State.SILENT
                self._reason = f'the cloud at {self._endpoint} has not answered for {self._timing.silence_s:g} s'
        if self._reachable and not reachable:
            self._obstacle = f'{self._endpoint} cannot be reached any more; trying again'
        self._reachable = reachable

    def replied(self, reply: HelloReply, now_s: float, round_trip_ms: float) -> bool:
        """Takes the answer to a hello; True when it (again) makes `reply.worker` the one who serves."""
        if not reply.accepted:
            # With several servers, one that serves counts for more than one that does not.
            if not self.connected:
                self.refused(reply.reason, now_s)
            return False
        if (self.connected and reply.worker != self.worker) or reply.worker == self._gone:
            return False
        self.worker, self.name = reply.worker, reply.name
        self.round_trip_ms = round_trip_ms
        self._state = _State.SERVED
        self.heard(now_s)
        return True

    def heard(self, now_s: float) -> None:
        """Something valid came from the server that serves this stream."""
        self._heard_s = now_s
        if self._state in (_State.SILENT, _State.SERVED):
            self._state = _State.SERVED
            self._pause_s = self._timing.first_retry_s

    def lost(self, reason: str, now_s: float) -> None:
        """The server does not have the stream (any more)."""
        if self._state is not _State.SEEKING:
            self._hasten(now_s)
        self._state = _State.SEEKING
        self._reason = reason

    def refused(self, reason: str, now_s: float) -> None:
        """Someone is there and will not serve this stream."""
        self._state = _State.REFUSED
        self._reason = reason
        self._next_hello_s = max(self._next_hello_s, now_s + self._timing.refused_retry_s)

    def idle(self, reason: str) -> None:
        """The stream's place was given away for want of pictures; see `wanted`."""
        self._state = _State.IDLE
        self._reason = reason

    def wanted(self) -> None:
        """A picture is there to be sent."""
        if self._state is _State.IDLE:
            self._state = _State.SEEKING
            self._next_hello_s = 0.0

    def explain(self, reason: str) -> None:
        """Why the answer of whoever is there was of no use."""
        self._reason = reason

    def unreachable(self, reason: str) -> None:
        """Why there is no connection."""
        self._reachable = False
        self._obstacle = reason

    def worker_seen(self, worker: int, now_s: float) -> None:
        """A server came to life, or the way to it: worth a hello at once."""
        if worker == self._gone:
            self._gone = 0
        if self._state not in (_State.SERVED, _State.IDLE):
            self._hasten(now_s)

    def worker_gone(self, worker: int, now_s: float) -> None:
        """A server died, or the way to it; what it may still answer to a hello is its last breath."""
        self._gone = worker
        if worker == self.worker and self._state in (_State.SERVED, _State.SILENT):
            self.lost(f'the cloud at {self._endpoint} went away; trying again', now_s)

    def _hasten(self, now_s: float) -> None:
        self._next_hello_s = now_s
        self._pause_s = self._timing.first_retry_s
