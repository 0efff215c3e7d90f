"""Where the cached value of each position is: motion of the frame, brought to the grid of a feature map.

Units: vectors are in quarter pixels of the frame (as MotionField keeps them), displacements in whole cells of a grid. A
position p of a grid with displacement d finds its cached value at p − d.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.geometry import Grid, Stride, Window, spans

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

QPEL = 4  # quarter pixels a pixel


@dataclass(frozen=True)
class Displacement:
    """Whole cells by which each position of a grid moved.

    cells: int64 [2, h, w], rows then columns.
    valid: bool [h, w], there is one displacement for the cell and its source lies in the grid.
    still: nothing moves, and everything is valid.
    """

    cells: Tensor
    valid: Tensor
    still: bool = False

    @property
    def sources(self) -> Tensor:  # int64 [h, w]
        """Index of each position's source in the flattened grid (of any position, where there is none)."""
        size = self.valid.shape
        rows, cols = (p.clamp(0, n - 1) for p, n in zip(_positions(size, self.cells), size, strict=True))
        return rows * size[1] + cols


@dataclass(frozen=True)
class CellMotion:
    """Vectors of the frame that a grid's cells cover, in quarter pixels.

    low, high: int64 [2, h, w], the least and the greatest component in each cell.
    centre:    int64 [2, h, w], the vector at the cell's centre.
    valid:     bool [h, w], all vectors in the cell are valid; ``centre_valid`` the one at its centre is.
    """

    low: Tensor
    high: Tensor
    centre: Tensor
    valid: Tensor
    centre_valid: Tensor


