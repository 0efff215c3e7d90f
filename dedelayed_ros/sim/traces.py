"""Bandwidth over time: recorded or made up, second by second, with real stalls where nothing passes."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dedelayed_ros.errors import InputError

_LONGEST = 1_000_000  # seconds of a trace that are read


@dataclass(frozen=True)
class Tier:
    """Statistics of a class of mobile links, seconds pooled: mean and standard deviation in Mbit/s, and the share of
    seconds in which nothing passes.
    """

    mean: float
    deviation: float
    stalled: float


TIERS = {
    'low': Tier(40.4, 36.6, 0.010),
    'medium': Tier(382.8, 419.1, 0.030),
    'high': Tier(596.9, 467.9, 0.023),
}
"""The three tiers of FluxShard's evaluation (4G, and slower and faster 5G; Narayanan et al., SIGCOMM 2021)."""

_PERSISTENCE = 0.85  # correlation of one second with the next
_STALL_SECONDS = 2.0  # mean length of a stall


@dataclass(frozen=True, eq=False)
class BandwidthTrace:
    """Megabits that pass in each second, ``mbps`` float64 [seconds], again from the beginning after the last.

    Raises:
        InputError: no seconds, a rate that is negative or not finite, or nothing that ever passes.
    """

    mbps: np.ndarray

    def __post_init__(self) -> None:
        rates = self.mbps
        if rates.ndim != 1 or not 0 < len(rates) <= _LONGEST or not (np.isfinite(rates) & (rates >= 0)).all():
            raise InputError(
                f'a trace of {rates.size} rates; expected 1 to {_LONGEST} finite numbers of Mbit/s, none below 0'
            )
        if not rates.any():
            raise InputError('a trace in which nothing ever passes; expected a rate above 0 in some second')

    @cached_property
    def _passed(self) -> np.ndarray:
        """Megabits that have passed by the beginning of each second, float64 [seconds + 1]."""
        return np.concatenate(([0.0], np.cumsum(self.mbps)))

    def passed(self, at_s: float) -> float:
        """Megabits that a link in constant use has let through after ``at_s`` seconds."""
        turns, rest = divmod(at_s, len(self.mbps))
        second = min(int(rest), len(self.mbps) - 1)
        return turns * self._passed[-1] + self._passed[second] + (rest - second) * self.mbps[second]

    def done_s(self, begin_s: float, size: int) -> float:
        """When the last of ``size`` bytes has passed, if they have the link to themselves from ``begin_s`` on (s)."""
        if size <= 0:
            return begin_s
        wanted = self.passed(begin_s) + size * 8e-6
        # Rounding must not ask for a turn that it ends with.
        turns = math.ceil(wanted / self._passed[-1]) - 1
        rest = min(wanted - turns * self._passed[-1], self._passed[-1])
        second = int(np.searchsorted(self._passed, rest)) - 1  # the first second by whose end so much has passed
        return max(begin_s, turns * len(self.mbps) + second + (rest - self._passed[second]) / self.mbps[second])


def synthesise(tier: Tier, seconds: int, seed: int) -> BandwidthTrace:
    """A trace with the moments of ``tier``: log-normal rates that change slowly, and stalls of some seconds."""
    rng = np.random.default_rng(seed)
    flowing = 1.0 - tier.stalled
    mean = tier.mean / flowing
    square = (tier.deviation**2 + tier.mean**2) / flowing
    variance = math.log(square / mean**2)
    noise = rng.standard_normal(seconds)
    level = np.empty(seconds)
    level[0] = noise[0]
    for second in range(1, seconds):
        level[second] = _PERSISTENCE * level[second - 1] + math.sqrt(1 - _PERSISTENCE**2) * noise[second]
    rates = np.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * level)
    stalled, begins = False, tier.stalled / (flowing * _STALL_SECONDS)
    for second in range(seconds):
        stalled = rng.random() < (1 - 1 / _STALL_SECONDS if stalled else begins)
        if stalled:
            rates[second] = 0.0
    if not rates.any():
        rates[-1] = tier.mean
    return BandwidthTrace(rates)


def read_traces(path: Path, tier: str) -> dict[str, BandwidthTrace]:
    """The traces of a tier in a CSV file with the columns tier, trace, second and mbps, by name.

    Seconds are taken as they follow each other, one row each, whatever their numbers.

    Raises:
        InputError: no such file, columns or tier, or a rate that is none.
    """
    found: dict[str, list[float]] = {}
    tiers = set()
    try:
        with path.open(newline='') as file:
            rows = csv.DictReader(file)
            if rows.fieldnames is None or not {'tier', 'trace', 'mbps'} <= set(rows.fieldnames):
                raise InputError(f'{path} has the columns {rows.fieldnames}; expected tier, trace, second, mbps')
            for row in rows:
                tiers.add(row['tier'])
                if row['tier'] == tier:
                    found.setdefault(row['trace'], []).append(float(row['mbps']))
    except OSError as error:
        raise InputError(f'cannot read the traces {path} ({error.strerror}); give the path of a CSV file') from error
    except (ValueError, TypeError) as error:
        raise InputError(f'{path}: {error}; expected a number of Mbit/s in every row') from error
    if not found:
        raise InputError(f'{path} has no tier {tier!r}; there is {", ".join(sorted(tiers)) or "none"}')
    return {name: BandwidthTrace(np.array(rates)) for name, rates in found.items()}


def open_trace(text: str, seed: int = 0, seconds: int = 600) -> BandwidthTrace:
    """A trace by its description on a command line.

    'low', 'medium' or 'high': synthesised with that tier's moments by ``seed``. 'FILE:TIER' or 'FILE:TIER:NAME': out of
    a CSV file; without a name the ``seed``-th of the tier.

    Raises:
        InputError: it is something else, or the file has no such trace.
    """
    if text in TIERS:
        return synthesise(TIERS[text], seconds, seed)
    file, _, rest = text.partition(':')
    tier, _, name = rest.partition(':')
    if not tier:
        raise InputError(f"trace is {text!r}; expected {', '.join(map(repr, TIERS))}, 'FILE:TIER' or 'FILE:TIER:NAME'")
    traces = read_traces(Path(file), tier)
    if not name:
        return traces[sorted(traces)[seed % len(traces)]]
    if name not in traces:
        raise InputError(f'{file} has no trace {name!r} in tier {tier!r}; its first is {min(traces)!r}')
    return traces[name]
