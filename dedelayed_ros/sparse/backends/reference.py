"""The specification of the engine, in torch.

It finds the recompute sets exactly as a fast backend has to, but computes each operation in full and takes the
positions that it needs: right and clear, not fast. Ratios count what the sets ask for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dedelayed_ros.sparse import motion as moving
from dedelayed_ros.sparse.alignment import Alignment, compacted, first_footprints, misaligned, misaligned_within
from dedelayed_ros.sparse.backends.common import results_of, statistics
from dedelayed_ros.sparse.backends.evaluate import evaluate
from dedelayed_ros.sparse.backends.tiled import TiledReference
from dedelayed_ros.sparse.cache import State, agrees, merged, remapped
from dedelayed_ros.sparse.geometry import Grid
from dedelayed_ros.sparse.motion import Cover, Displacement, FrameMotion
from dedelayed_ros.sparse.ops import Input
from dedelayed_ros.sparse.plan import Node, Plan
from dedelayed_ros.sparse.stats import LayerStats, SparseStats

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField


@dataclass
class Frame:
    """What has been found out about the frame at hand; indexed by node."""

    motion: FrameMotion
    moved: list[Displacement]
    remainders: dict[int, Tensor]
    values: list[Tensor]
    dirty: list[Tensor]  # S, bool [h, w]: positions that differ, or may differ, from their cached value
    flags: list[Tensor]  # F, bool [h, w]: 'sticky': positions that motion does not vouch for
    layers: list[LayerStats]


class ReferenceEngine:
    """Runs a plan in torch on the CPU."""

    name = 'reference'
    reason = ''
    takes: tuple[torch.dtype, ...] = (torch.uint8,)

    def __init__(self, plan: Plan, alignment: Alignment, thresholds: tuple[float, ...], *, remap: bool = True) -> None:
        self.plan = plan
        self.alignment = alignment.settled(plan)
        self.thresholds = thresholds
        self.remap = remap
        self._entries = first_footprints(plan)
        self._covers: dict[tuple[Grid, int], Cover] = {}
        self._tiled = TiledReference(plan, alignment, thresholds) if alignment.mode == 'tiles' else None

    def new_state(self) -> State:
        return State()

    @torch.no_grad()
    def step(
        self, state: State, inputs: Sequence[Tensor | None], motion: MotionField | None
    ) -> tuple[list[Tensor], SparseStats]:
        start = time.perf_counter()
        field = FrameMotion(motion, self.plan.frame, self._covers)
        dense = not state.ready or not field.known
        if not self.remap and field.known:
            field = FrameMotion.at_rest(self.plan.frame)
        frame = Frame(field, [], {}, [], [], [], [])
        given = dict(zip(self.plan.inputs, inputs, strict=True))
        levels = given[self.plan.inputs[0]] if self.plan.takes_levels else None
        if levels is not None:
            given[self.plan.inputs[0]] = (levels.float() / 255).to(self.plan.dtype)
        if self._tiled is not None:
            return self._tiled.step(state, given, field, dense, levels)
        for node in self.plan.nodes:
            begun = time.perf_counter()
            moved = moving.unknown(node.grid) if dense else self._displacement(node, state, frame)
            frame.moved.append(moved)
            if isinstance(node.op, Input):
                computed = self._take(node, given[node.index], state, frame)
            else:
                computed = self._run(node, state, frame)
            if node.index in frame.remainders:
                frame.remainders[node.index] = torch.where(frame.dirty[-1], 0, frame.remainders[node.index])
            cells, milliseconds = node.grid.cells, (time.perf_counter() - begun) * 1e3
            ratio = int(frame.dirty[-1].sum()) / cells
            frame.layers.append(LayerStats(node.name, ratio, int(computed.sum()) / cells, milliseconds))
        results = results_of(self.plan, frame.values)
        state.values, state.remainders, state.sets = frame.values, frame.remainders, frame.dirty
        ratios = [layer.compute_ratio for layer in frame.layers]
        return results, statistics(self.plan, frame.layers, ratios, dense, (time.perf_counter() - start) * 1e3)

    def _displacement(self, node: Node, state: State, frame: Frame) -> Displacement:
        """Where each position's cached value is."""
        if node.motion == 'none' or node.grid.cells == 1:
            return moving.unmoved(node.grid)
        if node.motion == 'carried':
            return self._carried(node, state, frame)
        if self.alignment.mode in ('paper', 'off'):
            return frame.motion.sampled(node.grid)
        if self.alignment.tolerant:
            leader = self.plan.leader(node)
            if leader is not None:
                return frame.moved[leader]
            share, spread = self.alignment.remainder, self.alignment.spread
            moved, rest = moving.tolerant(frame.motion, node.grid, _remainder(node, state), share, spread)
            frame.remainders[node.index] = rest
            return moved
        return frame.motion.exact(node.grid)

    def _carried(self, node: Node, state: State, frame: Frame) -> Displacement:
        if isinstance(node.op, Input):
            moved, rest = moving.carried(frame.motion, node.grid, _remainder(node, state))
            frame.remainders[node.index] = rest
            return moved
        source = max(
            (k for k, i in enumerate(node.inputs) if self.plan.nodes[i].motion == 'carried'),
            key=lambda k: self.plan.nodes[node.inputs[k]].grid.cells,
        )
        before = node.inputs[source]
        return moving.propagated(node.windows[source], frame.moved[before], self.plan.nodes[before].grid, node.grid)

    def _take(self, node: Node, given: Tensor | None, state: State, frame: Frame) -> Tensor:
        """An input: what differs from the cached one by more than its threshold is new (Eq. 16). Computes nothing."""
        moved = frame.moved[-1]
        cached = remapped(state.values[node.index], moved) if state.ready else None
        if given is None:  # what is there is carried on; where nothing comes from, there is nothing
            shape = self.plan.shapes[self.plan.inputs.index(node.index)]
            blank = torch.zeros(shape, dtype=self.plan.dtype)
            dirty = ~moved.valid
            value = blank if cached is None else merged(dirty, blank, cached)
        elif cached is None:
            dirty, value = ~moved.valid, given.clone()
        else:
            same = agrees(given, cached, self.thresholds[node.index], node.grid.size)
            dirty = ~(moved.valid & same)
            value = merged(dirty, given, cached)
        frame.values.append(value)
        frame.dirty.append(dirty)
        frame.flags.append(~moved.valid)
        return torch.zeros_like(dirty)

    def _run(self, node: Node, state: State, frame: Frame) -> Tensor:
        """An operation: computes what its inputs and motion do not explain. Returns the computed positions."""
        moved = frame.moved[-1]
        flagged = self._misaligned(node, frame)
        sources = [frame.dirty[i] for i in node.inputs]
        if node.index in self._entries and self.alignment.mode == 'paper' and bool(moved.valid.any()):
            flags = compacted(frame.motion, self.plan.nodes[self.plan.inputs[0]].grid, self.alignment)
            sources = [s | flags if k in self._entries[node.index] else s for k, s in enumerate(sources)]
        candidates = flagged
        for window, dirty in zip(node.windows, sources, strict=True):
            candidates = candidates | window.dilate(dirty)
        sticky = flagged
        for window, i in zip(node.windows, node.inputs, strict=True):
            sticky = sticky | window.dilate(frame.flags[i])
        if bool(candidates.any()):
            fresh = evaluate(node, [frame.values[i] for i in node.inputs])
            if state.ready and bool(moved.valid.any()):
                cached = remapped(state.values[node.index], moved)
                same = moved.valid & agrees(fresh, cached, self.thresholds[node.index], node.grid.size)
                dirty = candidates & ~same
                if self.alignment.mode == 'sticky':
                    dirty = dirty | sticky
                value = merged(dirty, fresh, cached)
            else:
                dirty, value = candidates, fresh
        else:
            dirty, value = candidates, remapped(state.values[node.index], moved)
        frame.values.append(value)
        frame.dirty.append(dirty)
        frame.flags.append(sticky)
        return candidates

    def _misaligned(self, node: Node, frame: Frame) -> Tensor:  # bool [h, w]
        """Positions that have to be computed whatever the content."""
        out = frame.moved[-1]
        inputs = [frame.moved[i] for i in node.inputs]
        if out.still and all(d.still for d in inputs):
            return ~out.valid
        if not bool(out.valid.any()):
            return ~out.valid
        exact = node.motion != 'frame' or not self.alignment.tolerant
        if node.motion == 'frame' and self.alignment.mode in ('paper', 'off'):
            return ~out.valid
        if exact:
            return misaligned(node, out, inputs)
        motions = []
        for i in node.inputs:
            before = self.plan.nodes[i]
            placed = before.grid.cells > 1 and before.motion != 'none'
            motions.append(frame.motion.on(before.grid) if placed else None)
        return misaligned_within(node, out, inputs, motions, self.alignment.spread)


def _remainder(node: Node, state: State) -> Tensor:
    found = state.remainders.get(node.index)
    return torch.zeros(2, *node.grid.size, dtype=torch.int64) if found is None else found
