"""SparseModule: a model that remembers the last frame and computes what motion does not explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.alignment import Alignment, parse
from dedelayed_ros.sparse.backends import Engine, make_engine
from dedelayed_ros.sparse.backends.describe import of_vectors
from dedelayed_ros.sparse.calibration import Calibration
from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.plan import Plan
from dedelayed_ros.sparse.stats import SparseStats

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def compile(
    model: nn.Module,
    example_inputs: Sequence[Any],
    *,
    alignment: str | Alignment = 'per_layer',
    dtype: torch.dtype = torch.float32,
    thresholds: Mapping[str, float] | None = None,
    remap: bool = True,
    backend: str = 'auto',
    unsupported: str = 'error',
    calibration: Calibration | None = None,
    threads: int = 1,
    dense_above: float = 1.0,
) -> SparseModule:
    """Make an ordinary eval-mode module sparse in time.

    example_inputs: tensors of the shapes that ``step`` will get. The first is the frame, [1, C, H, W], of floats or,
                    for a model that takes 0 to 1, uint8: levels 0–255, of which it sees a 255th. Others are maps
                    [1, C, h, w] on coarser grids, which are carried along with the motion, or vectors.
    alignment:      how reuse is checked (see Alignment); 'per_layer' and 'sticky' are exact without thresholds.
    dtype:          number format of weights and feature maps: float32, bfloat16, or (for a GPU) float16.
    thresholds:     by layer or input name, in units of that layer's own values: the largest difference from the cached
                    value that is put up with. Names are those of ``SparseModule.layers``; missing ones are 0.
    remap:          False compares and keeps caches in place, whatever moved (an ablation; as exact as with True).
    backend:        'auto' or the name of one.
    unsupported:    'error', or 'dense': an operation that is not known is run in full whenever anything changed.
    calibration:    alignment and thresholds of `dedelayed calibrate`, in place of those two.
    threads:        that a step may compute with; the results are the same bits for any number.
    dense_above:    with more than this share of the frame new, the CPU kernels compute everything: to find out what
                    else could be reused would cost more than it saves.

    Raises InputError for a model that cannot be traced, an unknown operation, layer name, backend or alignment.
    """
    if dtype not in DTYPES:
        raise InputError(f'dtype {dtype}: expected torch.float32, torch.bfloat16 or torch.float16')
    if threads < 1:
        raise InputError(f'threads is {threads}; expected 1 or more')
    plan = trace(model, example_inputs, dtype=dtype, unsupported=unsupported)
    if calibration is not None:
        if thresholds is not None or alignment != 'per_layer':
            raise InputError('a calibration brings its own alignment and thresholds; give one or the other')
        alignment, thresholds = calibration.alignment, calibration.on(plan)
    how = _How(backend, remap, threads, dense_above)
    return SparseModule(
        how.engine(plan, parse(alignment), thresholds or {}), tuple(x is not None for x in example_inputs), how
    )


@dataclass(frozen=True)
class _How:
    """What stays the same when a module gets other tolerances."""

    backend: str
    remap: bool
    threads: int
    dense_above: float

    def engine(self, plan: Plan, alignment: Alignment, thresholds: Mapping[str, float]) -> Engine:
        levels = _by_node(plan, thresholds)
        if alignment.mode == 'tiles':
            _check_debts(plan, levels)
        return make_engine(
            self.backend,
            plan,
            alignment,
            levels,
            remap=self.remap,
            threads=self.threads,
            dense_above=self.dense_above,
        )


class SparseModule:
    """One stream through a compiled model. The state is here, the weights are shared with all its forks."""

    def __init__(self, engine: Engine, given: tuple[bool, ...], how: _How | None = None) -> None:
        """``given``: which arguments of the model are tensors (others are None for good); ``how`` it was made."""
        self._engine = engine
        self._given = given
        self._how = how or _How(engine.name, True, 1, 1.0)
        self._is_single = engine.plan.structure.is_leaf()
        self._dtypes = (engine.plan.dtype, *(dtype for dtype in engine.takes if dtype.is_floating_point))
        self._state = engine.new_state()

    @property
    def backend(self) -> str:
        """Name of the backend that runs it."""
        return self._engine.name

    @property
    def backend_reason(self) -> str:
        """Why 'auto' did not take a faster backend, naming the layers that it lacks; empty where it did."""
        return self._engine.reason

    @property
    def plan(self) -> Plan:
        return self._engine.plan

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of inputs and layers, in the order of computation: the keys of thresholds and statistics."""
        return tuple(node.name for node in self.plan.nodes)

    @property
    def state_bytes(self) -> int:
        """Bytes that this stream's memory takes."""
        return int(self._state.bytes)

    def fork(self) -> SparseModule:
        """Another stream through the same weights, with a memory of its own that is empty."""
        return SparseModule(self._engine, self._given, self._how)

    def with_tolerance(
        self,
        alignment: str | Alignment = 'per_layer',
        thresholds: Mapping[str, float] | None = None,
        *,
        remap: bool = True,
        threads: int | None = None,
        dense_above: float | None = None,
    ) -> SparseModule:
        """The same model, not traced again, with other tolerances and an empty memory; arguments as ``compile``'s.

        ``threads`` and ``dense_above``: None for this one's.
        """
        how = replace(
            self._how,
            remap=remap,
            threads=threads or self._how.threads,
            dense_above=self._how.dense_above if dense_above is None else dense_above,
        )
        return SparseModule(how.engine(self.plan, parse(alignment), thresholds or {}), self._given, how)

    def reset(self) -> None:
        """Forget everything: the next step is dense."""
        self._state = self._engine.new_state()

    def step(
        self, *inputs: Tensor | None, motion: MotionField | None = None, copy: bool = True
    ) -> tuple[Any, SparseStats]:
        """The model's output for one frame, computed as far as it changed.

        inputs: as the model's arguments, shaped like the example inputs. None for a map other than the frame means that
                nothing new has arrived: the one that is there is carried on with the motion by whole cells, zeros come
                in where nothing comes from.
        motion: from the frame of the last step to this one. None: nothing is known, everything is computed.
        copy:   the outputs belong to the caller. False: they are the stream's own memory, to be read before the next
                step and never written to.

        Returns the outputs in the model's structure, and what it took. Raises InputError
        for wrong shapes and a motion field of another size; the memory is then as it was.
        """
        tensors = self._checked(inputs)
        results, stats = self._engine.step(self._state, tensors, motion)
        if copy:
            results = [r.clone() if isinstance(r, Tensor) else r for r in results]
        return results[0] if self._is_single else pytree.tree_unflatten(results, self.plan.structure), stats

    def recompute_set(self, name: str) -> Tensor:  # bool [h, w]
        """Positions of a layer or input that were new in the last step."""
        return self._of(name, self._state.sets).clone()

    def held(self, name: str) -> Tensor:  # [1, C, h, w]
        """The remembered value of a layer or input: that of the last step, with what thresholds kept of older ones."""
        value = self._of(name, self._state.values)
        return (value.float() / 255).to(self.plan.dtype) if value.dtype == torch.uint8 else value.clone()

    def _of(self, name: str, items: Sequence[Tensor]) -> Tensor:
        node = self.plan.find(name)
        if node is None:
            raise InputError(_unknown(name, self.plan))
        if not items:
            raise InputError('there has been no step yet')
        return items[node.index]

    def _checked(self, inputs: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        if len(inputs) != len(self._given):
            raise InputError(f'step got {len(inputs)} inputs, the model was compiled for {len(self._given)}')
        used: list[Tensor | None] = []
        levels = self.plan.takes_levels
        for number, (item, given) in enumerate(zip(inputs, self._given, strict=True)):
            if not given:
                if item is not None:
                    raise InputError(f'input {number} was None when the model was compiled, and has to stay None')
                continue
            shape = self.plan.shapes[len(used)]
            if item is None:
                if not used:
                    raise InputError('the frame cannot be None')
                used.append(None)
                continue
            if not isinstance(item, Tensor) or item.shape != shape:
                got = list(item.shape) if isinstance(item, Tensor) else type(item).__name__
                raise InputError(f'input {number} is {got}, the model was compiled for {list(shape)}')
            if levels and not used:
                if item.dtype != torch.uint8:
                    raise InputError(
                        f'the frame is {item.dtype}; the model was compiled for levels 0-255 (torch.uint8)'
                    )
                native = torch.uint8 in self._engine.takes
                item = item if item.is_cpu else item.cpu()
                used.append(item if native else (item.float() / 255).to(self.plan.dtype))
                continue
            if item.dtype not in self._dtypes or not item.is_cpu or item.requires_grad:
                if not item.is_floating_point():
                    raise InputError(f'input {number} is {item.dtype}; expected floating point')
                item = item.detach().to(device='cpu', dtype=self.plan.dtype)
            used.append(item)
        return used


def _by_node(plan: Plan, thresholds: Mapping[str, float]) -> list[float]:
    result = [0.0] * len(plan.nodes)
    for name, threshold in thresholds.items():
        node = plan.find(name)
        if node is None:
            raise InputError(_unknown(name, plan))
        if not threshold >= 0:
            raise InputError(f"threshold of '{name}' is {threshold}; expected 0 or more")
        result[node.index] = float(threshold)
    return result


def _check_debts(plan: Plan, levels: Sequence[float]) -> None:
    """Raises InputError for thresholds that 'tiles' does not look at."""
    seen = {*plan.inputs, *of_vectors(plan)}
    for node in plan.nodes:
        if levels[node.index] and node.index not in seen:
            raise InputError(
                f"alignment 'tiles' has thresholds for the model's inputs, and '{node.name}' is a layer: leave it out"
            )


def _unknown(name: str, plan: Plan) -> str:
    known = ', '.join(node.name for node in plan.nodes)
    return f"there is no layer or input '{name}'; there are: {known}"
