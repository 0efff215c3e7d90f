"""Where the outputs of an operation look: grids, taps of one axis, and sets carried through them.

Every operation that the engine knows is separable in space: the input rows that an output row reads do not depend on
its column. So two small tables (``AxisMap``), one an axis, say everything: which inputs an output reads (its *taps*),
where it reads padding, and which outputs are computed in the same way as each other (their *phase*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = -1  # a tap that reads padding
ABSENT = -2  # no tap: this output has fewer taps than others

Stride = Fraction  # frame pixels a cell, along one axis


@dataclass(frozen=True)
class Grid:
    """The positions of one feature map.

    size:   (h, w) cells.
    stride: cumulative stride (rows, columns): frame pixels that a cell covers. None on an axis that has been reduced
            to one cell (global pooling): what lives there has no place and does not move.
    """

    size: tuple[int, int]
    stride: tuple[Stride | None, Stride | None]

    @property
    def cells(self) -> int:
        return self.size[0] * self.size[1]


POINT = Grid((1, 1), (None, None))  # one vector for the whole picture


class AxisMap:
    """Which inputs each output reads along one axis.

    taps:    int64 [out, K] input index, PADDING or ABSENT; column k is the same weight for every output, except as the
             phase says.
    inside:  bool [out], no tap reads padding.
    tapped:  bool [out], at least one tap reads an input.
    base:    int64 [out], the first input that is read (0 where none is).
    phase:   int64 [out]. Outputs p and p' of the same phase use the same weights on taps that differ only by
             base[p] − base[p']: what makes reuse at a displacement possible.
    fixed:   no output is computed as any other one is.
    """

    def __init__(self, taps: Tensor, size_in: int, weights: Tensor | None = None, fixed: bool = False) -> None:
        """``weights`` [out, n] tell apart outputs with equal taps; ``fixed``: every output is of its own kind."""
        self.taps = taps
        self.size_in = size_in
        self.size_out = taps.shape[0]
        self.fixed = fixed
        real = taps >= 0
        self.inside = ~(taps == PADDING).any(1)
        self.tapped = real.any(1)
        first = real.to(torch.int64).argmax(1, keepdim=True)
        self.base = torch.where(self.tapped, taps.gather(1, first)[:, 0], 0)
        pattern = torch.where(real, taps - self.base[:, None], taps - 2 * size_in - 2).to(torch.float64)
        if weights is not None:
            pattern = torch.cat([pattern, weights.to(torch.float64)], 1)
        if fixed:
            pattern = torch.arange(self.size_out, dtype=torch.float64)[:, None]
        self.phase = torch.unique(pattern, dim=0, return_inverse=True)[1]
        identity = self.size_out == size_in and taps.shape[1] == 1
        self.is_point = identity and bool((taps[:, 0] == torch.arange(size_in)).all())

    def reads(self) -> Tensor:  # float32 [out, in]
        """1 where an output reads an input."""
        table = torch.zeros(self.size_out, self.size_in + 1)
        table.scatter_(1, torch.where(self.taps >= 0, self.taps, self.size_in), 1.0)
        return table[:, : self.size_in]

    def reduce(
        self, values: Tensor, dim: int, neutral: int | bool, function: Callable[[Tensor, int], Tensor]
    ) -> Tensor:
        """Reduce ``values`` over the inputs that each output reads, along ``dim``; other taps count as ``neutral``."""
        if self.is_point:
            return values
        border = list(values.shape)
        border[dim] = 1
        extended = torch.cat([values, values.new_full(border, neutral)], dim)
        index = torch.where(self.taps >= 0, self.taps, self.size_in)
        shape = (*values.shape[:dim], self.size_out, self.taps.shape[1], *values.shape[dim + 1 :])
        return function(extended.index_select(dim, index.reshape(-1)).reshape(shape), dim + 1)


@dataclass(frozen=True)
class Window:
    """The footprint of an operation on one of its inputs: its rows and its columns."""

    rows: AxisMap
    cols: AxisMap

    @property
    def axes(self) -> tuple[AxisMap, AxisMap]:
        return self.rows, self.cols

    @property
    def is_point(self) -> bool:
        """Whether each output reads the one input at its own position."""
        return self.rows.is_point and self.cols.is_point

    @property
    def tapped(self) -> Tensor:  # bool [h, w]
        """Outputs that read at least one input; the others see padding only."""
        return self.rows.tapped[:, None] & self.cols.tapped[None, :]

    def dilate(self, mask: Tensor) -> Tensor:  # bool [..., h, w] -> bool [..., h', w']
        """Outputs that read at least one input of the set."""
        return self._reduce(mask, False, lambda x, dim: x.any(dim))

    def read_by(self, outputs: Tensor) -> Tensor:  # bool [h', w'] -> bool [h, w]
        """Inputs that at least one output of the set reads."""
        rows, cols = (axis.reads() for axis in self.axes)
        return rows.T @ outputs.float() @ cols > 0

    def lowest(self, values: Tensor) -> Tensor:  # int64 [..., h, w] -> int64 [..., h', w']
        """The least value that each output reads."""
        return self._reduce(values, torch.iinfo(torch.int64).max, lambda x, dim: x.amin(dim))

    def highest(self, values: Tensor) -> Tensor:  # int64 [..., h, w] -> int64 [..., h', w']
        """The greatest value that each output reads."""
        return self._reduce(values, torch.iinfo(torch.int64).min, lambda x, dim: x.amax(dim))

    def total(self, values: Tensor) -> Tensor:  # int64 [..., h, w] -> int64 [..., h', w']
        """The sum of what each output reads."""
        return self._reduce(values, 0, lambda x, dim: x.sum(dim))

    def _reduce(self, values: Tensor, neutral: int | bool, function: Callable[[Tensor, int], Tensor]) -> Tensor:
        rows = self.rows.reduce(values, values.ndim - 2, neutral, function)
        return self.cols.reduce(rows, values.ndim - 1, neutral, function)


def identity(size: int, fixed: bool = False) -> AxisMap:
    """Each output reads its own input. ``fixed``: the operation depends on where it is (a position embedding)."""
    return AxisMap(torch.arange(size)[:, None], size, fixed=fixed)


def broadcast(size_out: int, fixed: bool = False) -> AxisMap:
    """Every output reads the only input."""
    return AxisMap(torch.zeros(size_out, 1, dtype=torch.int64), 1, fixed=fixed)


def everything(size_in: int) -> AxisMap:
    """One output reads every input."""
    return AxisMap(torch.arange(size_in)[None, :], size_in)


def sliding(size_in: int, size_out: int, kernel: int, stride: int, dilation: int, before: int) -> AxisMap:
    """Convolution and pooling: output p reads inputs p·stride − before + k·dilation, k < kernel."""
    start = torch.arange(size_out)[:, None] * stride - before
    return AxisMap(_in_frame(start + torch.arange(kernel)[None, :] * dilation, size_in), size_in)


def transposed(size_in: int, size_out: int, kernel: int, stride: int, dilation: int, before: int) -> AxisMap:
    """Transposed convolution: output p reads input (p + before − k·dilation) / stride for the k where that is whole."""
    reach = torch.arange(size_out)[:, None] + before - torch.arange(kernel)[None, :] * dilation
    index = _in_frame(torch.div(reach, stride, rounding_mode='floor'), size_in)
    return AxisMap(torch.where(reach % stride == 0, index, ABSENT), size_in)


def adaptive(size_in: int, size_out: int) -> AxisMap:
    """Adaptive pooling: output p reads inputs from floor(p·in/out) to ceil((p + 1)·in/out)."""
    ranges = [(p * size_in // size_out, -(-(p + 1) * size_in // size_out)) for p in range(size_out)]
    return spans(ranges, size_in)


def spans(ranges: Sequence[tuple[int, int]], size_in: int) -> AxisMap:
    """Output p reads the inputs of the half-open range p."""
    widest = max(stop - start for start, stop in ranges)
    start = torch.tensor([r[0] for r in ranges])[:, None]
    stop = torch.tensor([r[1] for r in ranges])[:, None]
    taps = start + torch.arange(widest)[None, :]
    return AxisMap(torch.where(taps < stop, taps, ABSENT), size_in)


def padded(size_in: int, before: int, after: int, mode: str) -> AxisMap:
    """F.pad along one axis (negative amounts crop): the index table is what the padding does to the row of indices."""
    row = torch.arange(size_in, dtype=torch.float64)[None, None, :]
    result = (
        F.pad(row, (before, after), mode=mode, value=PADDING)
        if mode == 'constant'
        else F.pad(row, (before, after), mode)
    )
    return AxisMap(result[0, 0].to(torch.int64)[:, None], size_in)


def selected(index: Tensor, size_in: int) -> AxisMap:
    """Output p reads input index[p] (a crop, or every second row)."""
    return AxisMap(index[:, None], size_in)


def shuffled(size_in: int, factor: int) -> AxisMap:
    """Pixel shuffle: output p reads input p // factor, with other channels for each p % factor."""
    out = torch.arange(size_in * factor)
    taps = torch.full((size_in * factor, factor), ABSENT)
    taps[out, out % factor] = out // factor
    return AxisMap(taps, size_in)


def interpolated(matrix: Tensor) -> AxisMap:
    """Resampling given by its matrix [out, in]: taps are the non-zero entries, the phase their weights."""
    reads = matrix != 0
    width = int(reads.sum(1).max())
    # A stable sort brings the columns that are read to the front, in their order.
    order = torch.sort((~reads).to(torch.int8), dim=1, stable=True).indices[:, :width]
    used = reads.gather(1, order)
    weights = torch.where(used, matrix.gather(1, order), torch.zeros((), dtype=matrix.dtype))
    return AxisMap(torch.where(used, order, ABSENT), matrix.shape[1], weights)


def _in_frame(index: Tensor, size: int) -> Tensor:
    return torch.where((index >= 0) & (index < size), index, PADDING)
