"""The plan on the CPU kernels: one native call a frame, for the front end and the whole network.

``kernels/cpu/sparse`` keeps a stream's memory as padded channels-last maps of float32 or bfloat16 and computes exactly
the positions of the recompute sets, in place and in float32; AMX multiplies bfloat16 where the processor has it. Sets
and statistics are those of the reference; values are too, bit for bit, wherever that is exact, and otherwise within its
rounding. What depends on vectors alone (the age of remote features) is computed by the reference's definition when they
change, before the call.
"""

from __future__ import annotations

import ctypes
import math
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros import native
from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.backends.common import PerNode, Vectors, check_motion, results_of
from dedelayed_ros.sparse.backends.describe import Lacking, describe
from dedelayed_ros.sparse.plan import Plan
from dedelayed_ros.sparse.stats import LayerStats, SparseStats

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_DTYPES = {torch.float32: '<f4', torch.bfloat16: '<i2'}  # by the kernels' numbers; what numpy takes their memory for
_VIEWS = 4  # of a map that are kept: it is at one place, or at two in turn, until the picture moves as a whole
_POINTER = ctypes.c_void_p
_INT64 = ctypes.c_int64
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    'plan': (ctypes.c_int, [_POINTER, _INT64, _POINTER, _INT64, ctypes.c_int, ctypes.c_int, _POINTER]),
    'free_plan': (None, [_POINTER]),
    'stream': (ctypes.c_int, [_POINTER, ctypes.c_int, ctypes.c_int, ctypes.c_double, _POINTER]),
    'free_stream': (None, [_POINTER]),
    'bytes': (_INT64, [_POINTER]),
    'step': (ctypes.c_int, [*[_POINTER] * 4, ctypes.c_int, ctypes.c_int, ctypes.c_int, _POINTER]),
    'map': (_POINTER, [_POINTER, ctypes.c_int, _POINTER, _POINTER]),
    'set': (_POINTER, [_POINTER, ctypes.c_int]),
}


def why_not(plan: Plan) -> str:
    """Why the CPU kernels cannot run a plan; empty if they can, as far as that shows without describing its layers."""
    if native.library() is None:
        return native.why_missing()
    if plan.dtype not in _DTYPES:
        return f'it computes in float32 or bfloat16, not in {plan.dtype}'
    return ''


