"""A plan as plain numbers, in the order in which ``kernels/cpu/sparse/plan.cpp`` reads them.

What the kernels do not have is found here: :class:`Lacking` names the layer and what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros.sparse.alignment import Alignment, first_footprints
from dedelayed_ros.sparse.backends.doubt import logits_of
from dedelayed_ros.sparse.backends.roles import tile_roles
from dedelayed_ros.sparse.backends.unary import Lacking, describe_step, describe_unary, name_of
from dedelayed_ros.sparse.geometry import AxisMap, Grid, Window
from dedelayed_ros.sparse.ops import (
    AdaptivePool,
    AvgPool,
    Concat,
    Conv,
    Crop,
    Gather,
    Input,
    MaxPool,
    Op,
    Pad,
    Pointwise,
    Reduce,
    Resize,
    Slot,
    TransposedConv,
    Unary,
)
from dedelayed_ros.sparse.plan import Node, Plan

_MODES = {'per_layer': 0, 'sticky': 1, 'paper': 2, 'calibrated': 3, 'off': 4, 'tiles': 5}
_MOTION = {'none': 0, 'frame': 1, 'carried': 2}
_INPUT, _GIVEN, _CONV, _TAPS, _DEPTHWISE, _POOL, _RESIZE, _MOVE, _BINARY, _LEVELS = range(10)
_POOLS = {'amax': 0, 'amin': 1, 'sum': 2, 'mean': 3, 'mean twice': 4}
_BINARIES = {'add': 0, 'sub': 1, 'mul': 2, 'div': 3, 'maximum': 4, 'minimum': 5, '_prelu_kernel': 6}


@dataclass
class Description:
    """A plan for the kernels.

    words:  int64, structure; ``reals`` float32, weights and other numbers.
    native: plan index of each of the kernels' nodes.
    given:  plan indices of nodes that are computed before the kernels are called: they depend on vectors alone.
    """

    words: np.ndarray
    reals: np.ndarray
    native: list[int]
    given: list[int]


def describe(plan: Plan, thresholds: Sequence[float], alignment: Alignment) -> Description:
    """Describe a plan. Raises Lacking, naming what the kernels do not have, and a layer that needs it."""
    return _Writer(plan, thresholds).write(alignment.settled(plan))


_NAMED = 5  # operations that an error tells; a transformer lacks dozens


def _listed(lacking: dict[str, list[str]]) -> str:
    """Names of layers by what each lacks, as a text that can be read."""
    texts = [
        f"layer '{names[0]}'{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})"
        for reason, names in lacking.items()
    ]
    rest = len(texts) - _NAMED
    return ', '.join(texts[:_NAMED]) + (f', and {rest} other operations' if rest > 0 else '')


def of_vectors(plan: Plan) -> list[int]:
    """Nodes that depend on no feature map: vectors such as an age, and what is computed from them alone."""
    found: list[int] = []
    for node in plan.nodes:
        vector = isinstance(node.op, Input) and node.channels == 0
        computed = bool(node.inputs) and all(i in found for i in node.inputs)
        if node.grid.cells == 1 and node.motion == 'none' and (vector or computed):
            found.append(node.index)
    return found


@dataclass
class _Numbers:
    words: list[np.ndarray] = field(default_factory=list)
    reals: list[np.ndarray] = field(default_factory=list)

    def put(self, *numbers: int) -> None:
        self.words.append(np.array(numbers, np.int64))

    def put_all(self, numbers: Any) -> None:
        self.words.append(np.asarray(numbers, np.int64).reshape(-1))

    def put_reals(self, numbers: Any) -> None:
        numbers = numbers.float() if isinstance(numbers, Tensor) else numbers
        self.reals.append(np.asarray(numbers, np.float32).reshape(-1))


@dataclass
class _Writer:
    plan: Plan
    thresholds: Sequence[float]
    axes: dict[bytes, tuple[int, AxisMap]] = field(default_factory=dict)
    windows: dict[tuple[int, int], int] = field(default_factory=dict)
    grids: dict[Grid, int] = field(default_factory=dict)
    out: _Numbers = field(default_factory=_Numbers)

    def write(self, alignment: Alignment) -> Description:
        self.entries = first_footprints(self.plan) if alignment.mode == 'paper' else {}
        vectors = of_vectors(self.plan)
        needed = {i for node in self.plan.nodes if node.index not in vectors for i in node.inputs}
        native = [node.index for node in self.plan.nodes if node.index not in vectors or node.index in needed]
        self.number = {index: k for k, index in enumerate(native)}
        self.vectors = vectors
        lacking: dict[str, list[str]] = {}
        for index in native:
            try:
                self._node(self.plan.nodes[index])
            except Lacking as error:
                lacking.setdefault(str(error), []).append(self.plan.nodes[index].name)
        if lacking:
            raise Lacking(_listed(lacking))
        nodes, self.out = self.out, _Numbers()
        assert alignment.r_max is not None and alignment.s_max is not None
        mode = _MODES[alignment.mode if alignment.mode != 'calibrated' or alignment.tolerant else 'per_layer']
        tolerances = np.array([alignment.remainder, alignment.spread], np.float64).view(np.int64)
        self.out.put(*self.plan.frame, mode, alignment.r_max, alignment.s_max, *tolerances)
        if alignment.mode == 'tiles':
            roles = tile_roles(self.plan, alignment)
            flags = [roles[index].where_read + 2 * roles[index].kept for index in native]
            logits = logits_of(self.plan, alignment)
            margin = np.array([alignment.margin], np.float64).view(np.int64)
            self.out.put(alignment.tile, -1 if logits is None else self.number[logits], *margin)
        else:
            shown = {result.node for result in self.plan.results}
            flags = [2 * (index in shown) for index in native]
        self.out.put(len(flags), *flags)
        self.out.put(len(self.axes))
        for _, axis in self.axes.values():
            self._axis(axis)
        self.out.put(len(self.windows))
        for window in self.windows:
            self.out.put(*window)
        self.out.put(len(self.grids))
        for grid in self.grids:
            self.out.put(*grid.size)
            for stride in grid.stride:
                self.out.put(*((0, 0) if stride is None else (stride.numerator, stride.denominator)))
        self.out.put(len(native))
        words = np.concatenate([*self.out.words, *nodes.words])
        reals = np.concatenate([np.zeros(0, np.float32), *nodes.reals])
        return Description(words, reals, native, vectors)

    def _axis(self, axis: AxisMap) -> None:
        self.out.put(axis.size_in, axis.size_out, axis.taps.shape[1], axis.fixed)
        self.out.put_all(torch.where(axis.taps >= 0, axis.taps, axis.size_in))
        for table in (axis.inside, axis.tapped, axis.base, axis.phase):
            self.out.put_all(table)

    def _numbered_axis(self, axis: AxisMap) -> int:
        tables = (axis.taps, axis.phase)
        size = (axis.size_in, tuple(axis.taps.shape), axis.fixed)
        key = b'|'.join([str(size).encode(), *(t.numpy().tobytes() for t in tables)])
        return self.axes.setdefault(key, (len(self.axes), axis))[0]

    def _window(self, window: Window) -> int:
        key = self._numbered_axis(window.rows), self._numbered_axis(window.cols)
        return self.windows.setdefault(key, len(self.windows))

    def _node(self, node: Node) -> None:
        is_given = node.index in self.vectors
        if is_given and (node.channels == 0):
            raise Lacking('a vector that is read as it is')
        if node.channels == 0:
            raise Lacking(f'{name_of(getattr(node.op, "target", node.op))}, a function of the whole picture')
        operation = _Operation(self.plan, node)
        kind = _GIVEN if is_given else operation.write(node.op)
        inputs = () if is_given else node.inputs
        out = self.out
        out.put(kind, _MOTION[node.motion], self.grids.setdefault(node.grid, len(self.grids)), node.channels)
        out.put_reals([self.thresholds[node.index]])
        out.put(len(inputs), *(self.number[i] for i in inputs))
        out.put(*(self._window(w) for w in node.windows[: len(inputs)]), self._carrier(node) if inputs else 0)
        entries = sorted(self.entries.get(node.index, ())) if inputs else []
        out.put(len(entries), *entries)
        epilogue = () if is_given else node.epilogue
        functions = [*operation.functions, *(f for step in epilogue for f in describe_step(step))]
        out.put(len(functions))
        for code, numbers in functions:
            out.put(code)
            out.put_reals(numbers)
        out.words += operation.out.words
        out.reals += operation.out.reals

    def _carrier(self, node: Node) -> int:
        """Number of the input whose displacement a carried node takes over."""
        carried = [k for k, i in enumerate(node.inputs) if self.plan.nodes[i].motion == 'carried']
        return max(carried, key=lambda k: self.plan.nodes[node.inputs[k]].grid.cells, default=0)


class _Operation:
    """What is particular to one operation: its kind, and the numbers that follow in its description."""

    def __init__(self, plan: Plan, node: Node) -> None:
        self.node = node
        operands = [plan.nodes[i] for i in node.operands]
        self.sizes = [operand.grid.size for operand in operands]
        self.channels = [operand.channels for operand in operands]
        self.functions: list[tuple[int, list[float]]] = []
        self.out = _Numbers()

    @singledispatchmethod
    def write(self, op: Op) -> int:
        """Kind of the node. Raises Lacking."""
        raise Lacking(type(op).__name__)

    @write.register
    def _(self, op: Input) -> int:
        return _LEVELS if op.levels else _INPUT

    @write.register
    def _(self, op: Conv) -> int:
        outputs, inputs = op.weight.shape[:2]
        depthwise = inputs == 1 and op.groups == outputs
        kind = _CONV if op.groups == 1 else _DEPTHWISE if depthwise else _TAPS
        before = op.padding[0][0], op.padding[1][0]
        self._convolution(op.weight.permute(2, 3, 1, 0), op.bias, (op.stride, before, op.dilation), op.groups)
        return kind

    @write.register
    def _(self, op: TransposedConv) -> int:
        inputs, outputs, *kernel = op.weight.shape
        weight = op.weight.reshape(op.groups, inputs // op.groups, outputs, *kernel).permute(3, 4, 1, 0, 2)
        weight = weight.reshape(*kernel, inputs // op.groups, op.groups * outputs)
        self._convolution(weight, op.bias, (op.stride, op.padding, op.dilation), op.groups)
        return _TAPS

    def _convolution(
        self, weight: Tensor, bias: Tensor | None, steps: Iterable[tuple[int, int]], groups: int
    ) -> None:  # weight [kh, kw, I/groups, O]
        self.out.put(*weight.shape[:2], *(n for pair in steps for n in pair), groups)
        self.out.put_reals(weight)
        self.out.put_reals(torch.zeros(weight.shape[3]) if bias is None else bias)

    @write.register
    def _(self, op: MaxPool) -> int:
        return self._pool('amax')

    @write.register
    def _(self, op: AdaptivePool) -> int:
        # To one cell torch takes a mean; to more, it divides by the height and then by the width.
        return self._pool('amax' if op.kind == 'max' else 'mean' if op.size == (1, 1) else 'mean twice')

    @write.register
    def _(self, op: Reduce) -> int:
        name = name_of(op.target)
        if name not in _POOLS:
            raise Lacking(name)
        return self._pool(name)

    @write.register
    def _(self, op: AvgPool) -> int:
        divisors = []
        for axis, table in enumerate(self.node.windows[0].axes):
            start = torch.arange(table.size_out) * op.stride[axis] - op.padding[axis]
            stop = (start + op.kernel[axis]).clamp(max=table.size_in + op.padding[axis])
            divisors.append(stop - start if op.count_padding else (table.taps >= 0).sum(1))
        if op.divisor is not None:
            divisors = [torch.full_like(divisors[0], op.divisor), torch.ones_like(divisors[1])]
        return self._pool('mean', divisors)

    def _pool(self, name: str, divisors: list[Tensor] | None = None) -> int:
        self.out.put(_POOLS[name])
        for axis, table in enumerate(self.node.windows[0].axes):
            self.out.put_reals((table.taps >= 0).sum(1) if divisors is None else divisors[axis])
        return _POOL

    @write.register
    def _(self, op: Resize) -> int:
        for axis, table in enumerate(self.node.windows[0].axes):
            matrix = op.matrix(self.sizes[0], axis)
            taps = table.taps
            self.out.put_reals(torch.where(taps >= 0, matrix.gather(1, taps.clamp(min=0)), 0.0))
        return _RESIZE

    @write.register
    def _(self, op: Pad) -> int:
        return self._move([(0, 0, range(self.channels[0]))], op.value)

    @write.register
    def _(self, op: Crop) -> int:
        return self._move([(0, 0, range(self.channels[0]))])

    @write.register
    def _(self, op: Gather) -> int:
        return self._move([(0, 0, op.index.tolist())])

    @write.register
    def _(self, op: Concat) -> int:
        starts = np.cumsum([0, *self.channels])
        return self._move([(k, int(starts[k]), range(n)) for k, n in enumerate(self.channels)])

    def _move(self, parts: list[tuple[int, int, Sequence[int]]], fill: float = 0.0) -> int:
        self.out.put_reals([fill])
        self.out.put(len(parts))
        for number, first, channels in parts:
            self._part(number, first, channels)
        return _MOVE

    def _part(self, number: int, first: int, channels: Sequence[int]) -> None:
        self.out.put(number, first, len(channels))
        self.out.put_all(list(channels))

    @write.register
    def _(self, op: Pointwise) -> int:
        name = name_of(op.target)
        args, alpha = list(op.args), float(op.kwargs.get('alpha', 1))  # type: ignore[arg-type]
        if set(op.kwargs) - {'alpha'} or op.fixed or any(isinstance(a, list) for a in args[:1]):
            raise Lacking(name)
        if name == 'rsub':
            name, args = 'sub', [args[1], args[0]]
        # With a number it is a function of each value, which takes whole rows at once.
        scaled = (
            name in ('add', 'sub', 'mul', 'div') and isinstance(args[0], Slot) and isinstance(args[1], (int, float))
        )
        both = name in _BINARIES and len(args) == 2 and not scaled
        if not both:
            args, rest = args[:1], args[1:]
            if name != 'expand':
                self.functions = describe_unary(Unary(op.target, tuple(rest), dict(op.kwargs)))
        operands = [self._operand(op, arg, args) for arg in args]
        if not both:
            if not isinstance(operands[0], tuple):
                raise Lacking(name)
            number, channels = operands[0]
            return self._move([(number, 0, channels)])
        self.out.put(_BINARIES[name])
        self.out.put_reals([alpha])
        self.out.put(2)
        for operand in operands:
            if isinstance(operand, tuple):
                self._part(operand[0], 0, operand[1])
            else:
                self.out.put(-1, 0, len(operand))
                self.out.put_reals(operand)
        return _BINARY

    def _operand(self, op: Pointwise, arg: Any, args: list[Any]) -> tuple[int, list[int]] | Tensor:
        """An input with the channel that each output channel reads, or a constant for each output channel."""
        if isinstance(arg, (int, float)):
            return torch.full((self.node.channels,), float(arg))
        if isinstance(arg, Tensor):
            values = self._spread(op, arg, args)
            return values
        if not isinstance(arg, Slot) or arg.layout is None:
            raise Lacking(name_of(op.target))
        return arg.number, self._spread(op, self._numbers(arg), args).to(torch.int64).tolist()

    def _numbers(self, slot: Slot) -> Tensor:
        """The channels' own numbers, in the shape in which the traced operation reads the input."""
        count, size = self.channels[slot.number], self.sizes[slot.number]
        assert slot.layout is not None
        return slot.layout.to_raw(torch.arange(float(count)).reshape(1, count, 1, 1).expand(1, count, *size))

    def _spread(self, op: Pointwise, raw: Tensor, args: list[Any]) -> Tensor:  # [C]
        """A tensor that broadcasts with the other operands, as the one value that each output channel has."""
        shapes = [
            self._numbers(a).shape if isinstance(a, Slot) else a.shape for a in args if isinstance(a, (Slot, Tensor))
        ]
        shape = torch.broadcast_shapes(*shapes)
        if name_of(op.target) == 'expand':
            shape = op.result.shape(self.node.grid.size)
        values = op.result.from_raw(raw.expand(shape), self.node.grid.size)[0].flatten(1)
        if not bool((values == values[:, :1]).all()):
            raise Lacking(f'{name_of(op.target)} with values that vary over the picture')
        return values[:, 0]
