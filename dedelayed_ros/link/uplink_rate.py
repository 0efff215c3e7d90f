"""How many bits a second the camera may send: as many as the network carries without a queue that stays."""

from __future__ import annotations

import math
from collections import deque

from dedelayed_ros.link.estimators import RateMeter

_WINDOW_S = 1.0  # over which rates are measured
_GROWTH_MS = 30.0  # by which a queue has to have grown
_STEP_S = 0.5  # from one raise to the next
_PATIENCE_S = 3.0  # the same while pictures are late and do not get later


class UplinkRate:
    """Limits an encoder's rate to what the uplink carries. It has no clock of its own; times are in seconds, rates in
    kbit/s.

    A queue stands in the network while no picture of the last ``interval_s`` got through it within ``target_ms`` and
    the time between two pictures: CoDel's test (RFC 8289, section 3), by which the queue that a key frame makes, and
    that goes again, is none. Pictures may be late for another reason, such as a busy server: a queue of theirs does not
    grow. Where one does, the rate is cut to three quarters of what arrives, so that it goes, and then raised again by
    15 % in half a second, or by 2 % where the network carried no more lately. A network that carries the camera's own
    rate limits nothing.
    """

    def __init__(
        self,
        frame_rate: float,
        least_kbps: float,
        *,
        target_ms: float = 50.0,
        interval_s: float = 0.3,
        settle_s: float = 1.0,
        memory_s: float = 10.0,
    ) -> None:
        """``least_kbps``: below which the rate is never cut; ``settle_s`` from a cut to the next one; ``memory_s``: how
        long the network is taken to carry no more than it did.
        """
        if not (frame_rate > 0 and least_kbps > 0):
            raise ValueError(f'frame rate {frame_rate}, least rate {least_kbps} kbit/s: expected both above 0')
        self._target_ms = target_ms + 1e3 / frame_rate
        self._least_kbps = least_kbps
        self._interval_s, self._settle_s, self._memory_s = interval_s, settle_s, memory_s
        self._sent = RateMeter(window_s=_WINDOW_S)
        self._arrivals: deque[tuple[float, int]] = deque()  # (time, bytes), of the window
        self._queues: deque[tuple[float, float]] = deque()  # (time, ms), of the interval
        self._late_since_s: float | None = None
        self._shortest_ms = math.inf  # the least queue since it stands, or was last cut
        self._limit = math.inf
        self._carried = math.inf  # what the network carried when the rate was last cut
        self._changed_s = self._cut_s = -math.inf
        self._refused = False

    def sent(self, size: int, now_s: float) -> None:
        """A picture of `size` bytes is on its way."""
        self._sent.add(size, now_s)

    def arrived(self, size: int, queue_ms: float, now_s: float) -> None:
        """`size` bytes are known to have arrived, the last of them `queue_ms` later than on an empty network."""
        self._arrivals.append((now_s, size))
        while self._arrivals[0][0] <= now_s - _WINDOW_S:
            self._arrivals.popleft()
        self._queue(queue_ms, now_s)

    def refused(self) -> None:
        """A picture could not be sent because too many are on their way."""
        self._refused = True

    def limit(self, now_s: float, waiting_ms: float) -> float:
        """The most that the camera should send now; infinite without a reason to send less.

        ``waiting_ms``: by how much the oldest picture on its way is later by now than on an empty network.
        """
        while self._queues and self._queues[0][0] < now_s - self._interval_s:
            self._queues.popleft()
        if waiting_ms > self._target_ms and self._late_since_s is None:
            self._late_since_s = now_s  # it will be that late at least
        stands = self._late_since_s is not None and now_s - self._late_since_s >= self._interval_s
        calm = stands or self._late_since_s is None
        refused, self._refused = self._refused, False
        if refused or (stands and self._grows(waiting_ms)):
            if now_s - self._cut_s >= self._settle_s:
                self._cut(self._arriving(now_s), now_s)
        elif calm and self._limit < math.inf and now_s - self._changed_s >= (_PATIENCE_S if stands else _STEP_S):
            self._raise(now_s)  # even where all stay late: a queue of the network will grow then, and be seen
        return self._limit

    def _grows(self, waiting_ms: float) -> bool:
        queue_ms = min((queue for _, queue in self._queues), default=waiting_ms)
        grows = queue_ms > self._shortest_ms + _GROWTH_MS
        self._shortest_ms = min(self._shortest_ms, queue_ms)
        return grows

    def _queue(self, queue_ms: float, now_s: float) -> None:
        self._queues.append((now_s, queue_ms))
        if queue_ms <= self._target_ms:
            self._late_since_s, self._shortest_ms = None, math.inf
        elif self._late_since_s is None:
            self._late_since_s = now_s

    def _arriving(self, now_s: float) -> float:
        """What arrives now: since the queue stands, and of the last window at most."""
        first_s = now_s - _WINDOW_S
        if self._late_since_s is not None and now_s - self._late_since_s >= self._interval_s:
            first_s = max(first_s, self._late_since_s)
        return sum(size for at_s, size in self._arrivals if at_s > first_s) * 8e-3 / (now_s - first_s)

    def _cut(self, arriving: float, now_s: float) -> None:
        if arriving >= self._least_kbps:
            self._carried = arriving
            cut = 0.75 * min(self._limit, arriving)
        else:  # nearly nothing gets through, which does not tell what will when something does
            cut = 0.5 * min(self._limit, self._sent.kbps(now_s))
        self._limit = max(cut, self._least_kbps)
        self._cut_s = self._changed_s = now_s
        self._shortest_ms = math.inf

    def _raise(self, now_s: float) -> None:
        near = self._limit >= 0.85 * self._carried and now_s - self._cut_s < self._memory_s
        self._limit *= 1.02 if near else 1.15
        self._changed_s = now_s
        if self._limit > 2 * max(self._sent.kbps(now_s), self._least_kbps):  # the camera needs less
            self._limit = self._carried = math.inf
