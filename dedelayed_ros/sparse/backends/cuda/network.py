"""A plan in device memory: tables, weights, and which kernels compute each node. Streams share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dedelayed_ros.sparse.backends.cuda import described, records
from dedelayed_ros.sparse.backends.cuda.described import Axis, Described, Network
from dedelayed_ros.sparse.backends.cuda.device import Device, Memory
from dedelayed_ros.sparse.backends.unary import Lacking

_DEPTH = 32  # rows of weights are padded to a multiple of the deepest step of kernels/cuda/tile.h
_VALUES = 2048  # kValues of kernels/cuda/ops.cu
_TILE_ROWS = 64  # kTileRows of kernels/cuda/tile.h
_WIDE = 64  # taps of a footprint from which on a warp shares them


@dataclass(frozen=True)
class Slot:
    """Where a displacement comes from, for a grid: 'still', 'exact', 'tolerant', 'carried' or 'propagated'.

    ``node`` is the first that asks for it.
    """

    source: str
    grid: int
    node: int


@dataclass(frozen=True)
class Check:
    """What decides a misaligned set: the output's slot, and (window, slot, grid) of every input; nodes share it.

    The grid is −1 for an input whose cells have no place.
    """

    slot: int
    tolerant: bool
    reaches: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Kernel:
    """How a node is computed: kernel, positions and channels that a block takes at a time, and what follows it."""

    name: str
    rows: int
    columns: int
    staged: bool


class DeviceNetwork:
    """Everything about a plan that streams share.

    dtype:    NumPy type of weights and feature maps, float32 or float16.
    slots:    displacements, ``slot_of`` by node; ``checks`` misaligned sets, ``check_of`` by node.
    kernels:  by node.
    """

    def __init__(self, network: Network, dtype: np.dtype, device: Device) -> None:
        self.network, self.dtype, self.device = network, dtype, device
        self.suffix = 'f16' if dtype == np.float16 else 'f32'
        self._kept: list[Memory] = []
        self.axes = [self._axis(axis) for axis in network.axes]
        self.slots: list[Slot] = [Slot('still', 0, -1)]
        self.slot_of: list[int] = []
        self.checks: list[Check] = []
        self.check_of: list[int] = []
        for number in range(len(network.nodes)):
            self._number(number)
        self.kernels = [self._kernel(node) for node in network.nodes]
        self.layers = np.zeros(len(network.nodes), records.LAYER)
        for number, node in enumerate(network.nodes):
            self._layer(node, self.layers[number : number + 1], self.kernels[number])

    def put(self, array: np.ndarray) -> int:
        """Address of an array in device memory, for as long as the network lives."""
        array = np.ascontiguousarray(array)
        memory = self.device.allocate(array.nbytes)
        self._kept.append(memory)
        self.device.upload(int(memory), array)
        return int(memory)

    def is_wide(self, windows: list[int]) -> bool:
        """Whether a footprint has so many taps that a warp had better share them."""
        return any(rows.taps * cols.taps > _WIDE for rows, cols in map(self.network.axes_of, windows))

    def _axis(self, axis: Axis) -> np.ndarray:
        record = np.zeros((), records.AXIS)
        for name in ('tap', 'base', 'phase', 'inside', 'tapped'):
            record[name] = self.put(getattr(axis, name))
        record['size_in'], record['size_out'] = axis.size_in, axis.size_out
        record['taps'], record['fixed'] = axis.taps, axis.fixed
        return record

    def _number(self, number: int) -> None:
        """Nodes on one grid that follow the frame share a displacement; what keeps a remainder has its own."""
        node = self.network.nodes[number]
        grid = self.network.grids[node.grid]
        leader = self._leader(number) if self.is_tolerant and node.motion == described.FRAME else None
        if node.motion == described.STILL or grid.cells == 1:
            slot = 0
        elif leader is not None:
            slot = self.slot_of[leader]
        else:
            source = 'propagated' if node.inputs else 'carried'
            if node.motion == described.FRAME:
                source = 'tolerant' if self.is_tolerant else 'exact'
            shared = [k for k, s in enumerate(self.slots) if s.source == source == 'exact' and s.grid == node.grid]
            slot = shared[0] if shared else len(self.slots)
            if not shared:
                self.slots.append(Slot(source, node.grid, number))
        self.slot_of.append(slot)
        tolerant = self.is_tolerant and node.motion == described.FRAME
        reaches = [(w, self.slot_of[i], self._place_of(i)) for w, i in zip(node.windows, node.inputs, strict=True)]
        check = Check(slot, tolerant, tuple(reaches))
        # The same footprints on another grid of the same slot (the still one) would be another set.
        shared = [k for k, c in enumerate(self.checks) if c == check and self._grid_of(k) == node.grid]
        self.check_of.append(shared[0] if shared else len(self.checks))
        if not shared:
            self.checks.append(check)

    def _leader(self, number: int) -> int | None:
        """The input whose displacement a point-wise node takes over (``Plan.leader``)."""
        node, grids = self.network.nodes[number], self.network.grids
        for window, i in zip(node.windows, node.inputs, strict=True):
            is_point = all(axis.is_point for axis in self.network.axes_of(window))
            if not is_point and grids[self.network.nodes[i].grid].cells > 1:
                return None
        inputs = ((i, self.network.nodes[i]) for i in node.inputs)
        return next((i for i, n in inputs if n.motion == described.FRAME and n.grid == node.grid), None)

    @property
    def is_tolerant(self) -> bool:
        """Whether displacements that are not exact are used."""
        return self.network.mode == described.CALIBRATED

    def _place_of(self, number: int) -> int:
        node = self.network.nodes[number]
        return node.grid if self.network.grids[node.grid].cells > 1 and node.motion != described.STILL else -1

    def _grid_of(self, check: int) -> int:
        return self.network.nodes[self.check_of.index(check)].grid

    def grid_of_check(self, check: int) -> described.Grid:
        """The grid whose positions a misaligned set is about."""
        return self.network.grids[self._grid_of(check)]

    def _kernel(self, node: Described) -> Kernel:
        if node.kind in (described.INPUT, described.GIVEN):
            return Kernel(f'take_{self.suffix}', 0, 0, False)
        if node.kind == described.CONV:
            columns = next((c for c in (16, 32) if node.channels <= c), 64)
            name, rows = f'conv{columns}', _TILE_ROWS
        else:
            columns = next((c for c in (8, 16, 32) if node.channels <= c), 64)
            rows = _VALUES // columns
            name = {
                described.TAPS: 'taps',
                described.DEPTHWISE: 'taps',
                described.POOL: 'pool',
                described.RESIZE: 'resize',
                described.MOVE: 'move',
                described.BINARY: 'binary',
            }[node.kind]
        return Kernel(f'{name}_{self.suffix}', rows, columns, node.threshold > 0 and node.channels > columns)

    def _layer(self, node: Described, layer: np.ndarray, kernel: Kernel) -> None:
        grid = self.network.grids[node.grid]
        layer['height'], layer['width'], layer['channels'] = grid.height, grid.width, node.channels
        layer['source_count'], layer['function_count'] = len(node.inputs), len(node.functions)
        layer['kernel'], layer['groups'], layer['mode'] = node.kernel, node.groups, node.mode
        layer['lanes'], layer['staged'], layer['given_is_dirty'] = kernel.columns, kernel.staged, -1
        layer['threshold'], layer['alpha'], layer['fill'] = node.threshold, node.alpha, node.fill
        if node.functions:
            functions = np.zeros(len(node.functions), records.FUNCTION)
            for record, (code, numbers) in zip(functions, node.functions, strict=True):
                record['code'] = code
                record['a'], record['b'], record['c'] = numbers
            layer['functions'] = self.put(functions)
        if node.weight is not None and node.bias is not None:
            layer['bias'] = self.put(node.bias)
            self._weight(node, layer, kernel)
        if node.factors is not None:
            layer['factors'] = [self.put(f) for f in node.factors]
        if node.picks:
            picks = [pick for operand in node.picks for pick in operand]
            if len(picks) != node.channels * len(node.picks):
                raise Lacking('operands that do not have a value for each channel')
            layer['picks'] = self.put(np.array(picks, records.PICK))

    def _weight(self, node: Described, layer: np.ndarray, kernel: Kernel) -> None:
        assert node.weight is not None
        if node.kind != described.CONV:
            layer['weight'] = self.put(node.weight.astype(self.dtype))
            return
        flat = node.weight.reshape(-1, node.channels)
        depth = -(-flat.shape[0] // _DEPTH) * _DEPTH
        pitch = -(-node.channels // kernel.columns) * kernel.columns
        padded = np.zeros((depth, pitch), self.dtype)
        padded[: flat.shape[0], : node.channels] = flat
        layer['weight'] = self.put(padded)
        layer['weight_pitch'], layer['depth'] = pitch, depth
