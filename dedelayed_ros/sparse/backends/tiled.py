"""The alignment mode 'tiles': one decision a frame for the whole network, and caches that are interpolated.

The frame is compared with the last one, interpolated at where the codec's vectors point. What they leave unexplained is
summed up over frames in units of 8x8 pixels, and the sums move along with their content. A tile of which any unit has
more than the threshold is computed by every layer: at the positions over it, and not where its neighbours read it, so
that the work is the share of such tiles whatever the depth of the network. Elsewhere each layer keeps its last value,
interpolated between four cells by the same vectors; what has no source is computed where it is. Inputs are always those
of the frame, so nothing that was put up with outlives the next time that its tile is computed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros.sparse.alignment import UNIT, Alignment
from dedelayed_ros.sparse.backends.common import Vectors, results_of, statistics
from dedelayed_ros.sparse.backends.describe import of_vectors
from dedelayed_ros.sparse.backends.doubt import doubt_of, logits_of
from dedelayed_ros.sparse.backends.evaluate import evaluate
from dedelayed_ros.sparse.backends.roles import tile_roles
from dedelayed_ros.sparse.cache import State
from dedelayed_ros.sparse.geometry import Grid
from dedelayed_ros.sparse.motion import FrameMotion, pixels_under
from dedelayed_ros.sparse.ops import Input
from dedelayed_ros.sparse.plan import Node, Plan
from dedelayed_ros.sparse.stats import LayerStats, SparseStats


class TiledReference:
    """The specification of the mode, in torch. Thresholds of the map inputs, in their units, are what may add up."""

    def __init__(self, plan: Plan, alignment: Alignment, thresholds: Sequence[float]) -> None:
        self.plan, self.tile, self.thresholds = plan, alignment.tile, thresholds
        self.margin, self.logits = alignment.margin, logits_of(plan, alignment)
        self.vectors = of_vectors(plan)
        self.roles = tile_roles(plan, alignment)
        readers = (node for node in plan.nodes if node.index not in self.vectors)
        self.read = {i for node in readers for i in node.inputs if i in self.vectors}

    def step(
        self,
        state: State,
        given: Mapping[int, Tensor | None],
        motion: FrameMotion,
        dense: bool,
        levels: Tensor | None = None,
    ) -> tuple[list[Tensor], SparseStats]:
        """One frame; ``given`` by node, ``levels`` uint8 where the picture came as such."""
        start = time.perf_counter()
        size = self.plan.frame
        known = state.debts is not None and not dense
        debts = moved(state.debts, motion, size) if state.debts is not None and known else _units(size)
        doubts = moved(state.doubts, motion, size, 1.0) if state.doubts is not None and known else None
        values: list[Tensor] = [torch.empty(0)] * len(self.plan.nodes)
        held = {} if dense else {i: state.values[i] for i in self.vectors}
        vectors = Vectors(self.plan, self.thresholds, held, dense)
        for node in self.plan.nodes:
            if node.index in self.vectors:
                vectors.run(node, given)
                values[node.index] = vectors.values[node.index]
            elif isinstance(node.op, Input):
                values[node.index], owing = self._take(node, given[node.index], state, motion, dense)
                if levels is not None and not dense and node.index == self.plan.inputs[0]:
                    owing = self._owed_levels(node, levels, state, motion)
                debts = debts + (owing if doubts is None else doubts * owing)
        changed = dense or any(vectors.dirty[i] for i in self.read)
        tiles = torch.ones(*(-(-n // self.tile) for n in size), dtype=torch.bool) if changed else self._due(debts)
        due = _over_units(tiles, self.tile, debts)
        debts = torch.where(due, 0, debts)
        asked = self._asked(tiles, motion, dense, changed)
        sets, layers = [], []
        for node in self.plan.nodes:
            begun = time.perf_counter()
            if node.index in self.vectors:
                sets.append(torch.tensor([[vectors.dirty[node.index]]]))
                layers.append(LayerStats(node.name, *vectors.ratios[node.index]))
                continue
            here = asked[node.index]
            if not isinstance(node.op, Input):
                fresh = evaluate(node, [values[i] for i in node.inputs])
                if not self.roles[node.index].where_read and not bool(here.all()):
                    kept = interpolated(state.values[node.index], *placed(node.grid, motion)[:2]).to(fresh.dtype)
                    fresh = kept if node.grid.cells == 1 else torch.where(here, fresh, kept)
                values[node.index] = fresh
            sets.append(here)
            ratio = float(here.float().mean())
            executed = 0.0 if isinstance(node.op, Input) else ratio
            layers.append(LayerStats(node.name, ratio, executed, (time.perf_counter() - begun) * 1e3))
        state.values, state.sets, state.debts, state.picture = values, sets, debts, levels
        if self.logits is not None:
            doubt = doubt_of(values[self.logits], self.plan.nodes[self.logits].grid, self.margin, size)
            state.doubts = doubt if doubts is None else torch.where(due, doubt, doubts)
        elapsed = (time.perf_counter() - start) * 1e3
        computed = [layer.compute_ratio for layer in layers]
        return results_of(self.plan, values), statistics(self.plan, layers, computed, dense, elapsed)

    def _asked(
        self, tiles: Tensor, motion: FrameMotion, dense: bool, everything: bool
    ) -> list[Tensor]:  # bool [h, w] each
        """What is computed of each node: cells over tiles and cells without a source, or what is read of it."""
        asked = [on_grid(tiles, self.tile, node.grid, self.plan.frame) for node in self.plan.nodes]
        if not dense:
            asked = [a | ~placed(node.grid, motion)[2] for a, node in zip(asked, self.plan.nodes, strict=True)]
        read = [torch.zeros_like(a) for a in asked]
        for node in reversed(self.plan.nodes):
            role = self.roles[node.index]
            if role.where_read and not isinstance(node.op, Input):
                all_of_it = role.kept or everything
                asked[node.index] = torch.ones_like(asked[node.index]) if all_of_it else read[node.index]
            for i, window in zip(node.inputs, node.windows, strict=True):
                if i not in self.vectors:
                    read[i] |= window.read_by(asked[node.index])
        return asked

    def _take(
        self, node: Node, given: Tensor | None, state: State, motion: FrameMotion, dense: bool
    ) -> tuple[Tensor, Tensor | float]:
        """A map input's value, and what each unit owes for it: its unexplained part, in thresholds."""
        shape = self.plan.shapes[self.plan.inputs.index(node.index)]
        if dense:
            return torch.zeros(shape, dtype=self.plan.dtype) if given is None else given.clone(), 0.0
        whole, part, valid = placed(node.grid, motion)
        before = interpolated(state.values[node.index], whole, part)
        if given is None:
            return torch.where(valid, before, 0).to(self.plan.dtype), 0.0
        left = (given - before).abs()[0].sum(0) * valid
        return given.clone(), owed(left, node, self.thresholds[node.index], self.plan.frame)

    def _owed_levels(self, node: Node, levels: Tensor, state: State, motion: FrameMotion) -> Tensor:  # float32 [units]
        """The same of a picture of levels, in sixteenths of one: vectors are quarters of pixels, and nothing is rounded
        then.
        """
        assert state.picture is not None
        whole, part, valid = placed(node.grid, motion)
        before = (16 * interpolated(state.picture.double(), whole, part.double())).long()
        left = (16 * levels.long() - before).abs()[0].sum(0) * valid
        return owed(left, node, self.thresholds[node.index], self.plan.frame, 16 * 255)

    def _due(self, debts: Tensor) -> Tensor:  # bool [tiles]
        many = self.tile // UNIT
        over = (debts > 1).float()[None, None]
        return F.max_pool2d(over, many, many, ceil_mode=True)[0, 0] > 0


