"""The plan: a traced model as a flat list of operations with their geometry.

It holds everything that does not change from frame to frame (weights, footprints, grids) and nothing that does, so that
one plan serves many streams and a backend can take it in a single call: nodes are in the order of computation, name
their inputs by index, and carry their own buffers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch.utils import _pytree as pytree

from dedelayed_ros.sparse.geometry import Grid, Window
from dedelayed_ros.sparse.layout import Layout
from dedelayed_ros.sparse.ops import Addend, Input, Op, Unary, addend_of

Motion = Literal['frame', 'carried', 'none']


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    name:     path of the layer in the model, unique in the plan; ``aliases`` are the layers folded into it.
    inputs:   indices of the nodes that it reads, an addend last; ``windows`` its footprint on each.
    grid:     positions of its output; a Global operation has one.
    channels: C of its output (0 for a Global operation, which has a shape of its own).
    epilogue: element-wise functions applied to its result; among them at most one addend.
    macs:     multiply-accumulates of one output position.
    motion:   what moves its cache: the frame's motion; motion by whole cells with the remainder kept, for an input such
              as remote features and all that is computed from it alone; or none, where there is no position.
    """

    index: int
    name: str
    aliases: tuple[str, ...]
    op: Op
    inputs: tuple[int, ...]
    windows: tuple[Window, ...]
    grid: Grid
    channels: int
    epilogue: tuple[Unary | Addend, ...]
    macs: float
    motion: Motion

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def addend(self) -> int | None:
        """Which of ``inputs`` is added to the result, if any."""
        return addend_of(self.epilogue)

    @property
    def operands(self) -> tuple[int, ...]:
        """The inputs of the operation itself: all but an addend."""
        return self.inputs if self.addend is None else self.inputs[:-1]

    @property
    def is_point(self) -> bool:
        """Whether each output position reads only the inputs at that position."""
        return all(window.is_point for window in self.windows)


@dataclass(frozen=True)
class Result:
    """An output of the model: a node, read in ``layout`` (None: as it is), or a constant."""

    node: int | None
    layout: Layout | None
    constant: Any = None


@dataclass(frozen=True, eq=False)
class Plan:
    """A model, ready to run.

    frame:     (H, W) in pixels of the picture that motion fields are given for.
    dtype:     of weights and feature maps.
    inputs:    nodes of the arguments, in the model's order; ``shapes`` what they have to be.
    results:   the model's outputs, flattened; ``structure`` puts them together again.
    """

    frame: tuple[int, int]
    dtype: torch.dtype
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    results: tuple[Result, ...]
    structure: pytree.TreeSpec

    @property
    def takes_levels(self) -> bool:
        """Whether the frame is given as levels 0–255."""
        op = self.nodes[self.inputs[0]].op
        return isinstance(op, Input) and op.levels

    def find(self, name: str) -> Node | None:
        """The node of a layer, by its name or one of its aliases."""
        return next((node for node in self.nodes if name in node.names), None)

    def leader(self, node: Node) -> int | None:
        """The input whose displacement a point-wise node can take over: the first that moves with the frame.

        What is computed position by position lies where its input lies, rounding and all. None for any other node.
        """
        for window, i in zip(node.windows, node.inputs, strict=True):
            if not window.is_point and self.nodes[i].grid.cells > 1:
                return None
        followed = (i for i in node.inputs if self.nodes[i].motion == 'frame' and self.nodes[i].grid == node.grid)
        return next(followed, None)

    @property
    def macs(self) -> float:
        """Multiply-accumulates of a dense pass."""
        return sum(node.macs * node.grid.cells for node in self.nodes)

    @cached_property
    def cells(self) -> np.ndarray:
        """Positions of each node, float64: whole numbers, whose products with ``work`` are exact."""
        return np.array([node.grid.cells for node in self.nodes], np.float64)

    @cached_property
    def work(self) -> np.ndarray:
        """Multiply-accumulates of a position of each node, 0 for inputs; in a network that has none, 1."""
        unit = 0.0 if self.macs else 1.0
        return np.array([0.0 if isinstance(node.op, Input) else node.macs or unit for node in self.nodes])

    @cached_property
    def all_work(self) -> float:
        """``work`` of all positions."""
        return float(self.cells @ self.work)
