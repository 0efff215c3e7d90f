"""The plan while it is being built: adds nodes, and keeps what is known of each traced value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dedelayed_ros.sparse.geometry import POINT, Grid, Stride
from dedelayed_ros.sparse.layout import CELLS, COLS, ONE, ROWS, Layout, image
from dedelayed_ros.sparse.ops import (
    Addend,
    Concat,
    Conv,
    Gather,
    Global,
    Input,
    Op,
    Pointwise,
    Slot,
    Spread,
    Unary,
    addend_of,
)
from dedelayed_ros.sparse.plan import Motion


@dataclass(frozen=True)
class Value:
    """A traced tensor: the output of a node, read in a layout (None: a Global operation's own shape).

    sole: nothing else reads the node, so that the operation that reads this may be folded into it.
    """

    node: int
    layout: Layout | None
    shape: tuple[int, ...]
    sole: bool = True


@dataclass
class Draft:
    """A node before its footprint is worked out."""

    name: str
    op: Op
    inputs: tuple[int, ...]
    grid: Grid
    channels: int
    motion: Motion
    aliases: list[str] = field(default_factory=list)
    epilogue: list[Unary | Addend] = field(default_factory=list)


class Builder:
    """Nodes so far, and the traced operation at hand (``layer``, its name; ``shapes``, of its results)."""

    def __init__(self, frame: tuple[int, int]) -> None:
        self.frame = frame
        self.drafts: list[Draft] = []
        self.layer = ''
        self.shapes: list[tuple[int, ...]] = []
        self._names: set[str] = set()
        # Strides seen for a number of rows or columns: a map resized to the size of another one lies on its grid.
        self._strides: tuple[dict[int, Stride], dict[int, Stride]] = ({}, {})

    # ---- nodes

    def add(self, op: Op, inputs: Iterable[int], grid: Grid, channels: int, motion: Motion | None = None) -> int:
        """A new node; returns its index."""
        inputs = tuple(inputs)
        kinds = {self.drafts[i].motion for i in inputs}
        kind: Motion = motion or ('frame' if 'frame' in kinds else 'carried' if 'carried' in kinds else 'none')
        name, copies = self.layer, 1
        while name in self._names:
            copies += 1
            name = f'{self.layer}#{copies}'
        self._names.add(name)
        for axis in (0, 1):
            stride = grid.stride[axis]
            if stride is not None:
                self._strides[axis].setdefault(grid.size[axis], stride)
        self.drafts.append(Draft(name, op, inputs, grid, channels, kind))
        return len(self.drafts) - 1

    def absorb(self, value: Value) -> Draft:
        """The node of a value, about to take over the operation at hand; the layer's name becomes an alias."""
        draft = self.drafts[value.node]
        draft.aliases.append(self.layer)
        self._names.add(self.layer)
        return draft

    def node(self, value: Value) -> Draft:
        return self.drafts[value.node]

    def grid_of(self, value: Value) -> Grid:
        return self.drafts[value.node].grid

    # ---- grids

    def scaled(self, value: Value, size: tuple[int, int], factor: tuple[Any, Any]) -> Grid:
        """The grid of a window operation: its stride is ``factor`` times that of its input."""
        strides = []
        for axis in (0, 1):
            stride = self.grid_of(value).stride[axis]
            strides.append(self.known_stride(axis, size[axis]) if stride is None else stride * Fraction(factor[axis]))
        return make_grid(size, strides)

    def resized(self, value: Value, size: tuple[int, int]) -> Grid:
        """The grid of a map resized to ``size``: one that is there already if it fits, else in proportion."""
        strides = []
        for axis in (0, 1):
            old, n = self.grid_of(value), size[axis]
            stride = self._strides[axis].get(n)
            before = old.stride[axis]
            if stride is None and before is not None:
                stride = before * Fraction(old.size[axis], n)
            strides.append(stride or self.known_stride(axis, n))
        return make_grid(size, strides)

    def known_stride(self, axis: int, n: int) -> Stride:
        return self._strides[axis].get(n) or Fraction(self.frame[axis], n)

    # ---- values

    def as_image(self, value: Value) -> int | None:
        """The node that holds a value as [1, C, h, w]; None if its dimensions mean something else."""
        if len(value.shape) != 4 or value.shape[0] != 1:
            return None
        if value.layout is None:
            value = self.spread(value, image(value.shape[1], value.shape[2:]), value.shape[2:])
        grid, layout = self.grid_of(value), value.layout
        wanted = image(value.shape[1], grid.size)
        assert layout is not None
        dims = tuple(0 if isinstance(d, int) else d for d in layout.dims)
        return value.node if dims == wanted.dims and layout.channels == value.shape[1] else None

    def from_image(self, node: int, sole: bool = True) -> Value:
        draft = self.drafts[node]
        shape = (1, draft.channels, *draft.grid.size)
        return Value(node, image(draft.channels, draft.grid.size), shape, sole)

    def spread(self, value: Value, layout: Layout, size: tuple[int, int]) -> Value:
        """A Global operation's tensor as a feature map of ``size``."""
        grid = make_grid(size, [self.known_stride(a, size[a]) for a in (0, 1)])
        return Value(self.add(Spread(layout), [value.node], grid, layout.channels), layout, value.shape)

    def ordered(self, value: Value) -> Value:
        """The same value with its channel factors in the order of its dimensions (a channel shuffle, made explicit)."""
        layout = value.layout
        assert layout is not None
        order = [d for d in layout.dims if isinstance(d, int)]
        rest = [f for f in range(len(layout.factors)) if f not in order]
        order += rest
        if order == sorted(order):
            return value
        index = torch.arange(layout.channels).reshape(layout.factors).permute(order).reshape(-1)
        node = self.add(Gather(index), [value.node], self.grid_of(value), layout.channels)
        dims = tuple(order.index(d) if isinstance(d, int) else d for d in layout.dims)
        return Value(node, Layout(dims, tuple(layout.factors[f] for f in order)), value.shape)

    def pick(self, value: Value, dim: int, index: Tensor, keep: bool = True) -> Value:
        """Channels picked along a channel dimension; ``keep`` False drops the dimension (index has one entry)."""
        layout = value.layout
        assert layout is not None
        factor = layout.dims[dim]
        assert isinstance(factor, int)
        numbers = torch.arange(layout.channels).reshape(layout.factors).index_select(factor, index)
        factors = tuple(len(index) if f == factor else n for f, n in enumerate(layout.factors))
        node = self.add(Gather(numbers.reshape(-1)), [value.node], self.grid_of(value), math.prod(factors))
        shape = tuple(len(index) if i == dim else n for i, n in enumerate(value.shape))
        result = Layout(layout.dims, factors).normalised(self.grid_of(value).size)
        if keep:
            return Value(node, result, shape)
        return Value(node, Layout(result.dims[:dim] + result.dims[dim + 1 :], factors), shape[:dim] + shape[dim + 1 :])

    # ---- generic operations

    def unary(self, value: Value, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Value:
        """An element-wise function of one tensor; folded into the node that makes it where possible."""
        if value.layout is None:
            return self.all_of(target, [value, *args], kwargs)
        if value.sole and not isinstance(self.node(value).op, (Input, Spread)):
            self.absorb(value).epilogue.append(Unary(target, args, kwargs))
            return value
        return self.pointwise(target, [value, *args], kwargs, value.layout)

    def plus(self, a: Value, b: Value) -> Value | None:
        """The sum of two maps that are read alike, folded into the later one; None where that cannot be.

        The later one has to be computed for this sum alone, and to move as the other does: else it would be computed
        anew wherever the other changes.
        """
        earlier, later = sorted((a, b), key=lambda value: value.node)
        draft, other = self.node(later), self.node(earlier)
        read_alike = a.layout is not None and a.layout == b.layout and a.shape == b.shape
        lie_alike = (draft.grid, draft.channels, draft.motion) == (other.grid, other.channels, other.motion)
        taken = isinstance(draft.op, (Input, Spread, Global)) or addend_of(draft.epilogue) is not None
        if not (read_alike and lie_alike and later.sole) or earlier.node == later.node or taken:
            return None
        self.absorb(later).epilogue.append(Addend(len(draft.inputs)))
        draft.inputs = (*draft.inputs, earlier.node)
        return later

    def pointwise(
        self,
        target: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        layout: Layout,
        fixed: bool = False,
        cost: float = 0.0,
    ) -> Value:
        """A Pointwise node whose result is read in ``layout`` and has the shape of the traced one."""
        inputs: list[int] = []
        slots = bind(args, inputs), bind(kwargs, inputs)
        size = [1, 1]
        strides: list[Stride | None] = [None, None]
        for grid in (self.drafts[i].grid for i in inputs):
            for axis in (0, 1):
                if size[axis] == 1:
                    size[axis], strides[axis] = grid.size[axis], grid.stride[axis]
        grid = make_grid((size[0], size[1]), strides)
        op = Pointwise(target, tuple(slots[0]), slots[1], layout, fixed, cost)
        return Value(self.add(op, inputs, grid, layout.channels), layout, layout.shape(grid.size))

    def broadcast(self, target: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Value | None:
        """An element-wise function of several tensors that broadcast; None where their dimensions do not agree."""
        shape = self.shapes[0]
        values = [a for a in flat([args, kwargs]) if isinstance(a, Value)]
        labels: list[str | None] = [None] * len(shape)
        for value in values:
            if value.layout is None:
                continue
            offset = len(shape) - len(value.shape)
            for i, dim in enumerate(value.layout.dims):
                label = 'c' if isinstance(dim, int) else dim
                if label == ONE:
                    continue
                if labels[offset + i] not in (None, label):
                    return None
                labels[offset + i] = label
        spatial = [label for label in labels if label in (ROWS, COLS, CELLS)]
        if len(set(spatial)) != len(spatial) or (CELLS in spatial and len(spatial) > 1):
            return None
        fixed = False
        for other in (a for a in flat([args, kwargs]) if isinstance(a, (Tensor, Value))):
            offset = len(shape) - len(other.shape)
            varies = {offset + i for i, n in enumerate(other.shape) if n > 1}
            if isinstance(other, Tensor):
                fixed |= any(labels[i] in spatial for i in varies)
            for i in varies:
                labels[i] = labels[i] or 'c'

        def settle(item: Any) -> Any:
            if not isinstance(item, Value):
                return item
            if item.layout is None:
                return self._like(item, labels[len(shape) - len(item.shape) :], values)
            return item

        result = _layout(labels, shape)
        return self.pointwise(target, mapped(args, settle), mapped(kwargs, settle), result, fixed)

    def _like(self, value: Value, labels: list[str | None], partners: list[Value]) -> Value:
        """A Global operation's tensor as a feature map that broadcasts with others."""
        names = [label if n > 1 else None for label, n in zip(labels, value.shape, strict=True)]
        grids = [self.grid_of(p) for p in partners if p.layout is not None]
        size = [1, 1]
        for axis, label in ((0, ROWS), (1, COLS)):
            if label in names or CELLS in names:
                size[axis] = max(grid.size[axis] for grid in grids)
        return self.spread(value, _layout(names, value.shape), (size[0], size[1]))

    def all_of(self, target: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], cost: float = 0.0) -> Any:
        """A Global operation: its Value, or a list of them where it has several results (one node each)."""
        inputs: list[int] = []
        slots = bind(args, inputs), bind(kwargs, inputs)
        several = len(self.shapes) > 1
        results = []
        for item, shape in enumerate(self.shapes):
            op = Global(target, tuple(slots[0]), slots[1], item if several else None, cost)
            results.append(Value(self.add(op, inputs, POINT, 0), None, shape))
        return results if several else results[0]

    def concat(self, values: list[Value]) -> Value | None:
        """Channels of images one after the other."""
        nodes: list[int] = []
        for value in values:
            node = self.as_image(value)
            if node is None:
                return None
            nodes.append(node)
        channels = sum(self.drafts[n].channels for n in nodes)
        return self.from_image(self.add(Concat(), nodes, self.drafts[nodes[0]].grid, channels))

    def conv(self, value: Value, op: Conv) -> Value | None:
        node = self.as_image(value)
        if node is None:
            return None
        grid = self.scaled(Value(node, None, ()), op.output_size(self.drafts[node].grid.size), op.stride)
        return self.from_image(self.add(op, [node], grid, op.weight.shape[0]))


def make_grid(size: tuple[int, int], strides: Iterable[Stride | None]) -> Grid:
    """A grid; an axis with a single cell has no stride, since what is in it does not move."""
    rows, cols = (None if n == 1 else stride for n, stride in zip(size, strides, strict=True))
    return Grid((int(size[0]), int(size[1])), (rows, cols))


def flat(item: Any) -> list[Any]:
    """The leaves of nested lists and dictionaries."""
    if isinstance(item, (list, tuple)):
        return [leaf for part in item for leaf in flat(part)]
    if isinstance(item, dict):
        return [leaf for part in item.values() for leaf in flat(part)]
    return [item]


def mapped(item: Any, function: Callable[[Any], Any]) -> Any:
    """The same structure with ``function`` applied to each leaf."""
    if isinstance(item, (list, tuple)):
        return [mapped(part, function) for part in item]
    if isinstance(item, dict):
        return {key: mapped(part, function) for key, part in item.items()}
    return function(item)


def bind(item: Any, inputs: list[int]) -> Any:
    """Arguments with their values replaced by slots; appends the nodes they read to ``inputs``."""

    def slot(leaf: Any) -> Any:
        if not isinstance(leaf, Value):
            return leaf
        if leaf.node not in inputs:
            inputs.append(leaf.node)
        return Slot(inputs.index(leaf.node), leaf.layout)

    return mapped(item, slot)


def _layout(labels: Iterable[str | None], shape: Iterable[int]) -> Layout:
    dims: list[str | int] = []
    factors: list[int] = []
    for label, n in zip(labels, shape, strict=True):
        if label == 'c' and n > 1:
            dims.append(len(factors))
            factors.append(n)
        else:
            dims.append(label if label in (ROWS, COLS, CELLS) else ONE)
    return Layout(tuple(dims), tuple(factors) or (1,))


__all__ = ['Builder', 'Draft', 'Value', 'bind', 'flat', 'make_grid', 'mapped', 'replace']