def _units(size: tuple[int, int]) -> Tensor:
    return torch.zeros(*(-(-n // UNIT) for n in size))


def moved(held: Tensor, motion: FrameMotion, size: tuple[int, int], unknown: float = 0.0) -> Tensor:
    """What is held by the units that the centres of the units come from; ``unknown`` where that is not known."""
    centres = [torch.arange(n) * UNIT + UNIT // 2 for n in held.shape]
    rows, cols = (c.clamp(max=n - 1) for c, n in zip(centres, size, strict=True))
    r, c, known = motion.sources(rows[:, None], cols[None, :])
    found = held[(r // UNIT).clamp(0, held.shape[0] - 1), (c // UNIT).clamp(0, held.shape[1] - 1)]
    return torch.where(known, found, unknown)


def owed(
    left: Tensor, node: Node, threshold: float, frame: tuple[int, int], whole: float = 1.0
) -> Tensor:  # float32 [units]
    """What cells leave unexplained, as a share of the threshold: of a unit the mean of the cells whose first pixel is
    in it, taken over channels too. Of a threshold of 0, anything is more than enough.

    left:  [h, w], sum over channels of the difference. whole: what 1 amounts to in it.
    """
    units = _units(frame)
    rows, cols = (
        torch.tensor([pixels_under(p, node.grid.stride[a], frame[a])[0] // UNIT for p in range(node.grid.size[a])])
        for a in (0, 1)
    )
    number = (rows[:, None] * units.shape[1] + cols[None, :]).reshape(-1)
    total = units.reshape(-1).double().index_add(0, number, left.reshape(-1).double())
    count = units.reshape(-1).double().index_add(0, number, torch.ones(number.shape, dtype=torch.float64))
    mean = (total / (whole * (count * node.channels).clamp(min=1))).float().reshape(units.shape)
    return torch.where(mean > 0, mean / torch.tensor(threshold, dtype=torch.float32), 0)


def placed(grid: Grid, motion: FrameMotion) -> tuple[Tensor, Tensor, Tensor]:
    """Where each cell's cached value lies: whole cells and the part of one by which it lies further down and right
    (int64 and float32 [2, h, w]), and whether it has one: its vectors are valid, and its source on the grid.
    """
    cells, valid = motion.mean(grid)
    whole = (-cells).floor()
    for axis, n in enumerate(grid.size):
        here = torch.arange(n, dtype=torch.float32)
        source = (here[:, None] if axis == 0 else here[None, :]) - cells[axis]
        valid = valid & (source >= -0.5) & (source <= n - 0.5)
    return whole.long(), -cells - whole, valid


def interpolated(value: Tensor, whole: Tensor, part: Tensor) -> Tensor:
    """The cached value between the four cells around each cell's source, in float32; at the border, the nearest."""
    if value.ndim != 4 or value.shape[-2:] != part.shape[-2:]:
        return value
    h, w = part.shape[-2:]
    top = torch.arange(h)[:, None] + whole[0]
    left = torch.arange(w)[None, :] + whole[1]
    rows, cols = (top.clamp(0, h - 1), (top + 1).clamp(0, h - 1)), (left.clamp(0, w - 1), (left + 1).clamp(0, w - 1))
    lines = [(1 - part[1]) * value[..., r, cols[0]] + part[1] * value[..., r, cols[1]] for r in rows]
    return (1 - part[0]) * lines[0] + part[0] * lines[1]


def on_grid(tiles: Tensor, tile: int, grid: Grid, frame: tuple[int, int]) -> Tensor:  # bool [h, w]
    """Cells that lie over a tile of the set, in part or whole."""
    chosen = tiles
    for axis, n in enumerate(grid.size):
        pixels = [pixels_under(p, grid.stride[axis], frame[axis]) for p in range(n)]
        chosen = torch.stack(
            [chosen.narrow(axis, a // tile, -(-b // tile) - a // tile).any(axis) for a, b in pixels], axis
        )
    return chosen


def _over_units(tiles: Tensor, tile: int, debts: Tensor) -> Tensor:  # bool [units]
    many = tile // UNIT
    return tiles.repeat_interleave(many, 0).repeat_interleave(many, 1)[: debts.shape[0], : debts.shape[1]]
