"""f(ρ): how long an endpoint takes for a frame of which a share ρ has to be recomputed (FluxShard, Eqs. 17 and 18)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dedelayed_ros.errors import InputError

_VERSION = 1


@dataclass(frozen=True, eq=False)
class LatencyProfile:
    """Latency in milliseconds over the recompute ratio, piecewise linear and never falling.

    ratios:   float64 [n], rising, each 0–1. Below the first and above the last the curve is level.
    ms:       float64 [n], 0 or more. Values that fall are levelled by least squares (isotonic regression).
    measured: what it was measured of and on (model, device, threads, spread, …), as the file keeps it.

    Raises:
        InputError: no points, or numbers out of these ranges.
    """

    ratios: np.ndarray
    ms: np.ndarray
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ratios, ms = np.asarray(self.ratios, np.float64), np.asarray(self.ms, np.float64)
        if not (
            ratios.ndim == 1
            and len(ratios)
            and ratios.shape == ms.shape
            and (np.diff(ratios) > 0).all()
            and ratios[0] >= 0
            and ratios[-1] <= 1
            and np.isfinite(ms).all()
            and (ms >= 0).all()
        ):
            raise InputError(
                f'a profile of ratios {ratios.tolist()} and milliseconds {ms.tolist()}; expected as many of both, '
                'ratios rising within 0–1, and finite times of 0 or more'
            )
        object.__setattr__(self, 'ratios', ratios)
        object.__setattr__(self, 'ms', never_falling(ms))

    def __call__(self, ratio: float) -> float:
        """Estimated milliseconds at a recompute ratio, which is cut to 0–1. A ratio that is NaN gives NaN."""
        return float(np.interp(ratio, self.ratios, self.ms)) if ratio == ratio else math.nan

    def refined(self, ratio: float, ms: float, weight: float = 0.1) -> LatencyProfile:
        """The profile after one real measurement: an exponentially weighted average at the points next to it.

        The neighbours share ``weight`` (0–1) by how near they are; the others follow in proportion as far as the
        whole machine became slower or faster, by a tenth of that. A measurement that is not finite or is negative, as
        of a clock that was set, changes nothing.
        """
        if not (math.isfinite(ms) and ms >= 0 and math.isfinite(ratio)):
            return self
        expected = self(ratio)
        near = np.array([float(np.interp(ratio, self.ratios, unit)) for unit in np.eye(len(self.ratios))])
        moved = self.ms + weight * near * (ms - expected)
        if expected > 0:
            change = min(max(ms / expected, 0.5), 2.0)
            moved = moved * (1 + 0.1 * weight * (1 - near) * (change - 1))
        return replace(self, ms=np.maximum(moved, 0.0))

    def scaled(self, factor: float) -> LatencyProfile:
        """The profile of a machine that takes ``factor`` times as long."""
        return replace(self, ms=self.ms * factor)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        card = {
            'version': _VERSION,
            'ratios': [round(float(ratio), 6) for ratio in self.ratios],
            'ms': [round(float(ms), 4) for ms in self.ms],
            'measured': dict(self.measured),
        }
        path.write_text(json.dumps(card, indent=1) + '\n')

    @classmethod
    def load(cls, path: Path) -> LatencyProfile:
        """Read a file of ``save``.

        Raises:
            InputError: it is not there or not a profile of this version.
        """
        try:
            card = json.loads(path.read_text())
            if card['version'] != _VERSION:
                raise ValueError(f'version {card["version"]} where this program reads version {_VERSION}')
            return cls(np.array(card['ratios'], np.float64), np.array(card['ms'], np.float64), dict(card['measured']))
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f'{path} is no latency profile ({error}); make one with `dedelayed profile --save {path}`'
            ) from error


def never_falling(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The never falling sequence, float64 [n], nearest to ``values`` in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []  # mean and how many
    for value in values:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, many), (last, more) = pools[-2], pools.pop()
            pools[-1] = ((mean * many + last * more) / (many + more), many + more)
    return np.concatenate([np.full(many, mean) for mean, many in pools]) if pools else np.zeros(0)
