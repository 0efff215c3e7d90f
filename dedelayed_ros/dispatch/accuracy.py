"""What each way of computing a mask is worth, as it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FUSED = 'fused_motion'  # the method of the delay table that the pipeline runs


@dataclass(frozen=True)
class AccuracyTable:
    """What each way of computing a mask is worth, mIoU 0–1, as the model's entry has it measured.

    ``fused``: (age of the features in ms, accuracy), by rising age; past the last age there is no fusing. ``offload``
    is the accuracy of the offloaded model at its calibration, the same at both ends.
    """

    local: float
    offload: float
    fused: tuple[tuple[float, float], ...] = ()

    @classmethod
    def measured(cls, table: Mapping[str, Any], offload: float) -> AccuracyTable | None:
        """Of the figures that `dedelayed eval delay --store` wrote into a model's entry; None where there are none.

        ``offload``: mIoU of the offloaded model at its calibration, from that model's own entry.
        """
        rows = [(str(row['method']), float(row['delay_ms']), float(row['miou'])) for row in table.get('rows', ())]
        local = [miou for method, _, miou in rows if method == 'local']
        fused = tuple(sorted((delay, miou) for method, delay, miou in rows if method == _FUSED))
        return cls(local[0], offload, fused) if local and fused else None

    def fused_at(self, age_ms: float) -> float | None:
        """Accuracy with features that are ``age_ms`` old, by linear interpolation; None past the table."""
        if not self.fused or not age_ms <= self.fused[-1][0]:
            return None
        below = self.fused[0]
        for point in self.fused:
            if point[0] >= age_ms:
                share = (age_ms - below[0]) / (point[0] - below[0]) if point[0] > below[0] else 1.0
                return below[1] + max(share, 0.0) * (point[1] - below[1])
            below = point
        return below[1]
