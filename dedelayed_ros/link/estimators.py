"""Estimates of the link's future from its recent past: delay, bandwidth, rate. None of them reads a clock by itself."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque

from dedelayed_ros.link.records import Quantiles


class DelayEstimator:
    """Predicts the next capture-to-usable delay as a high quantile of the recent ones.

    High, because being told too long a delay costs the remote model little and too short a delay much. Observations
    count for `max_age_s` and at most `window` of them; with none left the prediction is `start_ms` again. Until the
    window has enough to know its own tail, the largest observation stands for the quantile.
    """

    def __init__(
        self, *, quantile: float = 0.9, window: int = 64, max_age_s: float = 10.0, start_ms: float = 150.0
    ) -> None:
        if not 0 < quantile <= 1:
            raise ValueError(f'quantile is {quantile}, expected above 0 and at most 1')
        self._quantile = quantile
        self._window = window
        self._max_age_s = max_age_s
        self._start_ms = start_ms
        self._recent: deque[tuple[float, float]] = deque()  # (time in s, delay in ms), oldest first
        self._sorted: list[float] = []

    def observe(self, delay_ms: float, now_s: float) -> None:
        """Takes one measured delay in milliseconds; one that is not finite or is negative is refused."""
        if not (math.isfinite(delay_ms) and delay_ms >= 0):
            raise ValueError(f'delay is {delay_ms} ms, expected a finite, non-negative number')
        self._recent.append((now_s, delay_ms))
        insort(self._sorted, delay_ms)
        self._forget(now_s)

    def predict(self, now_s: float, *, at_least_ms: float = 0.0) -> float:
        """Delay in milliseconds to tell the next frame; `at_least_ms` is what a frame still on its way has waited."""
        self._forget(now_s)
        return max(self._value(self._quantile, self._start_ms), at_least_ms)

    def quantiles(self, now_s: float) -> Quantiles:
        """Of the observations that still count; NaN without any."""
        self._forget(now_s)
        return Quantiles(*(self._value(q, math.nan) for q in (0.5, 0.9, 0.99)))

    def clear(self) -> None:
        """Forgets everything, as after another server or another route took over."""
        self._recent.clear()
        self._sorted.clear()

    def _value(self, quantile: float, default: float) -> float:
        if not self._sorted:
            return default
        # The upper of the two neighbours: with few observations this is the largest.
        return self._sorted[min(len(self._sorted) - 1, math.floor(quantile * len(self._sorted)))]

    def _forget(self, now_s: float) -> None:
        while self._recent and (len(self._recent) > self._window or self._recent[0][0] < now_s - self._max_age_s):
            _, delay = self._recent.popleft()
            del self._sorted[bisect_right(self._sorted, delay) - 1]


class BandwidthEstimator:
    """Bandwidth in kbit/s as an average of real transfers, weighted by their bytes and by how recent they are.

    A transfer's weight halves every `half_life_s`, and is that of `most_bytes` for one of more: a probe must be able to
    correct what a large frame has shown before it. When all that is left weighs less than `min_bytes`, the estimate is
    None: nothing was sent for so long that the old figure means nothing any more. Before that, `probe_due` says when
    `probe_bytes` should be sent just to know: after `probe_after_s` without a transfer, and without an earlier probe
    that may still be on its way.
    """

    def __init__(
        self,
        *,
        half_life_s: float = 2.0,
        min_bytes: float = 2000.0,
        most_bytes: float = math.inf,
        probe_after_s: float = 1.0,
        probe_bytes: int = 4000,
    ) -> None:
        self._half_life_s = half_life_s
        self._min_bytes = min_bytes
        self._most_bytes = most_bytes
        self._probe_after_s = probe_after_s
        self.probe_bytes = probe_bytes
        self._sent_s = -math.inf  # when something was last measured or sent as a probe
        self._bytes = 0.0
        self._seconds = 0.0
        self._at_s = -math.inf

    def observe(self, size: int, seconds: float, now_s: float) -> None:
        """A transfer of `size` bytes took `seconds` beyond the propagation delay."""
        if not (math.isfinite(seconds) and seconds > 0 and size > 0):
            raise ValueError(f'transfer of {size} bytes in {seconds} s, expected both above 0')
        self._age(now_s)
        weight = min(1.0, self._most_bytes / size)
        self._bytes += weight * size
        self._seconds += weight * seconds
        self._sent_s = max(self._sent_s, now_s)

    def probe_due(self, now_s: float) -> bool:
        """Whether a probe should be sent now; tell `probing` when it is."""
        return now_s - self._sent_s >= self._probe_after_s

    def probing(self, now_s: float) -> None:
        """A probe leaves now; what it measures comes by `observe`, like every transfer."""
        self._sent_s = max(self._sent_s, now_s)

    def predict(self, now_s: float) -> float | None:
        """kbit/s, or None when unknown."""
        self._age(now_s)
        if self._bytes < self._min_bytes:
            return None
        return self._bytes * 8e-3 / self._seconds

    def clear(self) -> None:
        """Forgets everything."""
        self._bytes = self._seconds = 0.0
        self._sent_s = -math.inf

    def _age(self, now_s: float) -> None:
        if now_s > self._at_s:
            keep = 0.5 ** ((now_s - self._at_s) / self._half_life_s)
            self._bytes *= keep
            self._seconds *= keep
            self._at_s = now_s


class RateMeter:
    """Bytes that passed in the last `window_s`, as kbit/s."""

    def __init__(self, *, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._passed: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, size: int, now_s: float) -> None:
        """`size` bytes passed."""
        self._passed.append((now_s, size))
        self._total += size
        self._forget(now_s)

    def kbps(self, now_s: float) -> float:
        """The rate of the last window."""
        self._forget(now_s)
        return self._total * 8e-3 / self._window_s

    def _forget(self, now_s: float) -> None:
        while self._passed and self._passed[0][0] <= now_s - self._window_s:
            self._total -= self._passed.popleft()[1]
