"""Ways to run a plan.

A backend makes an *engine* of a plan: it may lay out weights and compile tables as it likes, but remembers nothing of a
stream. One call runs the whole network for one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.backends.cpu import CpuEngine
from dedelayed_ros.sparse.backends.cuda import CudaEngine
from dedelayed_ros.sparse.backends.describe import Lacking
from dedelayed_ros.sparse.backends.reference import ReferenceEngine
from dedelayed_ros.sparse.plan import Plan
from dedelayed_ros.sparse.stats import SparseStats

BACKENDS = ('reference', 'cpu', 'cuda')


class Engine(Protocol):
    """A plan, ready to run on one backend. Safe to share between streams.

    reason: why 'auto' took this backend and not a faster one; empty where nothing is lost.
    takes:  number formats of inputs that it converts itself, besides the plan's.
    """

    name: str
    plan: Plan
    reason: str
    takes: tuple[torch.dtype, ...]

    def new_state(self) -> Any:
        """Empty memory for one stream, with ``bytes`` (int), ``sets`` and ``values`` (tensors by node)."""

    def step(self, state: Any, inputs: Sequence[Tensor | None], motion: Any) -> tuple[list[Tensor], SparseStats]:
        """One frame: [1, C, h, w] of every input (None: carry what is there) → the plan's results, and what it took.

        ``state`` is left as it was if this raises.
        """


_NATIVE: dict[str, Callable[..., Engine]] = {'cuda': CudaEngine, 'cpu': CpuEngine}  # fastest first


def make_engine(
    backend: str,
    plan: Plan,
    alignment: Alignment,
    thresholds: Sequence[float],
    *,
    remap: bool = True,
    threads: int = 1,
    dense_above: float = 1.0,
) -> Engine:
    """An engine of the named backend. ``thresholds`` has one number a node; ``threads`` and
    ``dense_above`` are for the CPU kernels.

    'auto' takes the GPU, or else the CPU kernels, where they have every operation of the plan, its number format and
    its alignment mode, and else the reference; the engine's ``reason`` says why.

    Raises InputError for a backend that is not there, or that cannot run this plan, naming what it lacks.
    """
    if backend not in ('auto', *BACKENDS):
        raise InputError(f"backend {backend!r} is not available; there is {', '.join(BACKENDS)}, or use 'auto'")
    levels = _compared(plan, thresholds)
    reasons = []
    for name, make in _NATIVE.items():
        if backend not in ('auto', name):
            continue
        options = {'threads': threads, 'dense_above': dense_above} if name == 'cpu' else {}
        try:
            engine = make(plan, alignment, levels, remap=remap, **options)
        except Lacking as error:
            reasons.append(f'backend {name!r} cannot run this plan: {error}')
            continue
        engine.reason = '; '.join(reasons)
        return engine
    if backend in _NATIVE:
        raise InputError(f"{reasons[0]}; use 'reference', or 'auto' to have the fastest that can")
    reference = ReferenceEngine(plan, alignment, levels, remap=remap)
    reference.reason = '; '.join(reasons)
    return reference


def _compared(plan: Plan, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds for the engines: below zero, so that nothing agrees with it, where comparing would spare nothing.

    That is a layer which no other reads: whatever of it is computed counts as new.
    """
    read = {*plan.inputs, *(i for node in plan.nodes for i in node.inputs)}
    return tuple(level if level or index in read else -1.0 for index, level in enumerate(thresholds))
