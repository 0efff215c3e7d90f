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
from dedelayed_ros.sparse.backends.common import PerNode, Vectors, check_motion
from dedelayed_ros.sparse.backends.describe import Lacking, describe
from dedelayed_ros.sparse.plan import Plan
from dedelayed_ros.sparse.stats import LayerStats, SparseStats

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_DTYPES = {torch.float32: '<f4', torch.bfloat16: '<i2'}  # by the kernels' numbers; what numpy takes their memory for
_VIEWS = 64  # that are kept of maps: each is at one place, or at two in turn, until the picture moves as a whole
_GIVEN, _REPORT = 5, 6  # numbers of 64 bits that a map which is given, and what is told of a node, consist of
_POINTER = ctypes.c_void_p
_INT64 = ctypes.c_int64
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    'plan': (ctypes.c_int, [_POINTER, _INT64, _POINTER, _INT64, ctypes.c_int, ctypes.c_int, _POINTER]),
    'free_plan': (None, [_POINTER]),
    'stream': (ctypes.c_int, [_POINTER, ctypes.c_int, ctypes.c_int, ctypes.c_double, _POINTER]),
    'free_stream': (None, [_POINTER]),
    'bytes': (_INT64, [_POINTER]),
    'step': (ctypes.c_int, [*[_POINTER] * 4, *[ctypes.c_int] * 3, *[_POINTER] * 3]),
    'map': (_POINTER, [_POINTER, ctypes.c_int, *[_POINTER] * 5]),
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
    takes: tuple[torch.dtype, ...] = (torch.float32, torch.uint8)

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
        self._work_address = self._work.ctypes.data
        self._frame = self.number[plan.inputs[0]]
        # Each result's node, where its address is in the reports, its layout if it is not a map's own, and constant.
        self._results = []
        for result in plan.results:
            place = _REPORT * self.number.get(-1 if result.node is None else result.node, 0) + 5
            layout = None if result.layout is None or result.layout.is_plain else result.layout
            self._results.append((result.node, place, layout, result.constant))
        # Where the numbers of a map begin that is given, and whose it is.
        self._from_outside = [
            (_GIVEN * k, index) for k, index in enumerate(self.native) if index in self.before or index in plan.inputs
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
        outside: list[Tensor] = []  # kept until the kernels have read it
        for first, index in self._from_outside:
            item = small.values.get(index, given.get(index))
            if item is None:
                table[first] = 0
                continue
            if item.dtype not in self.takes:
                item = item.float()
            outside.append(item)
            strides = item.stride()
            table[first], table[first + 1] = item.data_ptr(), strides[-3]
            table[first + 2], table[first + 3], table[first + 4] = *strides[-2:], small.dirty.get(index, False)
        self._run(memory, motion)
        state.ready = True
        state.small, state.small_dirty = small.values, small.dirty
        reports = memoryview(bytes(memory.reports)).cast('q')
        results = []
        for node, place, layout, constant in self._results:
            value = constant
            if node is not None:
                value = state.views.get((node, reports[place]))
                value = state.value(node) if value is None else value
            results.append(value if layout is None else layout.to_raw(value))
        work = memory.done.value
        for index in self.before:
            work += small.ratios[index][1] * float(self.plan.work[index])
        recomputed = reports[_REPORT * self._frame + 1] / self._counted[self.plan.inputs[0]][1]
        all_work = self.plan.all_work
        computed = work / all_work if all_work else recomputed
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
        qpel = valid = None
        rows = cols = block = 0
        if motion is not None and self.remap:
            qpel, valid, block = motion.qpel, motion.valid, motion.block  # contiguous, as fields are
            rows, cols = valid.shape
        elif motion is not None:
            qpel, valid = np.zeros((1, 1, 2), np.int16), np.ones((1, 1), bool)
            rows = cols = 1
            block = max(self.plan.frame)
        status = self._call['step'](
            memory.handle,
            memory.table_address,
            None if qpel is None else qpel.__array_interface__['data'][0],
            None if valid is None else valid.__array_interface__['data'][0],
            rows,
            cols,
            block,
            self._work_address,
            memory.done_address,
            memory.reports_address,
        )
        native.check(status, 'dedelayed_sparse_step')

    def _layer(self, index: int, reports: memoryview, small: Vectors) -> LayerStats:
        name, (k, cells) = self.plan.nodes[index].name, self._counted[index]
        if k is None:
            return LayerStats(name, *small.ratios[index])
        computed, dirty, *nanoseconds = reports[_REPORT * k : _REPORT * k + 5].tolist()
        return LayerStats(name, dirty / cells, computed / cells, *(n / 1e6 for n in nanoseconds))


class CpuState:
    """Memory of one stream; it is allocated by the first step."""

    def __init__(self, engine: CpuEngine) -> None:
        self.engine = engine
        self.ready = False
        self.small: dict[int, Tensor] = {}
        self.small_dirty: dict[int, bool] = {}
        self._memory: _Memory | None = None
        self.views: dict[tuple[int, int], Tensor] = {}
        """Of maps that were shown, by node and address."""
        self._places: dict[int, list[_Place]] = {}

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
        """Output of every node for the last frame, [1, C, h, w]; views that the next step writes to. A picture of
        levels may be kept as such, uint8.
        """
        return PerNode(len(self.engine.plan.nodes), self.value) if self.ready else ()

    @property
    def sets(self) -> Sequence[Tensor]:
        """Recompute set of every node in the last frame, bool [h, w]; views likewise."""
        return PerNode(len(self.engine.plan.nodes), self._set) if self.ready else ()

    def value(self, index: int) -> Tensor:
        """A node's output for the last frame, likewise."""
        if index in self.small:
            return self.small[index]
        memory = self.open()
        key = index, memory.reports[_REPORT * self.engine.number[index] + 5]
        if key not in self.views:
            if len(self.views) >= _VIEWS:
                self.views.clear()
            self.views[key] = self._view(*key)
        return self.views[key]

    def _view(self, index: int, origin: int) -> Tensor:
        for place in self._places.get(index, ()):
            if place.first <= origin < place.end:
                return place.at(origin)
        place = self._place(index)
        self._places.setdefault(index, []).append(place)
        return place.at(origin)

    def _place(self, index: int) -> _Place:
        """The memory that a node's map lies in now."""
        node, dtype = self.engine.plan.nodes[index], self.engine.plan.dtype
        row, cell, values = _INT64(), _INT64(), _INT64()
        as_levels, first = ctypes.c_int(), _POINTER()
        memory = self.open()
        where = (ctypes.byref(item) for item in (row, cell, as_levels, first, values))
        self.engine._call['map'](memory.handle, self.engine.number[index], *where)
        assert first.value is not None
        kind = '|u1' if as_levels.value else _DTYPES[dtype]
        flat = torch.from_numpy(np.asarray(_Borrowed(first.value, values.value, kind, memory)))
        flat = flat if as_levels.value else flat.view(dtype)
        (h, w), channels = node.grid.size, node.channels
        count = (h - 1) * row.value + (w - 1) * cell.value + channels
        return _Place(flat, first.value, (1, channels, h, w), (count, 1, row.value, cell.value))

    def _set(self, index: int) -> Tensor:
        if index in self.small_dirty:
            return torch.tensor([[self.small_dirty[index]]])
        size = self.engine.plan.nodes[index].grid.size
        address = self.engine._call['set'](self.open().handle, self.engine.number[index])
        flat = np.asarray(_Borrowed(address, math.prod(size), '|b1', self._memory))
        return torch.from_numpy(flat).reshape(size)


class _Memory:
    """A stream of the kernels, which lives as long as its state or any view of its maps, and its tables.

    ``table``: five numbers a node, of a map that is given, whose address is 0 where none is. ``reports``: six a node,
    of the last step, and ``done`` what it computed, in the units of the plan's work.
    """

    def __init__(self, engine: CpuEngine) -> None:
        count = len(engine.native)
        self.table = (_INT64 * (_GIVEN * count))()
        self.reports = (_INT64 * (_REPORT * count))()
        self.done = ctypes.c_double()
        self.table_address, self.reports_address, self.done_address = (
            ctypes.addressof(item) for item in (self.table, self.reports, self.done)
        )
        self.handle = _POINTER()
        self._engine = engine  # whose plan it reads
        frame = engine.number[engine.plan.inputs[0]]
        status = engine._call['stream'](
            engine._handle, engine.threads, frame, engine.dense_above, ctypes.byref(self.handle)
        )
        native.check(status, 'dedelayed_sparse_stream')
        weakref.finalize(self, engine._call['free_stream'], self.handle)


class _Place:
    """Memory in which a node's map lies, and moves about as the picture does."""

    def __init__(
        self, flat: Tensor, first: int, shape: tuple[int, int, int, int], strides: tuple[int, int, int, int]
    ) -> None:
        """``flat``: all values; ``first``: their address; ``shape`` and ``strides`` of the map."""
        self.first, self.end = first, first + flat.nbytes
        self._flat, self._value, self._shape, self._strides = flat, flat.element_size(), shape, strides

    def at(self, origin: int) -> Tensor:
        """The map whose first value is at that address."""
        return self._flat.as_strided(self._shape, self._strides, (origin - self.first) // self._value)


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
