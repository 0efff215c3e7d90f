"""How far a model may be from exact: tolerances and thresholds found within an accuracy budget, and their file.

``search_tiles`` finds the one threshold of the alignment mode 'tiles', on footage and on footage that is held out.
``search`` is FluxShard's (section IV-D1): the larger part of the budget goes to the input's threshold, the rest evenly
to the profiled layers, in the order of the network; each gets the largest candidate with which the accuracy that is
lost so far stays within what has been given out so far.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.plan import Plan

_VERSION = 1


@dataclass(frozen=True)
class Calibration:
    """What is put up with when one model runs in the mode 'calibrated'.

    remainder, spread: the tolerances of its alignment, in cells (see ``Alignment``).
    thresholds:        by stable layer name (see ``stable_names``), in the units of that layer's values.
    model:             checksum of the weights that it was found for.
    measured:          what the search found: accuracies, ratios, footage.
    tile:              side of a tile for the mode 'tiles', in frame pixels; 0: the mode 'calibrated'.
    margin:            with tiles: see ``Alignment``; 0: what differs counts fully everywhere.
    uplink_kbps:       bit rate of the H.264 uplink whose pictures it was found on; 0: the camera's own.
    """

    remainder: float = 0.0
    spread: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    model: str = ''
    measured: Mapping[str, Any] = field(default_factory=dict)
    tile: int = 0
    uplink_kbps: int = 0
    margin: float = 0.0

    @property
    def alignment(self) -> Alignment:
        if self.tile:
            return Alignment('tiles', tile=self.tile, margin=self.margin)
        return Alignment('calibrated', remainder=self.remainder, spread=self.spread)

    def on(self, plan: Plan) -> dict[str, float]:
        """The thresholds by the plan's own layer names; those of layers that it does not have are left out.

        Raises InputError where it has none of them: the calibration belongs to another model.
        """
        names = {stable: name for name, stable in stable_names(plan).items()}
        found = {names[stable]: value for stable, value in self.thresholds.items() if stable in names}
        if self.thresholds and not found:
            raise InputError(
                f'the calibration has thresholds for {", ".join(self.thresholds)}, and the model has none of these '
                'layers; use the calibration of this model, or make one with `dedelayed calibrate`'
            )
        return found

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({'version': _VERSION, **asdict(self)}, indent=1) + '\n')

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read the file. Raises InputError for one that is missing, damaged, or of another version."""
        try:
            card = json.loads(path.read_text())
            if card.pop('version') != _VERSION:
                raise ValueError('another version')
            thresholds = {str(name): float(value) for name, value in card.pop('thresholds').items()}
            calibration = cls(thresholds=thresholds, **card)
            if not all(value >= 0 and math.isfinite(value) for value in thresholds.values()):
                raise ValueError('a threshold below 0')
            _ = calibration.alignment
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise InputError(
                f'the calibration {path} cannot be used ({error}); make it again with `dedelayed calibrate`'
            ) from error
        return calibration


def stable_names(plan: Plan) -> dict[str, str]:
    """A name for each layer that does not depend on what else a trace holds, by the plan's own name.

    Tracing numbers operations through ('add_7'); here they are numbered within their module ('add', 'add#1').
    """
    counts: Counter[str] = Counter()
    result = {}
    for node in plan.nodes:
        base = re.sub(r'_\d+$', '', node.name)
        result[node.name] = f'{base}#{counts[base]}' if counts[base] else base
        counts[base] += 1
    return result


@dataclass(frozen=True)
class Trial:
    """One setting that was tried: its accuracy and compute ratio, 0 to 1."""

    calibration: Calibration
    accuracy: float
    compute_ratio: float
    recompute_ratio: float