class CpuEngine:
    """Runs a plan on the CPU kernels."""

    name = 'cpu'
    reason = ''
    takes: tuple[torch.dtype, ...] = (torch.float32,)

    def __init__(
        self,
        plan: Plan,
        alignment: Alignment,
        thresholds: tuple[float, ...],
        *,
        remap: bool = True,
        threads: int = 1,
        dense_above: float = 1.0,
        instruction_set: str | None = None,
    ) -> None:
        """``threads`` that each stream computes with; ``dense_above``: see ``compile``; ``instruction_set``: one of
        native.INSTRUCTION_SETS, None for the best that this processor has.

        Raises Lacking, saying what keeps the kernels from running this plan.
        """
        reason = why_not(plan)
        if reason:
            raise Lacking(reason)
        self.plan = plan
        self.thresholds = thresholds
        self.remap = remap
        self.threads = threads
        self.dense_above = dense_above
        self._call = _functions()
        described = describe(plan, thresholds, alignment)
        self.native, self.before = described.native, described.given
        self.number = {index: k for k, index in enumerate(self.native)}
        # Number in the reports, None for what is computed before, and positions, by node.
        self._counted = [(None if n.index in self.before else self.number[n.index], n.grid.cells) for n in plan.nodes]
        self._work = np.zeros(len(self.native))  # of a position, by number in the reports
        for index, (k, _) in enumerate(self._counted):
            if k is not None:
                self._work[k] = plan.work[index]
        self._frame = self.number[plan.inputs[0]]
        self._from_outside = [
            (k, index) for k, index in enumerate(self.native) if index in self.before or index in plan.inputs
        ]
        best = -1 if instruction_set is None else native.INSTRUCTION_SETS.index(instruction_set)
        words, reals = described.words, described.reals
        handle = _POINTER()
        status = self._call['plan'](
            words.ctypes.data,
            words.size,
            reals.ctypes.data,
            reals.size,
            list(_DTYPES).index(plan.dtype),
            best,
            ctypes.byref(handle),
        )
        native.check(status, 'dedelayed_sparse_plan')
        self._handle = handle
        weakref.finalize(self, self._call['free_plan'], handle)

    def new_state(self) -> CpuState:
        return CpuState(self)

    def step(
        self, state: CpuState, inputs: Sequence[Tensor | None], motion: MotionField | None
    ) -> tuple[list[Tensor], SparseStats]:
        # What Python does here is a good part of the time of a frame that hardly changed: as little as possible.
        start = time.perf_counter()
        check_motion(self.plan, motion)
        dense = not state.ready or motion is None
        given = dict(zip(self.plan.inputs, inputs, strict=True))
        small = self._vectors(state, given, dense)
        memory = state.open()
        table = memory.table
        outside: dict[int, Tensor] = {}  # kept until the kernels have read it
        for k, index in self._from_outside:
            item = small.values.get(index, given.get(index))
            if item is None:
                table[k] = 0
            else:
                item = outside[k] = item.float()
                table[k] = item.data_ptr(), *item.stride()[-3:], small.dirty.get(index, False)
        self._run(memory, motion)
        state.ready = True
        state.small, state.small_dirty = small.values, small.dirty
        results = results_of(self.plan, state.values)
        reports = memory.reports.copy()
        work = float(reports[:, 0] @ self._work)
        for index in self.before:
            work += small.ratios[index][1] * float(self.plan.work[index])
        recomputed = float(reports[self._frame, 1]) / self._counted[self.plan.inputs[0]][1]
        computed = work / self.plan.all_work if self.plan.all_work else recomputed
        layers = PerNode(len(self.plan.nodes), lambda index: self._layer(index, reports, small))
        return results, SparseStats(recomputed, computed, dense, layers, (time.perf_counter() - start) * 1e3)

    def _vectors(self, state: CpuState, given: dict[int, Tensor | None], dense: bool) -> Vectors:
        """What depends on vectors alone, found; those of ``given`` become the plan's format."""
        small = Vectors(self.plan, self.thresholds, state.small, dense)
        for index in self.before:
            if (item := given.get(index)) is not None:
                given[index] = item.to(self.plan.dtype)
        for index in self.before:
            small.run(self.plan.nodes[index], given)
        return small

    def _run(self, memory: _Memory, motion: MotionField | None) -> None:
        vectors = valid = None
        rows = cols = block = 0
        if motion is not None and self.remap:
            vectors, valid = np.ascontiguousarray(motion.qpel), np.ascontiguousarray(motion.valid)
            (rows, cols), block = valid.shape, motion.block
        elif motion is not None:
            vectors, valid = np.zeros((1, 1, 2), np.int16), np.ones((1, 1), bool)
            rows = cols = 1
            block = max(self.plan.frame)
        status = self._call['step'](
            memory.handle,
            memory.table_address,
            None if vectors is None else vectors.ctypes.data,
            None if valid is None else valid.ctypes.data,
            rows,
            cols,
            block,
            memory.reports_address,
        )
        native.check(status, 'dedelayed_sparse_step')

    def _layer(self, index: int, reports: np.ndarray, small: Vectors) -> LayerStats:
        name, (k, cells) = self.plan.nodes[index].name, self._counted[index]
        if k is None:
            return LayerStats(name, *small.ratios[index])
        computed, dirty, *nanoseconds = reports[k].tolist()
        return LayerStats(name, dirty / cells, computed / cells, *(n / 1e6 for n in nanoseconds))


