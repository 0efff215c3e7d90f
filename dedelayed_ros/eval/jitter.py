"""Delays that vary from answer to answer, and which answer the robot would be using at each of its frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dedelayed_ros.errors import InputError
from dedelayed_ros.link.estimators import DelayEstimator


@dataclass(frozen=True)
class Jitter:
    """Log-normal delays of a mean and a standard deviation (ms), and the share of answers that never come."""

    mean_ms: float = 120.0
    deviation_ms: float = 60.0
    loss: float = 0.05

    def constant(self) -> Jitter:
        """The same mean without variation or loss."""
        return replace(self, deviation_ms=0.0, loss=0.0)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """float64 [count] delays in ms; infinity for an answer that is lost."""
        variance = math.log1p((self.deviation_ms / self.mean_ms) ** 2)
        delays = rng.lognormal(math.log(self.mean_ms) - variance / 2, math.sqrt(variance), count)
        return np.where(rng.random(count) < self.loss, np.inf, delays)

    def describe(self) -> dict[str, float]:
        """For the file of figures."""
        return {'mean_ms': self.mean_ms, 'deviation_ms': self.deviation_ms, 'loss': self.loss}


@dataclass(frozen=True)
class Used:
    """An answer in use: the frame that the cloud saw, and the delay that it was told."""

    seen: int
    told_ms: float


def arrivals(process: Jitter, frames: int, rate: float, seed: int) -> list[Used | None]:
    """For each of ``frames`` frames, ``rate`` a second, the answer that the robot uses then; None before the first.

    Every frame is sent. Of the answers that have come, the one for the newest frame is used, in whatever order they
    came; each was told what the link's own estimate was when its frame was sent.
    """
    delays = process.draw(frames, np.random.default_rng((seed, 1)))
    period_ms = 1e3 / rate
    estimator = DelayEstimator()
    coming: list[tuple[float, int, float]] = []  # (arrival in ms, seen, told)
    newest: Used | None = None
    using: list[Used | None] = []
    for now in range(frames):
        now_ms = now * period_ms
        for arrival, seen, told in sorted(a for a in coming if a[0] <= now_ms):
            if newest is None or seen > newest.seen:
                newest = Used(seen, told)
                # What counts is when it can first be used: at this frame.
                estimator.observe(now_ms - seen * period_ms, arrival / 1e3)
        coming = [a for a in coming if a[0] > now_ms]
        using.append(newest)
        if math.isfinite(delays[now]):
            coming.append((now_ms + float(delays[now]), now, estimator.predict(now_ms / 1e3)))
    return using


def parse_jitter(text: str) -> Jitter:
    """'MEAN,DEVIATION,LOSS' as milliseconds, milliseconds and a share, such as '120,60,0.05'.

    Raises:
        InputError: it is something else.
    """
    try:
        mean, deviation, loss = (float(part) for part in text.split(','))
    except ValueError:
        raise InputError(
            f"jitter is {text!r}; expected 'MEAN,DEVIATION,LOSS' such as '120,60,0.05' (ms, ms, share)"
        ) from None
    if not (mean > 0 and deviation >= 0 and 0 <= loss < 1):
        raise InputError(
            f'jitter is {text!r}; expected a mean above 0, a deviation of at least 0 and a loss from 0 to 1'
        )
    return Jitter(mean, deviation, loss)
