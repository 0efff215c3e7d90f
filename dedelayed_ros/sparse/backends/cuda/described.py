"""The description of a plan (``backends/describe.py``), read back into records that the CUDA engine lays out.

It is read in the order in which ``kernels/cpu/sparse/plan.cpp`` reads it, so that both native backends start from one
description.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dedelayed_ros.sparse.backends.describe import Description
from dedelayed_ros.sparse.backends.unary import Lacking

INPUT, GIVEN, CONV, TAPS, DEPTHWISE, POOL, RESIZE, MOVE, BINARY, LEVELS = range(10)
STILL, FRAME, CARRIED = range(3)
PER_LAYER, STICKY, PAPER, CALIBRATED, OFF = range(5)


@dataclass(frozen=True, eq=False)
class Axis:
    """Tables of one axis; see ``geometry.AxisMap``. A tap that reads nothing is ``size_in``."""

    size_in: int
    size_out: int
    fixed: bool  # no output is computed as any other one is
    tap: np.ndarray  # int32 [out, taps]
    inside: np.ndarray  # uint8 [out]
    tapped: np.ndarray  # uint8 [out]
    base: np.ndarray  # int32 [out]
    phase: np.ndarray  # int32 [out]

    @property
    def taps(self) -> int:
        return int(self.tap.shape[1])

    @property
    def is_point(self) -> bool:
        """Whether each output reads its own input."""
        return self.taps == 1 and self.size_in == self.size_out and bool((self.tap[:, 0] == range(self.size_in)).all())


@dataclass(frozen=True)
class Grid:
    """Positions of a feature map; ``stride`` as (numerator, denominator) by axis, (0, 0) on one without positions."""

    height: int
    width: int
    stride: tuple[tuple[int, int], tuple[int, int]]

    @property
    def cells(self) -> int:
        return self.height * self.width


@dataclass
class Described:
    """One node; what of it means anything depends on ``kind``."""

    kind: int
    motion: int
    grid: int
    channels: int
    threshold: float
    inputs: list[int]
    windows: list[int]
    carrier: int
    functions: list[tuple[int, np.ndarray]]
    kernel: tuple[int, int] = (1, 1)
    groups: int = 1
    weight: np.ndarray | None = None  # float32 [taps, inputs of a group, channels]
    bias: np.ndarray | None = None  # float32 [channels]
    mode: int = 0
    factors: tuple[np.ndarray, np.ndarray] | None = None
    alpha: float = 1.0
    fill: float = 0.0
    picks: list[list[tuple[int, int, float]]] = field(default_factory=list)  # [operands][channels]


@dataclass
class Network:
    """A whole plan: what does not change from frame to frame."""

    frame: tuple[int, int]
    mode: int  # PER_LAYER, STICKY, …
    remainder: float  # CALIBRATED: tolerances, in cells
    spread: float
    axes: list[Axis]
    windows: list[tuple[int, int]]
    grids: list[Grid]
    nodes: list[Described]

    def axes_of(self, window: int) -> tuple[Axis, Axis]:
        """Rows and columns of a footprint."""
        rows, cols = self.windows[window]
        return self.axes[rows], self.axes[cols]


class _Reader:
    def __init__(self, description: Description) -> None:
        self.words, self.reals = description.words, description.reals
        self.word = self.real = 0

    def number(self) -> int:
        return int(self.numbers(1)[0])

    def numbers(self, count: int) -> np.ndarray:
        self.word += count
        return self.words[self.word - count : self.word]

    def floats(self, count: int) -> np.ndarray:
        self.real += count
        return self.reals[self.real - count : self.real]


def read(description: Description) -> Network:
    """Read a description. Raises Lacking for a kind of operation that is not known here."""
    r = _Reader(description)
    frame = r.number(), r.number()
    mode = r.number()
    r.numbers(2)  # of the compacted check, which is not here
    remainder, spread = r.numbers(2).view(np.float64)
    r.numbers(r.number())  # which nodes are results: all maps are in the plan's number format here
    axes = [_axis(r) for _ in range(r.number())]
    windows = [(r.number(), r.number()) for _ in range(r.number())]
    grids = [_grid(r) for _ in range(r.number())]
    network = Network(frame, mode, float(remainder), float(spread), axes, windows, grids, [])
    for _ in range(r.number()):
        network.nodes.append(_node(r, network))
    if r.word != len(r.words) or r.real != len(r.reals):
        raise Lacking(
            f'a description of {len(r.words)} and {len(r.reals)} numbers, of which it reads {r.word} and {r.real}'
        )
    return network


def _axis(r: _Reader) -> Axis:
    size_in, size_out, taps, fixed = (int(n) for n in r.numbers(4))
    tap = r.numbers(size_out * taps).astype(np.int32).reshape(size_out, taps)
    inside, tapped = (r.numbers(size_out).astype(np.uint8) for _ in range(2))
    base, phase = (r.numbers(size_out).astype(np.int32) for _ in range(2))
    return Axis(size_in, size_out, bool(fixed), tap, inside, tapped, base, phase)


def _grid(r: _Reader) -> Grid:
    height, width, *strides = (int(n) for n in r.numbers(6))
    return Grid(height, width, ((strides[0], strides[1]), (strides[2], strides[3])))


def _node(r: _Reader, network: Network) -> Described:
    kind, motion, grid, channels = (int(n) for n in r.numbers(4))
    kind = INPUT if kind == LEVELS else kind  # a picture comes to this backend as the 255th parts of its levels
    threshold = float(r.floats(1)[0])
    count = r.number()
    inputs, windows = ([int(n) for n in r.numbers(count)] for _ in range(2))
    carrier = r.number()
    r.numbers(r.number())  # inputs at which the compacted check is merged
    functions = [(r.number(), r.floats(3)) for _ in range(r.number())]
    node = Described(kind, motion, grid, channels, threshold, inputs, windows, carrier, functions)
    if kind in (CONV, TAPS, DEPTHWISE):
        _convolution(r, node, network.nodes[inputs[0]].channels)
    elif kind == POOL:
        node.mode = r.number()
        size = network.grids[grid]
        node.factors = r.floats(size.height), r.floats(size.width)
    elif kind == RESIZE:
        rows, cols = network.axes_of(windows[0])
        node.factors = r.floats(rows.tap.size), r.floats(cols.tap.size)
    elif kind == MOVE:
        node.fill = float(r.floats(1)[0])
        node.picks = [[(-1, 0, 0.0)] * channels]
        for _ in range(r.number()):
            first, part = _part(r)
            node.picks[0][first : first + len(part)] = part
    elif kind == BINARY:
        node.mode = r.number()
        node.alpha = float(r.floats(1)[0])
        node.picks = [_part(r)[1] for _ in range(r.number())]
    elif kind not in (INPUT, GIVEN):
        raise Lacking(f'operation {kind} of a description')
    return node


def _convolution(r: _Reader, node: Described, inputs: int) -> None:
    numbers = [int(n) for n in r.numbers(9)]
    node.kernel, node.groups = (numbers[0], numbers[1]), numbers[8]
    taps, depth = numbers[0] * numbers[1], inputs // node.groups
    node.weight = r.floats(taps * depth * node.channels).reshape(taps, depth, node.channels)
    node.bias = r.floats(node.channels)


def _part(r: _Reader) -> tuple[int, list[tuple[int, int, float]]]:
    """First output channel, and for each one from there on: input (−1: a constant), its channel, the constant."""
    number, first, count = (int(n) for n in r.numbers(3))
    if number < 0:
        return first, [(-1, 0, float(x)) for x in r.floats(count)]
    return first, [(number, int(channel), 0.0) for channel in r.numbers(count)]
