"""The operations of a plan: what a backend has to be able to do, with all that it needs to do it.

Each is a record of plain numbers and tensors. Its ``windows`` are the footprints on its inputs, its ``macs`` the
multiply-accumulates of one output position. What it computes is written down, in torch, in ``backends/reference.py``.
Feature maps are canonical, [1, C, h, w]; ``Global`` alone works on tensors of any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Union

import torch
from torch import Tensor

from dedelayed_ros.sparse import geometry
from dedelayed_ros.sparse.geometry import Window
from dedelayed_ros.sparse.layout import Layout

Size = tuple[int, int]
Sides = tuple[Size, Size]  # (top, bottom), (left, right)


def _per_axis(make: Callable[[int], geometry.AxisMap]) -> tuple[Window, ...]:
    return (Window(make(0), make(1)),)


@dataclass(frozen=True)
class Unary:
    """A function of one number, applied to every element after an operation: ``target(x, *args, **kwargs)``."""

    target: Callable[..., Tensor]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.target)


@dataclass(frozen=True)
class Addend:
    """Input ``number`` of the node, on its grid and with its channels, added to the values of an operation.

    What a sum is of is not kept by itself then: of the two maps that a model adds, one is only ever seen in the sum.
    """

    number: int


def addend_of(epilogue: Iterable[Unary | Addend]) -> int | None:
    """Which input of its node an epilogue adds, if any."""
    return next((step.number for step in epilogue if isinstance(step, Addend)), None)


class Op:
    """Base of the operations."""

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        """Footprint on each input. ``sizes`` are the grids (h, w) of the inputs, ``out`` that of the output."""
        raise NotImplementedError

    def macs(self) -> float:
        """Multiply-accumulates of one output position."""
        return 0.0


@dataclass(frozen=True, eq=False)
class Input(Op):
    """A picture or feature map that the caller gives.

    levels: it is given as whole numbers 0–255 (uint8), as cameras do, and the model sees a 255th of them.
    """

    levels: bool = False

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return ()


@dataclass(frozen=True, eq=False)
class Conv(Op):
    """Convolution. weight [O, I/groups, kh, kw]; padding with zeros, a number for each of the four sides."""

    weight: Tensor
    bias: Tensor | None
    stride: Size
    padding: Sides
    dilation: Size
    groups: int

    def output_size(self, size: Size) -> Size:
        spans = [self.dilation[a] * (self.weight.shape[2 + a] - 1) + 1 for a in (0, 1)]
        rows, cols = ((size[a] + sum(self.padding[a]) - spans[a]) // self.stride[a] + 1 for a in (0, 1))
        return rows, cols

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        kernel = self.weight.shape[2:]
        return _per_axis(
            lambda a: geometry.sliding(
                sizes[0][a], out[a], kernel[a], self.stride[a], self.dilation[a], self.padding[a][0]
            )
        )

    def macs(self) -> float:
        return float(self.weight.numel())


@dataclass(frozen=True, eq=False)
class TransposedConv(Op):
    """Transposed convolution. weight [I, O/groups, kh, kw]."""

    weight: Tensor
    bias: Tensor | None
    stride: Size
    padding: Size
    output_padding: Size
    dilation: Size
    groups: int

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        kernel = self.weight.shape[2:]
        return _per_axis(
            lambda a: geometry.transposed(
                sizes[0][a], out[a], kernel[a], self.stride[a], self.dilation[a], self.padding[a]
            )
        )

    def macs(self) -> float:
        return self.weight.numel() / (self.stride[0] * self.stride[1])


@dataclass(frozen=True, eq=False)
class MaxPool(Op):
    """Maximum over a window; padding never wins. ``ceil``: the last window may hang over the border."""

    kernel: Size
    stride: Size
    padding: Size
    dilation: Size
    ceil: bool

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(
            lambda a: geometry.sliding(
                sizes[0][a], out[a], self.kernel[a], self.stride[a], self.dilation[a], self.padding[a]
            )
        )


@dataclass(frozen=True, eq=False)
class AvgPool(Op):
    """Mean over a window. ``count_padding``: padding counts as zeros; ``divisor`` replaces the window's size."""

    kernel: Size
    stride: Size
    padding: Size
    ceil: bool
    count_padding: bool
    divisor: int | None

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(
            lambda a: geometry.sliding(sizes[0][a], out[a], self.kernel[a], self.stride[a], 1, self.padding[a])
        )


@dataclass(frozen=True, eq=False)
class AdaptivePool(Op):
    """Pooling to ``size``; kind is 'avg' or 'max'. To (1, 1) it is a global operation."""

    size: Size
    kind: str

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(lambda a: geometry.adaptive(sizes[0][a], self.size[a]))