@dataclass(frozen=True)
class Search:
    """What is searched.

    loss:       the accuracy that may be given up, relative to the dense model (0.03: three per cent).
    share:      part of it for the input; the rest is split evenly over ``layers``.
    frame:      stable name of the input; ``levels`` its candidates, ascending.
    layers:     profiled layers with their candidates, ascending, in the order of the network.
    tolerances: candidates (remainder, spread) of the alignment; tried with each of the input's levels.
    """

    loss: float
    frame: str
    levels: Sequence[float]
    layers: Sequence[tuple[str, Sequence[float]]]
    tolerances: Sequence[tuple[float, float]]
    share: float = 2 / 3

    def __post_init__(self) -> None:
        if not 0 < self.loss < 1 or not 0 < self.share <= 1:
            raise InputError(f'a loss of {self.loss} and a share of {self.share}: expected numbers between 0 and 1')


def search_tiles(
    loss: float,
    frame: str,
    tile: int,
    margin: float,
    levels: Sequence[float],
    evaluate: Callable[[Calibration], tuple[Trial, Sequence[float]]],
    say: Callable[[str], None] = print,
) -> tuple[Trial | None, list[Trial]]:
    """The largest threshold of the frame in the mode 'tiles' that is within the budget on every part of the footage.

    loss:     accuracy that may be given up, relative to the dense model, by each part for itself.
    frame:    stable name of the input; ``levels`` candidates of its threshold, ascending, in the input's units.
    margin:   of the alignment.
    evaluate: a setting's trial on all footage, and the relative loss on each part of it.

    Returns the one to use (None: no candidate is within the budget) and every trial. Candidates are tried from the
    smallest up, until two in a row cost too much: one that happens to is no trap.
    """
    if not 0 < loss < 1:
        raise InputError(f'a loss of {loss}: expected a number between 0 and 1')
    best, trials, failed = None, [], 0
    for level in levels:
        trial, losses = evaluate(Calibration(thresholds={frame: level}, tile=tile, margin=margin))
        trials.append(trial)
        within = max(losses) <= loss
        told = ', '.join(f'{lost:+.2%}' for lost in losses)
        verdict = '' if within else ' (too much)'
        say(f'  {frame} {level:.4g}: loses {told}, compute ratio {trial.compute_ratio:.3f}{verdict}')
        best, failed = (trial, 0) if within else (best, failed + 1)
        if failed == 2:
            break
    return best, trials


def search(
    plan: Search, dense: float, evaluate: Callable[[Calibration], Trial], say: Callable[[str], None] = print
) -> tuple[Trial, list[Trial]]:
    """Find thresholds and tolerances; returns the one to use and every trial, in order.

    dense:    accuracy of the dense model.
    evaluate: the accuracy and the ratios of a setting. It is not assumed that more tolerance costs more accuracy: the
              candidates of a layer are tried from the largest down until one is within the budget.
    """
    budget = plan.loss * dense
    trials: list[Trial] = []

    def attempt(calibration: Calibration, spent: float, what: str) -> Trial | None:
        trial = evaluate(calibration)
        trials.append(trial)
        within = dense - trial.accuracy <= spent
        say(
            f'  {what}: loses {(dense - trial.accuracy) / dense:+.2%} of at most {spent / dense:.2%}, compute ratio '
            f'{trial.compute_ratio:.3f}{"" if within else " (too much)"}'
        )
        return trial if within else None

    best = evaluate(Calibration())
    trials.append(best)
    spent = plan.share * budget
    for remainder, spread in plan.tolerances:
        for level in reversed(plan.levels):
            tried = Calibration(remainder, spread, {plan.frame: level})
            found = attempt(tried, spent, f'{plan.frame} {level:.4g}, remainder {remainder}, spread {spread}')
            if found is not None:
                if found.recompute_ratio < best.recompute_ratio:
                    best = found
                break
    for name, levels in plan.layers:
        spent += (1 - plan.share) * budget / len(plan.layers)
        for level in reversed(levels):
            base = best.calibration
            tried = Calibration(base.remainder, base.spread, {**base.thresholds, name: level})
            found = attempt(tried, spent, f'{name} {level:.4g}')
            if found is not None:
                if found.compute_ratio < best.compute_ratio:
                    best = found
                break
    return best, trials
