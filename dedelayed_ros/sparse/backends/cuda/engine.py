"""The plan on a CUDA device: the kernels of ``kernels/cuda``, launched one after the other without a word in between.

Sets and statistics are those of the reference; values are too, bit for bit, wherever arithmetic is exact. Feature maps
stay on the device; the model's inputs are copied to it, its outputs and two numbers a layer back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.backends.cuda import described
from dedelayed_ros.sparse.backends.cuda.device import Device
from dedelayed_ros.sparse.backends.cuda.network import DeviceNetwork
from dedelayed_ros.sparse.backends.cuda.stream import DeviceStream, Given
from dedelayed_ros.sparse.backends.describe import describe
from dedelayed_ros.sparse.backends.evaluate import evaluate
from dedelayed_ros.sparse.backends.unary import Lacking
from dedelayed_ros.sparse.cache import agrees
from dedelayed_ros.sparse.ops import Input
from dedelayed_ros.sparse.plan import Node, Plan
from dedelayed_ros.sparse.stats import LayerStats, SparseStats

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_DTYPES: dict[torch.dtype, np.dtype] = {torch.float32: np.dtype(np.float32), torch.float16: np.dtype(np.float16)}


def why_not(plan: Plan, alignment: Alignment) -> str:
    """Why the CUDA kernels cannot run a plan; empty if they can, as far as that shows without describing its layers."""
    if plan.dtype not in _DTYPES:
        return f'it computes in float32 or float16, not in {plan.dtype}'
    if alignment.mode in ('paper', 'off'):
        return f"it has the alignment modes per_layer, sticky and calibrated, not '{alignment.mode}'"
    return ''


class CudaEngine:
    """Runs a plan on a CUDA device."""

    name = 'cuda'
    reason = ''

    def __init__(
        self,
        plan: Plan,
        alignment: Alignment,
        thresholds: tuple[float, ...],
        *,
        remap: bool = True,
        device: Device | None = None,
    ) -> None:
        """``device``: None for the first GPU of this machine.

        Raises Lacking, saying what keeps the kernels from running this plan, or what this machine lacks.
        """
        reason = why_not(plan, alignment)
        if reason:
            raise Lacking(reason)
        description = describe(plan, thresholds, alignment)
        network = described.read(description)
        if device is None:
            from dedelayed_ros.sparse.backends.cuda.pycuda_device import open_device

            device = open_device()
        self.plan, self.thresholds, self.remap = plan, thresholds, remap
        self.native, self.before = description.native, description.given
        self.number = {index: k for k, index in enumerate(self.native)}
        self.network = DeviceNetwork(network, _DTYPES[plan.dtype], device)
        self._macs = plan.macs

    def new_state(self) -> CudaState:
        return CudaState(self)

    @torch.no_grad()
    def step(
        self, state: CudaState, inputs: Sequence[Tensor | None], motion: MotionField | None
    ) -> tuple[list[Tensor], SparseStats]:
        start = time.perf_counter()
        if motion is not None and tuple(motion.size) != self.plan.frame:
            raise InputError(
                f'motion is given for a frame of {tuple(motion.size)}, the model runs on {self.plan.frame}: use '
                f'motion.resized({self.plan.frame})'
            )
        dense = not state.ready or motion is None
        tensors = dict(zip(self.plan.inputs, inputs, strict=True))
        vectors = _Vectors(self, state.vectors, dense)
        for index in self.before:
            vectors.run(self.plan.nodes[index], tensors)
        given: dict[int, Given] = {}
        for number, index in enumerate(self.native):
            if index in vectors.values:
                given[number] = Given(vectors.values[index][0].numpy(), int(vectors.dirty[index]))
            elif isinstance(self.plan.nodes[index].op, Input):
                tensor = tensors[index]
                given[number] = Given(None if tensor is None else tensor[0].numpy())
        counts = state.open().step(given, None if dense else self._motion(motion))
        state.ready, state.vectors, state.dirty = True, vectors.values, vectors.dirty
        values = state.values
        results = [
            r.constant if r.node is None else r.layout.to_raw(values[r.node]) if r.layout else values[r.node]
            for r in self.plan.results
        ]
        layers = tuple(self._layer(node, counts, vectors) for node in self.plan.nodes)
        return results, self._stats(layers, dense, (time.perf_counter() - start) * 1e3)

    def _motion(self, motion: MotionField | None) -> MotionField | None:
        if motion is None or self.remap:
            return motion
        return type(motion).identity(motion.size, motion.block)

    def _layer(self, node: Node, counts: np.ndarray, vectors: _Vectors) -> LayerStats:
        if node.index in vectors.dirty:
            return LayerStats(node.name, *vectors.ratios[node.index])
        computed, dirty = (int(n) / node.grid.cells for n in counts[self.number[node.index]])
        return LayerStats(node.name, dirty, computed, 0.0)  # the time of one kernel would take waiting for it

    def _stats(self, layers: tuple[LayerStats, ...], dense: bool, milliseconds: float) -> SparseStats:
        work = whole = 0.0
        # A network without multiplications counts its positions instead.
        unit = 0.0 if self._macs else 1.0
        for node, layer in zip(self.plan.nodes, layers, strict=True):
            if not isinstance(node.op, Input):
                dense_work = (node.macs or unit) * node.grid.cells
                work += layer.compute_ratio * dense_work
                whole += dense_work
        first = layers[self.plan.inputs[0]].recompute_ratio
        return SparseStats(first, work / whole if whole else first, dense, layers, milliseconds)


class CudaState:
    """Memory of one stream; it is allocated by the first step."""

    def __init__(self, engine: CudaEngine) -> None:
        self.engine = engine
        self.ready = False
        self.vectors: dict[int, Tensor] = {}
        self.dirty: dict[int, bool] = {}
        self._stream: DeviceStream | None = None

    def open(self) -> DeviceStream:
        """The stream on the device."""
        if self._stream is None:
            self._stream = DeviceStream(self.engine.network)
        return self._stream

    @property
    def bytes(self) -> int:
        """Bytes of all that is remembered, almost all of them on the device."""
        if self._stream is None:
            return 0
        return self._stream.bytes + sum(t.element_size() * t.nelement() for t in self.vectors.values())

    @property
    def values(self) -> Sequence[Tensor]:
        """Output of every node for the last frame, [1, C, h, w]; copied from the device when asked for."""
        return _Items(len(self.engine.plan.nodes), self._value) if self.ready else ()

    @property
    def sets(self) -> Sequence[Tensor]:
        """Recompute set of every node in the last frame, bool [h, w]; likewise."""
        return _Items(len(self.engine.plan.nodes), self._set) if self.ready else ()

    def _value(self, index: int) -> Tensor:
        if index in self.vectors:
            return self.vectors[index]
        return torch.from_numpy(self.open().value(self.engine.number[index])).permute(2, 0, 1)[None]

    def _set(self, index: int) -> Tensor:
        if index in self.dirty:
            return torch.tensor([[self.dirty[index]]])
        return torch.from_numpy(self.open().recompute_set(self.engine.number[index]))


class _Items(Sequence[Tensor]):
    """A tensor for each node, copied when it is asked for."""

    def __init__(self, count: int, make: Callable[[int], Tensor]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._count))]
        return self._make(range(self._count)[index])

    def __iter__(self) -> Iterator[Tensor]:
        return (self._make(i) for i in range(self._count))


class _Vectors:
    """One frame of the nodes that depend on vectors alone (the age of features): found here, as the reference does."""

    def __init__(self, engine: CudaEngine, before: dict[int, Tensor], dense: bool) -> None:
        self.engine, self.before, self.dense = engine, before, dense
        self.values: dict[int, Tensor] = {}
        self.dirty: dict[int, bool] = {}
        self.ratios: dict[int, tuple[float, float, float]] = {}  # recompute, compute, milliseconds

    def run(self, node: Node, given: dict[int, Tensor | None]) -> None:
        """The node's value, and whether it is another than in the last frame."""
        start = time.perf_counter()
        i, cached = node.index, self.before.get(node.index)
        is_input = isinstance(node.op, Input)
        asked = not is_input and (self.dense or any(self.dirty[k] for k in node.inputs))
        fresh = given[i] if is_input else cached
        if asked:
            fresh = evaluate(node, [self.values[k] for k in node.inputs])
        if fresh is None:
            shape = self.engine.plan.shapes[self.engine.plan.inputs.index(i)]
            fresh = torch.zeros(shape, dtype=self.engine.plan.dtype) if cached is None or self.dense else cached
        kept = not self.dense and cached is not None
        kept = kept and bool(agrees(fresh, cached, self.engine.thresholds[i], node.grid.size))  # type: ignore[arg-type]
        self.dirty[i] = (asked or is_input) and not kept
        self.values[i] = cached if kept and cached is not None else fresh.clone()
        self.ratios[i] = float(self.dirty[i]), float(asked), (time.perf_counter() - start) * 1e3