class CpuState:
    """Memory of one stream; it is allocated by the first step."""

    def __init__(self, engine: CpuEngine) -> None:
        self.engine = engine
        self.ready = False
        self.small: dict[int, Tensor] = {}
        self.small_dirty: dict[int, bool] = {}
        self._memory: _Memory | None = None
        self._views: dict[int, dict[int, Tensor]] = {}  # by node: views of its map by where it was

    def open(self) -> _Memory:
        """The kernels' stream."""
        if self._memory is None:
            self._memory = _Memory(self.engine)
        return self._memory

    @property
    def bytes(self) -> int:
        """Bytes of all that is remembered."""
        if not self.ready:
            return 0
        small = sum(t.element_size() * t.nelement() for t in self.small.values())
        return int(self.engine._call['bytes'](self.open().handle)) + small

    @property
    def values(self) -> Sequence[Tensor]:
        """Output of every node for the last frame, [1, C, h, w]; views that the next step writes to."""
        return PerNode(len(self.engine.plan.nodes), self._value) if self.ready else ()

    @property
    def sets(self) -> Sequence[Tensor]:
        """Recompute set of every node in the last frame, bool [h, w]; views likewise."""
        return PerNode(len(self.engine.plan.nodes), self._set) if self.ready else ()

    def _value(self, index: int) -> Tensor:
        if index in self.small:
            return self.small[index]
        memory = self.open()
        address = self.engine._call['map'](
            memory.handle, self.engine.number[index], memory.row_address, memory.cell_address
        )
        views = self._views.setdefault(index, {})
        if address not in views:
            if len(views) == _VIEWS:
                views.clear()
            views[address] = self._view(index, address, memory)
        return views[address]

    def _view(self, index: int, address: int, memory: _Memory) -> Tensor:
        node, dtype = self.engine.plan.nodes[index], self.engine.plan.dtype
        (h, w), channels = node.grid.size, node.channels
        row, cell = memory.row.value, memory.cell.value
        count = (h - 1) * row + (w - 1) * cell + channels
        flat = torch.from_numpy(np.asarray(_Borrowed(address, count, _DTYPES[dtype], memory))).view(dtype)
        return flat.as_strided((1, channels, h, w), (count, 1, row, cell))

    def _set(self, index: int) -> Tensor:
        if index in self.small_dirty:
            return torch.tensor([[self.small_dirty[index]]])
        size = self.engine.plan.nodes[index].grid.size
        address = self.engine._call['set'](self.open().handle, self.engine.number[index])
        flat = np.asarray(_Borrowed(address, math.prod(size), '|b1', self._memory))
        return torch.from_numpy(flat).reshape(size)


class _Memory:
    """A stream of the kernels, which lives as long as its state or any view of its maps, and its tables.

    ``table`` int64 [nodes, 5] of the maps that are given, zeros where none is; ``reports`` int64 [nodes, 5] of a step;
    ``row`` and ``cell``: from one to the next, in values, of the map that was asked for last.
    """

    def __init__(self, engine: CpuEngine) -> None:
        self.table = np.zeros((len(engine.native), 5), np.int64)
        self.reports = np.zeros((len(engine.native), 5), np.int64)
        self.table_address, self.reports_address = self.table.ctypes.data, self.reports.ctypes.data
        self.row, self.cell = _INT64(), _INT64()
        self.row_address, self.cell_address = ctypes.addressof(self.row), ctypes.addressof(self.cell)
        self.handle = _POINTER()
        self._engine = engine  # whose plan it reads
        frame = engine.number[engine.plan.inputs[0]]
        status = engine._call['stream'](
            engine._handle, engine.threads, frame, engine.dense_above, ctypes.byref(self.handle)
        )
        native.check(status, 'dedelayed_sparse_stream')
        weakref.finalize(self, engine._call['free_stream'], self.handle)


class _Borrowed:
    """The stream's own memory for numpy, which keeps the stream."""

    def __init__(self, address: int, count: int, kind: str, owner: _Memory | None) -> None:
        """``kind``: numpy's name of the type."""
        self.owner = owner
        self.__array_interface__ = {'data': (address, False), 'shape': (count,), 'typestr': kind, 'version': 3}


def _functions() -> dict[str, Callable[..., int]]:
    library = native.library()
    assert library is not None
    found: dict[str, Callable[..., int]] = {}
    for name, (result, arguments) in _SIGNATURES.items():
        function = library[f'dedelayed_sparse_{name}']  # an object of our own, whose types nobody else sets
        function.restype, function.argtypes = result, arguments
        found[name] = function
    return found
