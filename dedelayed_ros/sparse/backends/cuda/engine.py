"""The plan on a CUDA device: the kernels of ``kernels/cuda``, launched one after the other without a word in between.

Sets and statistics are those of the reference; values are too, bit for bit, wherever arithmetic is exact. Feature maps
stay on the device; the model's inputs are copied to it, its outputs and two numbers a layer back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.backends.common import PerNode, Vectors, check_motion, results_of, statistics
from dedelayed_ros.sparse.backends.cuda import described
from dedelayed_ros.sparse.backends.cuda.device import Device
from dedelayed_ros.sparse.backends.cuda.network import DeviceNetwork
from dedelayed_ros.sparse.backends.cuda.stream import DeviceStream, Given
from dedelayed_ros.sparse.backends.describe import describe
from dedelayed_ros.sparse.backends.unary import Lacking
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
    if alignment.mode not in ('per_layer', 'sticky', 'calibrated'):
        return f"it has the alignment modes per_layer, sticky and calibrated, not '{alignment.mode}'"
    return ''


class CudaEngine:
    """Runs a plan on a CUDA device."""

    name = 'cuda'
    reason = ''
    takes: tuple[torch.dtype, ...] = ()

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

    def new_state(self) -> CudaState:
        return CudaState(self)

    @torch.no_grad()
    def step(
        self, state: CudaState, inputs: Sequence[Tensor | None], motion: MotionField | None
    ) -> tuple[list[Tensor], SparseStats]:
        start = time.perf_counter()
        check_motion(self.plan, motion)
        dense = not state.ready or motion is None
        tensors = dict(zip(self.plan.inputs, inputs, strict=True))
        vectors = Vectors(self.plan, self.thresholds, state.vectors, dense)
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
        results = results_of(self.plan, state.values)
        layers = tuple(self._layer(node, counts, vectors) for node in self.plan.nodes)
        computed = [layer.compute_ratio for layer in layers]
        return results, statistics(self.plan, layers, computed, dense, (time.perf_counter() - start) * 1e3)

    def _motion(self, motion: MotionField | None) -> MotionField | None:
        if motion is None or self.remap:
            return motion
        return type(motion).identity(motion.size, motion.block)

    def _layer(self, node: Node, counts: np.ndarray, vectors: Vectors) -> LayerStats:
        if node.index in vectors.dirty:
            return LayerStats(node.name, *vectors.ratios[node.index])
        computed, dirty = (int(n) / node.grid.cells for n in counts[self.number[node.index]])
        return LayerStats(node.name, dirty, computed, 0.0)  # the time of one kernel would take waiting for it


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
        return PerNode(len(self.engine.plan.nodes), self._value) if self.ready else ()

    @property
    def sets(self) -> Sequence[Tensor]:
        """Recompute set of every node in the last frame, bool [h, w]; likewise."""
        return PerNode(len(self.engine.plan.nodes), self._set) if self.ready else ()

    def _value(self, index: int) -> Tensor:
        if index in self.vectors:
            return self.vectors[index]
        return torch.from_numpy(self.open().value(self.engine.number[index])).permute(2, 0, 1)[None]

    def _set(self, index: int) -> Tensor:
        if index in self.dirty:
            return torch.tensor([[self.dirty[index]]])
        return torch.from_numpy(self.open().recompute_set(self.engine.number[index]))
