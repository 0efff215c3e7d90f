"""Motion on the grids of feature maps, against its definition written out cell by cell."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_nets import examples
from sparse_scenes import field, shift

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse.geometry import POINT, Grid
from dedelayed_ros.sparse.motion import FrameMotion, carried, round_away, tolerant


def by_hand(motion, grid, p, q):
    """Displacement of cell (p, q): one vector under it, whole pixels, divisible, source in the grid. None otherwise."""
    vectors = []
    for axis, cell in enumerate((p, q)):
        start, stop = cell * grid.stride[axis], (cell + 1) * grid.stride[axis]
        last = motion.size[axis] - 1
        first = min(int(start), last)
        vectors.append(range(first, max(first + 1, min(last + 1, -(-stop.numerator // stop.denominator)))))
    blocks = {(y // motion.block, x // motion.block) for y in vectors[0] for x in vectors[1]}
    seen = {(*motion.qpel[b].tolist(), bool(motion.valid[b])) for b in blocks}
    if len({s[2] for s in seen}) > 1 or not next(iter(seen))[2] or len(seen) > 1:
        return None
    x, y, _ = next(iter(seen))
    moved = []
    for value, stride, n, cell in ((y, grid.stride[0], grid.size[0], p), (x, grid.stride[1], grid.size[1], q)):
        cells = Fraction(value, 4) / stride
        if value % 4 or cells.denominator != 1 or not 0 <= cell - cells < n:
            return None
        moved.append(int(cells))
    return tuple(moved)


@given(
    st.integers(0, 10**6),
    st.sampled_from([(32, 48), (39, 50), (17, 30)]),
    st.sampled_from(
        [Fraction(1), Fraction(2), Fraction(4), Fraction(8), Fraction(32), Fraction(1, 2), Fraction(16, 15)]
    ),
    st.sampled_from([4, 8, 16]),
)
@examples(40)
def test_exact_displacement(seed, size, stride, block):
    motion = field(np.random.default_rng(seed), size, block)
    cells = tuple(max(2, -(-n * stride.denominator // stride.numerator)) for n in size)
    grid = Grid(cells, (stride, stride))
    found = FrameMotion(motion, size, {}).exact(grid)
    for p in range(0, cells[0], 3):
        for q in range(0, cells[1], 3):
            wanted = by_hand(motion, grid, p, q)
            assert bool(found.valid[p, q]) == (wanted is not None)
            if wanted is not None:
                assert tuple(found.cells[:, p, q].tolist()) == wanted


def test_rounding_is_half_away_from_zero():
    numbers = torch.tensor([-6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6])
    assert round_away(numbers, 4).tolist() == [-2, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2]


def test_a_single_cell_does_not_move():
    moved = FrameMotion(shift((32, 32), 8, 3), (32, 32), {}).exact(POINT)
    assert moved.valid.all() and not moved.cells.any()


def test_a_collapsed_axis_does_not_move():
    grid = Grid((1, 16), (None, Fraction(2)))
    moved = FrameMotion(shift((32, 32), 3, 4), (32, 32), {}).exact(grid)
    assert moved.cells[0].eq(0).all() and moved.cells[1, 0, 4] == 2 and moved.valid[0, 2:].all()


@pytest.mark.parametrize('step', [0.25, 1, 2, 3.25, -1.5])
def test_carrying_by_whole_cells_keeps_the_remainder(step):
    """After any number of steps the remainder says where content belongs, and that is at most half a cell away."""
    size, grid = (256, 16), Grid((32, 2), (Fraction(8), Fraction(8)))
    motion = FrameMotion(shift(size, step, 0), size, {})
    position = torch.arange(32.0)[:, None].expand(32, 2) * 8  # where the content of each cell belongs, in pixels
    remainder = torch.zeros(2, 32, 2, dtype=torch.int64)
    for _ in range(40):
        moved, rest = carried(motion, grid, remainder)
        position = position.reshape(-1)[moved.sources.reshape(-1)].reshape(32, 2) + step
        remainder = torch.where(moved.valid, rest, 0)
        position = torch.where(moved.valid, position, torch.arange(32.0)[:, None] * 8)
        behind = position - torch.arange(32.0)[:, None] * 8
        assert torch.equal(behind, remainder[0] / 4)
        assert behind.abs().max() <= 4


def test_content_at_rest_with_half_a_cell_left_stays():
    size, grid = (64, 64), Grid((8, 8), (Fraction(8), Fraction(8)))
    remainder = torch.full((2, 8, 8), 16)
    for sign in (1, -1):
        moved, rest = carried(FrameMotion(MotionField.identity(size), size, {}), grid, sign * remainder)
        assert not moved.cells.any() and torch.equal(rest, sign * remainder)


def test_tolerance_flags_what_it_does_not_cover():
    size, grid = (64, 64), Grid((8, 8), (Fraction(8), Fraction(8)))
    motion = FrameMotion(shift(size, 2, 0), size, {})
    none = torch.zeros(2, 8, 8, dtype=torch.int64)
    assert tolerant(motion, grid, none, 0.25, 0.0)[0].valid.all()
    assert not tolerant(motion, grid, none, 0.24, 0.0)[0].valid.any()
    mixed = MotionField(size, np.arange(32).reshape(4, 4, 2).astype(np.int16) % 2, block=16)
    assert tolerant(FrameMotion(mixed, size, {}), grid, none, 0.5, 0.0)[0].valid.all()
    wide = Grid((2, 2), (Fraction(32), Fraction(32)))
    none = torch.zeros(2, 2, 2, dtype=torch.int64)
    odd = FrameMotion(MotionField(size, np.array([[[0, 0], [4, 0]] * 2] * 4, np.int16), block=16), size, {})
    assert not tolerant(odd, wide, none, 0.5, 0.0)[0].valid.any()
    assert tolerant(odd, wide, none, 0.5, 1 / 32)[0].valid.all()


def test_motion_of_another_size_is_refused():
    with pytest.raises(InputError, match='resized'):
        FrameMotion(MotionField.identity((32, 32)), (32, 48), {})
