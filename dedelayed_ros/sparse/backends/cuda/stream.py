"""One stream's memory on a device, and the launches that bring it to the next frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros.sparse.backends.cuda import described, records
from dedelayed_ros.sparse.backends.cuda.device import THREADS, Launch, Memory
from dedelayed_ros.sparse.backends.cuda.network import DeviceNetwork
from dedelayed_ros.sparse.backends.cuda.records import NOWHERE, to_key

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_QPEL = 4  # quarter pixels a pixel
_WARPS = THREADS // 32
_BLOCKS_EACH = 8  # blocks of THREADS that one multiprocessor holds at most: 2048 threads


@dataclass
class Given:
    """What the caller has for an input: values [C, h, w], or None for nothing new; ``dirty``: a vector's verdict."""

    values: np.ndarray | None
    dirty: int = -1


@dataclass
class _Map:
    """A feature map with room before and after it, so that a displacement of the picture only moves its origin."""

    start: int  # address of the storage
    height: int
    width: int
    cell: int  # bytes
    at: int = field(init=False)  # cells from the start to the map
    middle: int = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.middle = self.room

    @property
    def room(self) -> int:
        """Cells before the map in the middle, and after it."""
        return (self.height // 4 + 1) * self.width

    @property
    def address(self) -> int:
        return self.start + self.at * self.cell


class DeviceStream:
    """Memory of one stream: maps, sets, displacements. ``step`` runs a frame; nothing waits but the last copy."""

    def __init__(self, network: DeviceNetwork) -> None:
        self.network, self.device = network, network.device
        self.bytes = 0
        self._kept: list[Memory] = []
        self._known = ''  # what keys and misaligned sets say: 'nowhere', 'still' or 'moving'
        nodes, grids = network.network.nodes, network.network.grids
        self._grid = [grids[node.grid] for node in nodes]
        self._words = [grid.height * -(-grid.width // 32) for grid in self._grid]
        self._item = network.dtype.itemsize
        self._counters = self._new(4 * (2 * len(nodes) + len(network.slots)))
        self._layers, self._sources = network.layers.copy(), np.zeros(sum(len(n.inputs) for n in nodes), records.SOURCE)
        self._slots = np.zeros(len(network.slots), records.SLOT)
        self._field = np.zeros(1, records.FIELD)
        self._field_room = 0
        self._maps: list[_Map] = []
        self._make_maps()
        self._make_slots()
        self._ranges: dict[int, int] = {}
        self._make_checks()
        self._make_cells()
        self._finish_layers()
        self._places = {name: self._new(array.nbytes) for name, array in self._records().items()}
        self._kept_rests = [k for k, slot in enumerate(network.slots) if slot.source in ('carried', 'tolerant')]
        self._rests_are_zero = True
        self._motion_launches = self._launches_of_motion()
        self._check_launches = self._launches_of_checks()
        self._launches = [self._launches_of(number) for number in range(len(nodes))]
        self._frames: dict[tuple[bool, frozenset[int]], Callable[[], None]] = {}

    def step(self, given: dict[int, Given], motion: MotionField | None) -> np.ndarray:
        """Run a frame: what is ``given`` by node, its motion (None: nothing is known). Returns [nodes, 2] counts."""
        device = self.device
        device.fill(self._counters, 0, 2 * len(self._layers) + len(self._slots))
        for number, item in given.items():
            self._take(number, item)
        still = motion is not None and bool(motion.valid.all()) and not motion.qpel.any()
        if motion is None:
            self._rests_are_zero = True
        elif not still and self._kept_rests:
            self._rests_are_zero = False
        moving = motion is not None and not (still and self._rests_are_zero)
        main = self._main_vector(motion) if moving and motion is not None else None
        astray = self._move_maps(main)
        if moving and motion is not None:
            self._put_field(motion)
        self._upload()
        if moving:
            if self._known == 'nowhere':  # what never moves has its cached value again
                device.fill(int(self._slots['key'][0]), 0, int(self._slots['width'][0]))
            self._known = 'moving'
        else:
            self._know('nowhere' if motion is None else 'still')
        self._frame(moving, frozenset(astray))()
        for k in self._kept_rests if motion is None or moving else ():
            record = self._slots[k]
            size = 2 * int(record['height']) * int(record['width'])
            if motion is None:
                device.fill(int(record['rest']), 0, size)
            device.copy(int(record['remainder']), int(record['rest']), 4 * size)
        counts = np.zeros((len(self._layers), 2), np.uint32)
        device.download(counts, self._counters)
        return counts

    def value(self, number: int) -> np.ndarray:
        """A node's map [h, w, C]."""
        grid = self._grid[number]
        value = np.empty((grid.height, grid.width, self.network.network.nodes[number].channels), self.network.dtype)
        self.device.download(value, self._maps[number].address)
        return value

    def recompute_set(self, number: int) -> np.ndarray:
        """A node's set, bool [h, w]."""
        grid = self._grid[number]
        words = np.empty((grid.height, -(-grid.width // 32)), '<u4')
        self.device.download(words, int(self._layers['dirty'][number]))
        bits = np.unpackbits(words.view(np.uint8).reshape(grid.height, -1), axis=1, bitorder='little')
        return bits[:, : grid.width].astype(bool)

    def _new(self, size: int) -> int:
        memory = self.device.allocate(size)
        self._kept.append(memory)
        self.bytes += size
        return int(memory)

    def _make_maps(self) -> None:
        for number, node in enumerate(self.network.network.nodes):
            grid, cell = self._grid[number], node.channels * self._item
            made = _Map(0, grid.height, grid.width, cell)
            made.start = self._new((2 * made.room + grid.cells) * cell)
            self._maps.append(made)
        self._list = self._new(4 * max(grid.cells for grid in self._grid))
        sizes = [m.height * m.width * m.cell for m in self._maps]
        self._scratch = self._new(max(sizes))
        staged = [size for size, kernel in zip(sizes, self.network.kernels, strict=True) if kernel.staged]
        self._fresh = self._new(max(staged)) if staged else 0

    def _make_slots(self) -> None:
        network = self.network
        first_count = 2 * len(network.network.nodes)
        for k, slot in enumerate(network.slots):
            record = self._slots[k : k + 1]
            if slot.source == 'still':
                users = [self._grid[n].cells for n, s in enumerate(network.slot_of) if s == 0]
                record['height'], record['width'] = 1, max(users, default=1)
                record['key'] = self._new(4 * max(users, default=1))
                continue
            grid = network.network.grids[slot.grid]
            record['height'], record['width'] = grid.height, grid.width
            record['num'] = [n for n, _ in grid.stride]
            record['den'] = [d for _, d in grid.stride]
            record['key'], record['strays'] = self._new(4 * grid.cells), self._new(4 * grid.cells)
            record['stray_count'] = self._counters + 4 * (first_count + k)
            if slot.source in ('carried', 'tolerant'):
                record['remainder'], record['rest'] = self._new(8 * grid.cells), self._new(8 * grid.cells)
                record['share'] = self._in_quarters(network.network.remainder, grid)
                record['spread'] = self._in_quarters(network.network.spread, grid)
            if slot.source == 'propagated':
                node = network.network.nodes[slot.node]
                rows, cols = network.network.windows[node.windows[node.carrier]]
                source = node.inputs[node.carrier]
                record['source'] = self._slots['key'][network.slot_of[source]]
                record['rows'], record['cols'] = network.axes[rows], network.axes[cols]
                ratios = self._ratios(slot.node)
                record['ratio_num'] = [r.numerator for r in ratios]
                record['ratio_den'] = [r.denominator for r in ratios]

    def _ratios(self, number: int) -> list[Fraction]:
        """Cells of a propagated node's input in cells of its own, by axis."""
        node = self.network.network.nodes[number]
        source = self._grid[node.inputs[node.carrier]]
        return [
            Fraction(a[0] * b[1], a[1] * b[0]) if a[1] and b[1] else Fraction(0)
            for a, b in zip(source.stride, self._grid[number].stride, strict=True)
        ]

    def _in_quarters(self, cells: float, grid: described.Grid) -> list[float]:
        """A part of a cell in quarter pixels, by axis."""
        return [cells * (_QPEL * (num / den)) if den else 0.0 for num, den in grid.stride]

    def _range_of(self, number: int) -> int:
        """Address of the vectors under the cells of a grid; they are found once a frame."""
        if number not in self._ranges:
            self._ranges[number] = self._new(self.network.network.grids[number].cells * records.RANGE.itemsize)
        return self._ranges[number]

    def _make_cells(self) -> None:
        self._cells = np.zeros(len(self._ranges), records.CELLS)
        for record, (number, place) in zip(self._cells, self._ranges.items(), strict=True):
            grid = self.network.network.grids[number]
            record['range'], record['height'], record['width'] = place, grid.height, grid.width
            record['num'], record['den'] = [n for n, _ in grid.stride], [d for _, d in grid.stride]

    def _make_checks(self) -> None:
        network = self.network
        self._checks = np.zeros(len(network.checks), records.CHECK)
        for k, check in enumerate(network.checks):
            grid = network.grid_of_check(k)
            record = self._checks[k : k + 1]
            record['height'], record['width'] = grid.height, grid.width
            record['bad'] = self._new(4 * grid.height * -(-grid.width // 32))
            record['key'] = self._slots['key'][check.slot]
            reaches = np.zeros(len(check.reaches), records.REACH)
            record['tolerant'] = check.tolerant
            record['placed'] = [bool(den) for _, den in grid.stride]
            record['spread'] = self._in_quarters(network.network.spread, grid)
            for reach, (window, slot, place) in zip(reaches, check.reaches, strict=True):
                rows, cols = network.network.windows[window]
                reach['rows'], reach['cols'] = network.axes[rows], network.axes[cols]
                reach['key'] = self._slots['key'][slot]
                reach['range'] = self._range_of(place) if check.tolerant and place >= 0 else 0
            record['reach_count'] = len(reaches)
            if len(reaches):
                place = self._new(reaches.nbytes)
                self.device.upload(place, reaches)
                record['reaches'] = place

    def _finish_layers(self) -> None:
        network, layers = self.network, self._layers
        sources = self._new(self._sources.nbytes) if len(self._sources) else 0
        self._source_place = sources
        first = 0
        for number, node in enumerate(network.network.nodes):
            layer = layers[number : number + 1]
            layer['dirty'] = self._new(4 * self._words[number])
            if network.network.mode == described.STICKY:
                layer['flags'] = self._new(4 * self._words[number])
            slot = network.slot_of[number]
            layer['key'], layer['bad'] = self._slots['key'][slot], self._checks['bad'][network.check_of[number]]
            layer['strays'], layer['stray_count'] = self._slots['strays'][slot], self._slots['stray_count'][slot]
            layer['sources'] = sources + first * records.SOURCE.itemsize
            layer['list'], layer['count'] = self._list, self._counters + 8 * number
            layer['fresh'], layer['scratch'] = self._fresh, self._scratch
            # A node that takes over another's displacement leaves what remains of it to that one.
            layer['remainder'] = self._slots['rest'][slot] if network.slots[slot].node == number else 0
            for i, window in zip(node.inputs, node.windows, strict=True):
                source = self._sources[first : first + 1]
                rows, cols = network.network.windows[window]
                source['rows'], source['cols'] = network.axes[rows], network.axes[cols]
                source['dirty'], source['flags'] = layers['dirty'][i], layers['flags'][i]
                grid = self._grid[i]
                source['height'], source['width'] = grid.height, grid.width
                source['channels'] = network.network.nodes[i].channels
                first += 1
        self._input_of_source = [i for node in network.network.nodes for i in node.inputs]
        self._given_place = {
            number: self._new(self._grid[number].cells * node.channels * self._item)
            for number, node in enumerate(network.network.nodes)
            if not node.inputs
        }

    def _records(self) -> dict[str, np.ndarray]:
        found = {'layers': self._layers, 'slots': self._slots, 'checks': self._checks, 'field': self._field}
        return {**found, 'cells': self._cells} if len(self._cells) else found

    def _take(self, number: int, given: Given) -> None:
        layer = self._layers[number : number + 1]
        layer['given_is_dirty'] = given.dirty
        layer['given'] = 0
        if given.values is not None:
            place = self._given_place[number]
            self.device.upload(place, np.ascontiguousarray(given.values, self.network.dtype))
            layer['given'] = place

    def _main_vector(self, motion: MotionField) -> tuple[int, int, bool]:
        """The vector (rows, columns) that most valid blocks have, quarter pixels, and whether all have it."""
        vectors = motion.qpel[motion.valid]
        if not len(vectors):
            return 0, 0, True
        joined, counts = np.unique(np.ascontiguousarray(vectors).view(np.int32)[:, 0], return_counts=True)
        x, y = joined[counts.argmax()].reshape(1).view(np.int16)
        return int(y), int(x), len(joined) == 1

    def _main_cells(self, slot: int, vector: tuple[int, int]) -> tuple[int, int]:
        """Whole cells by which most of a slot's positions move, as far as that can be told here; (0, 0) else.

        It decides what is copied, and nothing else.
        """
        kind = self.network.slots[slot]
        if kind.source == 'propagated':
            node = self.network.network.nodes[kind.node]
            before = self._main_cells(self.network.slot_of[node.inputs[node.carrier]], vector)
            moved = [b * r for b, r in zip(before, self._ratios(kind.node), strict=True)]
        elif kind.source == 'still':
            return 0, 0
        else:
            stride = self.network.network.grids[kind.grid].stride
            moved = [Fraction(v * d, _QPEL * n) if d else Fraction(0) for v, (n, d) in zip(vector, stride, strict=True)]
            if kind.source in ('carried', 'tolerant'):
                moved = [Fraction(round(m)) for m in moved]
        whole = all(m.denominator == 1 for m in moved)
        return (int(moved[0]), int(moved[1])) if whole else (0, 0)

    def _move_maps(self, main: tuple[int, int, bool] | None) -> set[int]:
        """Move the maps' origins as most of the picture moves. Returns the slots of which some positions do not."""
        astray = set()
        cells = [self._main_cells(k, main[:2]) if main else (0, 0) for k in range(len(self.network.slots))]
        for k, slot in enumerate(self.network.slots):
            grid = self.network.network.grids[slot.grid]
            if abs(cells[k][0]) > grid.height // 4 or abs(cells[k][1]) > grid.width:
                cells[k] = 0, 0
                astray.add(k)
            if main and not (main[2] and slot.source == 'exact') and slot.source != 'still':
                astray.add(k)
            self._slots['main'][k] = to_key(*cells[k])
        for number, made in enumerate(self._maps):
            rows, cols = cells[self.network.slot_of[number]]
            shift = rows * made.width + cols
            if not 0 <= made.at - shift <= 2 * made.room:
                self._back_to_middle(made)
            made.at -= shift
            self._layers['shift'][number] = shift
            self._layers['origin'][number] = made.address
        if len(self._sources):
            self._sources['origin'] = self._layers['origin'][self._input_of_source]
        return astray

    def _back_to_middle(self, made: _Map) -> None:
        size = made.height * made.width * made.cell
        self.device.copy(self._scratch, made.address, size)
        made.at = made.middle
        self.device.copy(made.address, self._scratch, size)

    def _put_field(self, motion: MotionField) -> None:
        rows, cols = motion.valid.shape
        if rows * cols > self._field_room:
            self._field_room = rows * cols
            self._field['vectors'], self._field['valid'] = self._new(4 * rows * cols), self._new(rows * cols)
        self._field['rows'], self._field['cols'], self._field['block'] = rows, cols, motion.block
        self._field['frame_height'], self._field['frame_width'] = self.network.network.frame
        self.device.upload(int(self._field['vectors'][0]), np.ascontiguousarray(motion.qpel))
        self.device.upload(int(self._field['valid'][0]), np.ascontiguousarray(motion.valid.astype(np.uint8)))

    def _upload(self) -> None:
        for name, array in self._records().items():
            self.device.upload(self._places[name], array)
        if len(self._sources):
            self.device.upload(self._source_place, self._sources)

    def _know(self, what: str) -> None:
        """Let keys and misaligned sets say that nothing has a cached value, or that nothing moved."""
        if self._known == what:
            return
        for record in self._slots:
            self.device.fill(
                int(record['key']), NOWHERE if what == 'nowhere' else 0, record['height'] * record['width']
            )
        for k, record in enumerate(self._checks):
            grid = self.network.grid_of_check(k)
            words = grid.height * -(-grid.width // 32)
            self.device.fill(int(record['bad']), -1 if what == 'nowhere' else 0, words)
        self._known = what

    def _frame(self, moving: bool, astray: frozenset[int]) -> Callable[[], None]:
        """All launches of a frame. They depend on whether anything moves, and on the slots with positions astray."""
        if (moving, astray) not in self._frames:
            launches = self._motion_launches + self._check_launches if moving else []
            for number, (strays, work) in enumerate(self._launches):
                launches = launches + (strays if self.network.slot_of[number] in astray else []) + work
            self._frames[moving, astray] = self.device.prepare(launches)
        return self._frames[moving, astray]

    def _blocks(self, work: int, per_block: int, across: int = 1) -> tuple[int, int]:
        """Grid of a kernel that takes ``per_block`` of ``work`` at a time: as many blocks as can run, or are needed."""
        most = max(1, self.device.multiprocessors * _BLOCKS_EACH // across)
        return min(most, max(1, math.ceil(work / per_block))), across

    def _arguments(self, name: str, number: int) -> tuple[np.generic, ...]:
        return np.uint64(self._places[name]), np.int32(number)

    def _launches_of_motion(self) -> list[Launch]:
        launches: list[Launch] = []
        for k, slot in enumerate(self.network.slots):
            if slot.source == 'still':
                continue
            cells = self.network.network.grids[slot.grid].cells
            blocks, slots = self._blocks(cells, THREADS), self._arguments('slots', k)
            fields = () if slot.source == 'propagated' else (np.uint64(self._places['field']),)
            launches.append((slot.source, blocks, (*fields, *slots)))
            launches.append(('strays', blocks, slots))
        return launches

    def _launches_of_checks(self) -> list[Launch]:
        launches: list[Launch] = []
        for k, record in enumerate(self._cells):
            blocks = self._blocks(int(record['height'] * record['width']), THREADS)
            launches.append(('ranges', blocks, (np.uint64(self._places['field']), *self._arguments('cells', k))))
        for k, check in enumerate(self.network.checks):
            grid = self.network.grid_of_check(k)
            words = grid.height * -(-grid.width // 32)
            wide = '_wide' if self.network.is_wide([window for window, _, _ in check.reaches]) else ''
            launches.append((f'misaligned{wide}', self._blocks(words, _WARPS), self._arguments('checks', k)))
        return launches

    def _launches_of(self, number: int) -> tuple[list[Launch], list[Launch]]:
        """Of a node: what brings strays to their places, and what computes it."""
        network = self.network
        node, kernel, cells = network.network.nodes[number], network.kernels[number], self._grid[number].cells
        layers = self._arguments('layers', number)
        by_warp = self._blocks(cells, _WARPS)
        strays: list[Launch] = [(f'{name}_{network.suffix}', by_warp, layers) for name in ('gather', 'scatter')]
        by_word = self._blocks(self._words[number], _WARPS)
        if node.kind in (described.INPUT, described.GIVEN):
            return strays, [(kernel.name, by_word, layers)]
        wide = '_wide' if network.is_wide(node.windows) else ''
        work: list[Launch] = [(f'candidates{wide}', by_word, layers)]
        work.append((kernel.name, self._blocks(cells, kernel.rows, math.ceil(node.channels / kernel.columns)), layers))
        if kernel.staged:
            work.append((f'commit_{network.suffix}', by_warp, layers))
        return strays, work
