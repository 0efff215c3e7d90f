"""What engines do alike: a frame's results and statistics, and the nodes that depend on vectors alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.backends.evaluate import evaluate
from dedelayed_ros.sparse.cache import agrees
from dedelayed_ros.sparse.ops import Input
from dedelayed_ros.sparse.plan import Node, Plan
from dedelayed_ros.sparse.stats import LayerStats, SparseStats

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

T = TypeVar('T')


def check_motion(plan: Plan, motion: MotionField | None) -> None:
    """Raises InputError for motion of another frame than the plan's."""
    if motion is not None and tuple(motion.size) != plan.frame:
        raise InputError(
            f'motion is given for a frame of {tuple(motion.size)}, the model runs on {plan.frame}: use '
            f'motion.resized({plan.frame})'
        )


def results_of(plan: Plan, values: Sequence[Tensor]) -> list[Tensor]:
    """The model's outputs, from the output of every node [1, C, h, w]."""
    found = []
    for result in plan.results:
        if result.node is None:
            found.append(result.constant)
        else:
            value = values[result.node]
            found.append(result.layout.to_raw(value) if result.layout else value)
    return found


def statistics(
    plan: Plan, layers: Sequence[LayerStats], computed: Sequence[float] | np.ndarray, dense: bool, milliseconds: float
) -> SparseStats:
    """A step's statistics from those of every node; ``computed``: their compute ratios."""
    work = float(np.rint(computed * plan.cells) @ plan.work)
    first = layers[plan.inputs[0]].recompute_ratio
    return SparseStats(first, work / plan.all_work if plan.all_work else first, dense, layers, milliseconds)


class PerNode(Sequence[T]):
    """Something of each node, made when it is asked for."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._count))]
        return self._make(range(self._count)[index])

    def __iter__(self) -> Iterator[T]:
        return (self._make(i) for i in range(self._count))


class Vectors:
    """One frame of the nodes that depend on vectors alone (the age of features), found by the reference's definition.

    ``before``: values of the last frame, by node. ``values``, ``dirty`` (whether it is another than in the last frame)
    and ``ratios`` (recompute and compute ratio, milliseconds) are by node too.
    """

    def __init__(self, plan: Plan, thresholds: Sequence[float], before: Mapping[int, Tensor], dense: bool) -> None:
        self._plan, self._thresholds, self._before, self._dense = plan, thresholds, before, dense
        self.values: dict[int, Tensor] = {}
        self.dirty: dict[int, bool] = {}
        self.ratios: dict[int, tuple[float, float, float]] = {}

    @torch.no_grad()
    def run(self, node: Node, given: Mapping[int, Tensor | None]) -> None:
        """Find a node's value; ``given``: the model's inputs, by node."""
        start = time.perf_counter()
        i, cached = node.index, self._before.get(node.index)
        is_input = isinstance(node.op, Input)
        asked = not is_input and (self._dense or any(self.dirty[k] for k in node.inputs))
        fresh = given[i] if is_input else cached
        if asked:
            fresh = evaluate(node, [self.values[k] for k in node.inputs])
        if fresh is None:
            shape = self._plan.shapes[self._plan.inputs.index(i)]
            fresh = torch.zeros(shape, dtype=self._plan.dtype) if cached is None or self._dense else cached
        kept = not self._dense and cached is not None
        kept = kept and bool(agrees(fresh, cached, self._thresholds[i], node.grid.size))  # type: ignore[arg-type]
        self.dirty[i] = (asked or is_input) and not kept
        self.values[i] = cached if kept and cached is not None else fresh.clone()
        self.ratios[i] = float(self.dirty[i]), float(asked), (time.perf_counter() - start) * 1e3
