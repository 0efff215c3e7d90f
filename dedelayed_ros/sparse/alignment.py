"""Which cached values may stand for computed ones: the receptive field alignment of FluxShard (sections IV-B, IV-C).

A cached output at p − d is what the layer would compute at p if each of its inputs is the cached input at the same
place in the footprint. That is a matter of motion alone, and this module decides it: ``misaligned`` is the set of
positions where motion says nothing, whatever the content. Content is compared in the engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.geometry import AxisMap, Grid, Window, sliding
from dedelayed_ros.sparse.motion import QPEL, CellMotion, Displacement, FrameMotion
from dedelayed_ros.sparse.plan import Node, Plan

Mode = Literal['per_layer', 'sticky', 'paper', 'calibrated', 'off', 'tiles']
MODES: tuple[Mode, ...] = ('per_layer', 'sticky', 'paper', 'calibrated', 'off', 'tiles')
UNIT = 8  # frame pixels a side of the squares that 'tiles' keeps account of


@dataclass(frozen=True)
class Alignment:
    """How reuse is checked against motion.

    mode:      'per_layer' and 'sticky' are exact where no threshold is set; 'calibrated' is 'per_layer' with the two
               tolerances below; 'paper' is the compacted check of section IV-C; 'off' checks nothing. 'tiles' decides
               once a frame which tiles every layer computes, and interpolates caches elsewhere (backends/tiled.py).
    remainder: 'calibrated': the largest part of a cell, 0 to 0.5, by which a displacement may differ from whole cells
               of a layer's grid. It is kept, and added to the next frame's motion.
    spread:    'calibrated': how much vectors may differ within a footprint, in cells of the layer's grid.
    r_max:     'paper': side of the neighbourhood (frame pixels) that has to share one vector. None: the largest
               receptive field of the model's convolutions and pools (Global operations left out).
    s_max:     'paper': frame pixels that a vector has to be divisible by. None: the largest cumulative stride.
    tile:      'tiles': side of a tile in frame pixels, a multiple of 8.
    margin:    'tiles', of a model whose first output is a map of logits: what differs counts half where the first class
               leads by so much, in logits, and at least a quarter (see ``backends/doubt.py``). 0: fully everywhere.
    """

    mode: Mode = 'per_layer'
    remainder: float = 0.0
    spread: float = 0.0
    r_max: int | None = None
    s_max: int | None = None
    tile: int = 32
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f'alignment {self.mode!r}: expected one of {", ".join(MODES)}')
        if not 0 <= self.remainder <= 0.5:
            raise InputError(f'alignment remainder {self.remainder}: expected 0 to 0.5 cells')
        if self.spread < 0:
            raise InputError(f'alignment spread {self.spread}: expected 0 cells or more')
        if self.mode != 'calibrated' and (self.remainder or self.spread):
            raise InputError(f"alignment tolerances are for mode 'calibrated', not {self.mode!r}")
        if (self.r_max is not None and self.r_max < 1) or (self.s_max is not None and self.s_max < 1):
            raise InputError('alignment r_max and s_max: expected 1 pixel or more')
        if self.tile < UNIT or self.tile % UNIT:
            raise InputError(f'alignment tile {self.tile}: expected a multiple of {UNIT} pixels')
        if not 0 <= self.margin < math.inf:
            raise InputError(f'alignment margin {self.margin}: expected 0 logits or more')
        if self.margin and self.mode != 'tiles':
            raise InputError(f"an alignment margin is for mode 'tiles', not {self.mode!r}")

    @property
    def tolerant(self) -> bool:
        """Whether displacements that are not exact may be used."""
        return self.remainder > 0 or self.spread > 0

    def settled(self, plan: Plan) -> Alignment:
        """The same with r_max and s_max filled in for a plan."""
        field, stride = receptive_field(plan)
        return replace(self, r_max=self.r_max or field, s_max=self.s_max or stride)


def parse(alignment: str | Alignment) -> Alignment:
    """An Alignment, or the one whose mode is named."""
    return alignment if isinstance(alignment, Alignment) else Alignment(alignment)  # type: ignore[arg-type]


def misaligned(node: Node, out: Displacement, inputs: list[Displacement]) -> Tensor:  # bool [h, w]
    """Positions whose cached value motion does not vouch for.

    Output p, with displacement d, is aligned if (1) all inputs that it reads have one displacement e, and their
    sources exist; (2) moving p by d moves what it reads by e, with the same weights; (3) along an axis on which it
    moves, neither p nor its source reads padding. Along an axis where d is zero, (3) does not matter and (2) is e = 0.
    """
    bad = ~out.valid
    if out.still and all(d.still for d in inputs):
        return bad
    for window, source in zip(node.windows, inputs, strict=True):
        bad = bad | _unlike(window, out, source)
    return bad


def _unlike(window: Window, out: Displacement, source: Displacement) -> Tensor:
    tapped = window.tapped
    low, high = window.lowest(source.cells), window.highest(source.cells)
    bad = tapped & (window.dilate(~source.valid) | (low != high).any(0))
    for axis, table in enumerate(window.axes):
        bad = bad | ~_moves(table, axis, out.cells[axis], low[axis], tapped)
    return bad


def _moves(table: AxisMap, axis: int, cells: Tensor, expected: Tensor, tapped: Tensor) -> Tensor:  # bool [h, w]
    """Whether the taps of each position lie ``expected`` inputs beyond those of the position ``cells`` before it."""
    here, there = _here_and_there(table, axis, cells)
    step = table.base[here] - table.base[there]
    moved = table.inside[here] & table.inside[there] & (table.phase[here] == table.phase[there])
    moved = moved & (~tapped | (step == expected))
    return torch.where(cells == 0, ~tapped | (expected == 0), moved)


def _here_and_there(table: AxisMap, axis: int, cells: Tensor) -> tuple[Tensor, Tensor]:
    n = table.size_out
    here = torch.arange(n)[:, None] if axis == 0 else torch.arange(n)[None, :]
    here = here.expand(cells.shape)
    return here, (here - cells).clamp(0, n - 1)


def misaligned_within(
    node: Node, out: Displacement, inputs: list[Displacement], motions: list[CellMotion | None], spread: float
) -> Tensor:  # bool [h, w]
    """The same with tolerance, for displacements that are rounded already.

    motions: vectors under the cells of each input, None for one without positions. ``spread``: how much they may
    differ within a footprint, in cells of the node's grid. Conditions (1) and (3) are as in ``misaligned``; in (2) a
    tap may be off by the one cell that rounding explains.
    """
    bad = ~out.valid
    for window, source, motion in zip(node.windows, inputs, motions, strict=True):
        tapped = window.tapped
        bad = bad | (tapped & window.dilate(~source.valid))
        low, high = window.lowest(source.cells), window.highest(source.cells)
        for axis, table in enumerate(window.axes):
            cells, stride = out.cells[axis], node.grid.stride[axis]
            here, there = _here_and_there(table, axis, cells)
            step = table.base[here] - table.base[there]
            off = torch.maximum((step - low[axis]).abs(), (step - high[axis]).abs())
            # Where everything is reduced to one cell there is no displacement to be nearly right with.
            bad = bad | (tapped & (off > (0 if stride is None else 1)))
            unlike = ~(table.inside[here] & table.inside[there])
            bad = bad | ((cells != 0) & (unlike | torch.tensor(table.fixed)))
            if stride is not None and motion is not None:
                least, most = window.lowest(motion.low)[axis], window.highest(motion.high)[axis]
                bad = bad | (tapped & (most - least > spread * QPEL * float(stride)))
    return bad


def compacted(motion: FrameMotion, grid: Grid, alignment: Alignment) -> Tensor:  # bool [H, W]
    """FluxShard's check at the input: vectors uniform within r_max, and divisible by s_max (Eqs. 9 and 10).

    Neighbourhoods that reach out of the frame along an axis on which content moves are flagged too.
    """
    assert alignment.r_max is not None and alignment.s_max is not None
    if motion.still:
        return torch.zeros(grid.size, dtype=torch.bool)
    cells = motion.on(grid)
    before = (alignment.r_max - 1) // 2
    axes = [sliding(n, n, alignment.r_max, 1, 1, before) for n in grid.size]
    around = Window(axes[0], axes[1])
    bad = around.dilate(~cells.valid)
    bad = bad | (around.lowest(cells.low) != around.highest(cells.high)).any(0)
    for axis in (0, 1):
        bad = bad | (cells.low[axis] % (QPEL * alignment.s_max) != 0)
        here, there = _here_and_there(axes[axis], axis, in_pixels(cells.low[axis]))
        bad = bad | ((cells.low[axis] != 0) & ~(axes[axis].inside[here] & axes[axis].inside[there]))
    return bad


def in_pixels(quarter: Tensor) -> Tensor:
    """Whole pixels of a vector (it is used only where there is no remainder)."""
    return torch.div(quarter, QPEL, rounding_mode='trunc')


def receptive_field(plan: Plan) -> tuple[int, int]:
    """Largest receptive field and largest cumulative stride of a plan, in frame pixels; Global operations left out."""
    fields: dict[int, Fraction] = {}
    largest, widest = Fraction(1), Fraction(1)
    for node in plan.nodes:
        field = max((fields[i] for i in node.inputs), default=Fraction(1))
        if all(stride is not None for stride in node.grid.stride):
            widest = max(widest, *(s for s in node.grid.stride if s is not None))
            for window, i in zip(node.windows, node.inputs, strict=True):
                stride = plan.nodes[i].grid.stride
                if any(s is None for s in stride):
                    continue
                for axis, table in enumerate(window.axes):
                    reach = table.taps.amax(1) - table.base
                    reach = reach[table.inside & table.tapped]
                    step = stride[axis]
                    assert step is not None
                    field = max(field, fields[i] + int(reach.max() if len(reach) else 0) * step)
        else:
            field = Fraction(1)
        fields[node.index] = field
        largest = max(largest, field)
    return int(-(-largest // 1)), int(-(-widest // 1))


def first_footprints(plan: Plan) -> dict[int, frozenset[int]]:
    """Nodes with a footprint over one position of which an input still is the frame, pixel by pixel.

    For each, the numbers of these inputs: where section IV-C merges its flags.
    """
    frame = plan.nodes[plan.inputs[0]].grid
    shallow: set[int] = set()
    entries: dict[int, frozenset[int]] = {}
    for node in plan.nodes:
        near = frozenset(k for k, i in enumerate(node.inputs) if i in shallow)
        if node.index == plan.inputs[0] or (near and node.is_point and node.grid == frame):
            shallow.add(node.index)
        elif near:
            entries[node.index] = near
    return entries
