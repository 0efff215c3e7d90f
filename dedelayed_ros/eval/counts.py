"""Confusion counts kept clip by clip, so that intervals over clips can be drawn from them."""

from __future__ import annotations

import numpy as np

from dedelayed_ros.train.losses import iou

_RESAMPLED = 1000


class ClipCounts:
    """Counts int64 [clips, classes, classes] of (true, predicted) pixels of one method."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts

    def miou(self) -> float:
        """Over all clips together, 0–1."""
        return float(iou(self.counts.sum(0))[0])

    def per_class(self) -> np.ndarray:
        """float64 [classes], NaN for a class that neither occurs nor is predicted."""
        return iou(self.counts.sum(0))[1]

    def interval(self, other: ClipCounts | None = None) -> tuple[float, float]:
        """The 95 % interval of the mIoU over which clips happened to be looked at, or of its lead over ``other``.

        Clips are drawn with replacement (bootstrap), the same ones for both sides of a lead.
        """
        clips = len(self.counts)
        rng = np.random.default_rng(0)
        drawn = rng.multinomial(clips, [1 / clips] * clips, size=_RESAMPLED)  # how often each clip was drawn
        values = self._resampled(drawn)
        if other is not None:
            values = values - other._resampled(drawn)
        low, high = np.nanquantile(values, (0.025, 0.975))
        return float(low), float(high)

    def _resampled(self, drawn: np.ndarray) -> np.ndarray:
        classes = self.counts.shape[1]
        sums = (drawn @ self.counts.reshape(len(self.counts), -1)).reshape(-1, classes, classes)
        return iou(sums)[0]
