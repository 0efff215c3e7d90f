"""The street's centreline: a smooth curve on the ground, prolonged as it is needed."""

from __future__ import annotations

import numpy as np

from .look import stream

CHUNK = 40.0
"""Metres of street that are made at a time."""

_STEP = 0.5


class Path:
    """Positions, headings and curvatures along the centreline of a seed's street; s in metres, d metres to the left."""

    def __init__(self, seed: int, winding: float) -> None:
        self._seed = seed
        self._winding = winding
        self._x, self._y, self._heading, self._bend = (np.zeros(1) for _ in range(4))
        self._chunks = 0

    @property
    def length(self) -> float:
        """How far the street is known (m)."""
        return self._chunks * CHUNK

    def is_junction(self, chunk: int) -> bool:
        """Whether a street crosses in this chunk; no two in a row, and none in a bend."""
        return chunk > 0 and chunk % 2 == 1 and stream(self._seed, 3, chunk).random() < 0.6

    def extend(self, length: float) -> None:
        """Make the street known up to ``length`` metres."""
        while self.length < length:
            k = self._chunks
            rng = stream(self._seed, 4, k)
            turn = 0.0
            if k > 0 and not self.is_junction(k) and rng.random() < self._winding:
                turn = float(rng.uniform(0.15, 1.1) * rng.choice([-1, 1]))
                if abs(self._heading[-1] + turn) > 1.0:
                    turn = -turn if abs(self._heading[-1] - turn) <= 1.0 else 0.0
            n = round(CHUNK / _STEP)
            u = (np.arange(n) + 0.5) / n
            bend = turn / CHUNK * (1 - np.cos(2 * np.pi * u))
            heading = self._heading[-1] + np.cumsum(bend) * _STEP
            middle = np.concatenate([self._heading[-1:], heading])
            middle = (middle[1:] + middle[:-1]) / 2
            self._x = np.append(self._x, self._x[-1] + np.cumsum(np.cos(middle)) * _STEP)
            self._y = np.append(self._y, self._y[-1] + np.cumsum(np.sin(middle)) * _STEP)
            self._heading = np.append(self._heading, heading)
            self._bend = np.append(self._bend, bend)
            self._chunks += 1

    def at(self, s: np.ndarray | float, d: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y (m) and heading (rad) of points given along and across; before 0 the street runs straight."""
        s = np.asarray(s, np.float64)
        i = np.clip(s / _STEP, 0, len(self._x) - 1)
        k = np.minimum(i.astype(int), max(len(self._x) - 2, 0))
        t = i - k
        heading = self._heading[k] * (1 - t) + self._heading[k + 1] * t
        beyond = s - i * _STEP
        x = self._x[k] * (1 - t) + self._x[k + 1] * t + beyond * np.cos(heading)
        y = self._y[k] * (1 - t) + self._y[k + 1] * t + beyond * np.sin(heading)
        return x - np.sin(heading) * d, y + np.cos(heading) * d, heading

    def bend(self, s: float) -> float:
        """Curvature (1/m, positive to the left)."""
        return float(self._bend[int(np.clip(s / _STEP, 0, len(self._bend) - 1))])

    def distance(self, x: float, y: float, near: float, reach: float = 120.0) -> float:
        """Distance (m) from a point to the centreline within ``reach`` metres before and after ``near``."""
        lo = int(max(near - reach, 0) / _STEP)
        hi = int((near + reach) / _STEP) + 1
        return float(np.sqrt(((self._x[lo:hi:4] - x) ** 2 + (self._y[lo:hi:4] - y) ** 2).min()))