class FrameMotion:
    """A motion field, brought to the grids of a plan; each grid is worked out once a frame.

    field: MotionField of the frame's size, or None where nothing is known of the motion.
    """

    def __init__(
        self, field: MotionField | None, frame: tuple[int, int], covers: dict[tuple[Grid, int], Cover]
    ) -> None:
        """``covers`` keeps what does not change from frame to frame."""
        if field is not None and tuple(field.size) != tuple(frame):
            raise InputError(
                f'motion is given for a frame of {tuple(field.size)}, the model runs on {tuple(frame)}: use '
                f'motion.resized({tuple(frame)})'
            )
        self.frame = frame
        self.known = field is not None
        self.still = False
        self._covers = covers
        self._cells: dict[Grid, CellMotion] = {}
        self._exact: dict[Grid, Displacement] = {}
        if field is not None:
            self._block = field.block
            # torch cannot borrow a read-only array, and the field is small.
            self._vectors = torch.from_numpy(field.qpel.astype('int64')).permute(2, 0, 1).flip(0).contiguous()
            self._valid = torch.from_numpy(field.valid.copy())
            self.still = bool(self._valid.all()) and not bool(self._vectors.any())

    @classmethod
    def at_rest(cls, frame: tuple[int, int]) -> FrameMotion:
        """Nothing moved."""
        motion = cls(None, frame, {})
        motion.known = motion.still = True
        return motion

    def on(self, grid: Grid) -> CellMotion:
        """Vectors under each cell of a grid."""
        if grid not in self._cells:
            self._cells[grid] = self._cover(grid)
        return self._cells[grid]

    def exact(self, grid: Grid) -> Displacement:
        """Displacement of the cells in which all vectors are the same, whole pixels, and divisible by the stride.

        It is invalid elsewhere, and where the source is outside of the grid.
        """
        if grid not in self._exact:
            self._exact[grid] = self._find_exact(grid)
        return self._exact[grid]

    def sampled(self, grid: Grid) -> Displacement:
        """Displacement by the vector at each cell's centre, rounded half away from zero."""
        if self.still or grid.cells == 1:
            return unmoved(grid)
        motion = self.on(grid)
        return displacement(in_cells(motion.centre, grid), motion.centre_valid)

    def mean(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Displacement by the mean of the vectors under each cell, and whether all of them are valid.

        float32 [2, h, w] in cells, parts of a cell among them; 0 on an axis without positions. bool [h, w].
        """
        displaced = torch.zeros(2, *grid.size)
        if self.still or grid.cells == 1:
            return displaced, torch.ones(grid.size, dtype=torch.bool)
        window = self._covering(grid).window
        counts = window.total(torch.ones_like(self._vectors[:1]))[0]
        totals = window.total(self._vectors)
        for axis, stride in enumerate(grid.stride):
            if stride is not None:
                whole = (counts * QPEL * stride.numerator).float()
                displaced[axis] = (totals[axis] * stride.denominator).float() / whole
        return displaced, ~window.dilate(~self._valid)

    def sources(self, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the content of pixels was: pixel rows, columns (rounded down) and whether that is known.

        rows, cols: int64, pixels of the frame, broadcast together.
        """
        rows, cols = torch.broadcast_tensors(rows, cols)
        if self.still:
            return rows, cols, torch.ones(rows.shape, dtype=torch.bool)
        r, c = rows // self._block, cols // self._block
        found = [
            torch.div(QPEL * p - self._vectors[axis][r, c], QPEL, rounding_mode='floor')
            for axis, p in enumerate((rows, cols))
        ]
        return found[0], found[1], self._valid[r, c]

    def _find_exact(self, grid: Grid) -> Displacement:
        if self.still or grid.cells == 1:
            return unmoved(grid)
        motion = self.on(grid)
        valid = motion.valid
        cells = torch.zeros_like(motion.low)
        for axis, stride in enumerate(grid.stride):
            if stride is None:
                continue  # what has been reduced along this axis does not move along it, whatever the vectors are
            scaled, cell = motion.low[axis] * stride.denominator, QPEL * stride.numerator
            valid = valid & (motion.low[axis] == motion.high[axis])
            valid = valid & (scaled % cell == 0) & (motion.low[axis] % QPEL == 0)
            cells[axis] = torch.div(scaled, cell, rounding_mode='floor')
        return displacement(cells, valid)

    def _cover(self, grid: Grid) -> CellMotion:
        cover = self._covering(grid)
        rows, cols = cover.centres
        return CellMotion(
            low=cover.window.lowest(self._vectors),
            high=cover.window.highest(self._vectors),
            centre=self._vectors[:, rows, cols],
            valid=~cover.window.dilate(~self._valid),
            centre_valid=self._valid[rows, cols],
        )

    def _covering(self, grid: Grid) -> Cover:
        cover = self._covers.get((grid, self._block))
        if cover is None:
            cover = self._covers[grid, self._block] = Cover(grid, self._block, self.frame)
        return cover


class Cover:
    """Which blocks of a motion field lie under each cell of a grid, and which one under its centre."""

    def __init__(self, grid: Grid, block: int, frame: tuple[int, int]) -> None:
        axes, centres = [], []
        for axis in (0, 1):
            pixels = [pixels_under(p, grid.stride[axis], frame[axis]) for p in range(grid.size[axis])]
            axes.append(spans([(a // block, -(-b // block)) for a, b in pixels], -(-frame[axis] // block)))
            centres.append(torch.tensor([(a + b) // 2 // block for a, b in pixels]))
        self.window = Window(axes[0], axes[1])
        self.centres = centres[0][:, None], centres[1][None, :]


def unmoved(grid: Grid) -> Displacement:
    """Nothing moved."""
    return Displacement(torch.zeros(2, *grid.size, dtype=torch.int64), torch.ones(grid.size, dtype=torch.bool), True)


def unknown(grid: Grid) -> Displacement:
    """Nothing is known: no position has a cached value."""
    return Displacement(torch.zeros(2, *grid.size, dtype=torch.int64), torch.zeros(grid.size, dtype=torch.bool))


def displacement(cells: Tensor, valid: Tensor) -> Displacement:
    """A displacement; positions whose source is outside of the grid become invalid."""
    size = valid.shape
    for p, n in zip(_positions(size, cells), size, strict=True):
        valid = valid & (p >= 0) & (p < n)
    return Displacement(torch.where(valid, cells, 0), valid)


def in_cells(quarter: Tensor, grid: Grid) -> Tensor:  # int64 [2, h, w] quarter pixels -> int64 [2, h, w] cells
    """Vectors in whole cells of a grid, rounded half away from zero."""
    cells = torch.zeros_like(quarter)
    for axis in (0, 1):
        stride = grid.stride[axis]
        if stride is not None:
            cells[axis] = round_away(quarter[axis] * stride.denominator, QPEL * stride.numerator)
    return cells


def round_away(number: Tensor, divisor: int) -> Tensor:
    """number / divisor, rounded half away from zero."""
    return torch.sign(number) * torch.div(2 * number.abs() + divisor, 2 * divisor, rounding_mode='floor')


def carried(motion: FrameMotion, grid: Grid, remainder: Tensor) -> tuple[Displacement, Tensor]:
    """Displacement by whole cells of content whose position is known more finely than that.

    remainder: int64 [2, h, w] quarter pixels, how far each cached value is behind where it belongs.
    Returns the displacement that brings each position the cached value that belongs nearest to it, valid if that is
    within half a cell, and what then remains. Of two that are equally near, the one that moves as the vector says is
    taken: content at rest must not jump to and fro.
    """
    if motion.still and not remainder.any():
        return unmoved(grid), remainder
    cells = motion.on(grid)
    start = in_cells(cells.centre, grid)
    best = torch.full(grid.size, 0.5, dtype=torch.float64)
    moved, rest = torch.zeros_like(start), torch.zeros_like(start)
    valid = torch.zeros(grid.size, dtype=torch.bool)
    for rows, cols in _NEIGHBOURS:
        tried = displacement(start + torch.tensor([rows, cols]).reshape(2, 1, 1), cells.centre_valid)
        left, distance = _remaining(cells.centre, remainder, tried, grid)
        better = tried.valid & ((distance < best) | (~valid & (distance == best)))
        best = torch.where(better, distance, best)
        moved, rest = torch.where(better, tried.cells, moved), torch.where(better, left, rest)
        valid = valid | better
    return Displacement(moved, valid), rest


_NEIGHBOURS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def _remaining(vector: Tensor, remainder: Tensor, moved: Displacement, grid: Grid) -> tuple[Tensor, Tensor]:
    """What is left of vector and remainder after moving, in quarter pixels; and the longer component, in cells."""
    total = vector + remainder.reshape(2, -1)[:, moved.sources.reshape(-1)].reshape(remainder.shape)
    left = torch.zeros_like(total)
    distance = torch.zeros(grid.size, dtype=torch.float64)
    for axis, stride in enumerate(grid.stride):
        if stride is not None:
            # Exact for strides that are whole numbers of pixels; else less than a quarter pixel is dropped.
            scaled = total[axis] * stride.denominator - moved.cells[axis] * QPEL * stride.numerator
            left[axis] = torch.div(scaled, stride.denominator, rounding_mode='trunc')
            distance = torch.maximum(distance, scaled.abs() / (QPEL * stride.numerator))
    return left, distance


def tolerant(
    motion: FrameMotion, grid: Grid, remainder: Tensor, share: float, spread: float
) -> tuple[Displacement, Tensor]:
    """As ``carried``, valid only where the remainder is at most ``share`` and vectors in a cell agree to ``spread``.

    Both are in cells of the grid.
    """
    moved, rest = carried(motion, grid, remainder)
    if moved.still:
        return moved, rest
    cells = motion.on(grid)
    valid = moved.valid & cells.valid
    for axis, stride in enumerate(grid.stride):
        if stride is not None:
            cell = QPEL * float(stride)
            valid = valid & (rest[axis].abs() <= share * cell)
            valid = valid & (cells.high[axis] - cells.low[axis] <= spread * cell)
    return Displacement(torch.where(valid, moved.cells, 0), valid), rest


def propagated(window: Window, source: Displacement, old: Grid, new: Grid) -> Displacement:
    """Displacement of what is computed from a carried input alone: that of the first value it reads, in its own cells.

    ``window`` is the footprint on the input, whose grid is ``old``. Invalid where it is not whole cells of ``new``.
    """
    if source.still:
        return unmoved(new)
    rows, cols = window.rows.base[:, None], window.cols.base[None, :]
    valid = source.valid[rows, cols] & window.tapped
    cells = source.cells[:, rows, cols].clone()
    for axis, (a, b) in enumerate(zip(old.stride, new.stride, strict=True)):
        ratio = a / b if a and b else Fraction(0)
        valid = valid & (cells[axis] * ratio.numerator % ratio.denominator == 0)
        cells[axis] = torch.div(cells[axis] * ratio.numerator, ratio.denominator, rounding_mode='floor')
    return displacement(cells, valid)


def _positions(size: torch.Size, cells: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(size[0])[:, None] - cells[0]
    cols = torch.arange(size[1])[None, :] - cells[1]
    return rows, cols


def pixels_under(p: int, stride: Stride | None, frame: int) -> tuple[int, int]:
    """Half-open range of the frame's pixels under cell p; of the last ones, for a cell over the border."""
    if stride is None:
        return 0, frame
    start = p * stride.numerator // stride.denominator
    stop = -(-(p + 1) * stride.numerator // stride.denominator)
    start = min(max(start, 0), frame - 1)
    return start, min(max(stop, start + 1), frame)