@dataclass(frozen=True, eq=False)
class Reduce(Op):
    """A reduction over whole rows, whole columns or both: ``target(x, dims, True)`` (mean, sum, amax, …)."""

    target: Callable[..., Tensor]
    rows: bool
    cols: bool

    @property
    def dims(self) -> list[int]:
        return [-2] * self.rows + [-1] * self.cols

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        reduced = (self.rows, self.cols)
        return _per_axis(lambda a: geometry.everything(sizes[0][a]) if reduced[a] else geometry.identity(sizes[0][a]))


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """Linear, separable resampling: ``target(x, size, *flags, scales)``, one of torch's ``upsample_*2d.vec``.

    size: (h, w) of the output. ``scales``: factors for rows and columns where the model gave these instead of a size.
    """

    target: Callable[..., Tensor]
    size: Size
    flags: tuple[bool, ...]
    scales: tuple[float, float] | None

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(lambda a: geometry.interpolated(self.matrix(sizes[0], a)))

    def apply(self, x: Tensor, size: Size, scales: tuple[float, float] | None) -> Tensor:
        return self.target(x, None if scales else size, *self.flags, scales)

    def matrix(self, size: Size, axis: int) -> Tensor:  # float32 [out, in]
        """Weights along one axis, found by resampling one-hot lines."""
        n = size[axis]
        # Two equal lines, not one: torch resamples a single column with antialiasing wrongly.
        lines = torch.eye(n).reshape((n, 1, n, 1) if axis == 0 else (n, 1, 1, n))
        lines = torch.cat([lines, lines], 3 - axis)
        goal = (self.size[0], 2) if axis == 0 else (2, self.size[1])
        scales = self.scales and ((self.scales[0], 1.0) if axis == 0 else (1.0, self.scales[1]))
        return self.apply(lines, goal, scales).select(3 - axis, 0).reshape(n, self.size[axis]).T


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """F.pad: amounts for the four sides (negative ones crop), mode 'constant', 'reflect', 'replicate' or 'circular'."""

    padding: Sides
    mode: str
    value: float

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(lambda a: geometry.padded(sizes[0][a], *self.padding[a], self.mode))


@dataclass(frozen=True, eq=False)
class Crop(Op):
    """Rows and columns taken out: every ``step``-th from ``start``."""

    start: Size
    step: Size
    size: Size

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(
            lambda a: geometry.selected(self.start[a] + self.step[a] * torch.arange(self.size[a]), sizes[0][a])
        )


@dataclass(frozen=True, eq=False)
class Shuffle(Op):
    """Pixel shuffle (``up``): channels to positions; or its inverse."""

    factor: int
    up: bool

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        if self.up:
            return _per_axis(lambda a: geometry.shuffled(sizes[0][a], self.factor))
        return _per_axis(lambda a: geometry.sliding(sizes[0][a], out[a], self.factor, self.factor, 1, 0))


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Channels of all inputs, one after the other."""

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return tuple(_pointwise(size, out, False) for size in sizes)


@dataclass(frozen=True, eq=False)
class Gather(Op):
    """Channels picked and reordered: split, slice, shuffle. index int64 [C]."""

    index: Tensor

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return (_pointwise(sizes[0], out, False),)


@dataclass(frozen=True)
class Slot:
    """Where an argument of a Pointwise or Global operation comes from: input ``number``, read in ``layout``.

    layout None: the tensor as it is (the output of a Global operation).
    """

    number: int
    layout: Layout | None


Argument = Union[Slot, Tensor, None, bool, int, float, str, 'list[Any]', torch.dtype]


@dataclass(frozen=True, eq=False)
class Pointwise(Op):
    """A torch function whose output at a position depends on its inputs at that position only.

    It may mix channels (layer norm, softmax over classes, per-head linear). Inputs of one cell broadcast. ``fixed``: it
    depends on where it is (a constant that varies over the picture). ``result`` is the layout that it returns.
    """

    target: Callable[..., Any]
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]
    result: Layout
    fixed: bool = False
    cost: float = 0.0

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return tuple(_pointwise(size, out, self.fixed) for size in sizes)

    def macs(self) -> float:
        return self.cost


@dataclass(frozen=True, eq=False)
class Global(Op):
    """A torch function of everything: attention, a norm over the picture, or a dense island. Any dirty → all dirty.

    item: which of several results is meant, or None. ``cost``: multiply-accumulates of the whole operation.
    """

    target: Callable[..., Any]
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]
    item: int | None = None
    cost: float = 0.0

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return tuple(Window(geometry.everything(size[0]), geometry.everything(size[1])) for size in sizes)

    def macs(self) -> float:
        return self.cost


@dataclass(frozen=True, eq=False)
class Spread(Op):
    """A feature map again, from the tensor that a Global operation gave. Each position is a part of its own."""

    layout: Layout

    def windows(self, sizes: list[Size], out: Size) -> tuple[Window, ...]:
        return _per_axis(lambda a: geometry.broadcast(out[a], fixed=True))


def _pointwise(size: Size, out: Size, fixed: bool) -> Window:
    axes = [
        geometry.identity(out[a], fixed) if size[a] == out[a] else geometry.broadcast(out[a], fixed) for a in (0, 1)
    ]
    return Window(axes[0], axes[1])
