"""Displacements on the emulated kernels are those of sparse/motion.py and MotionField, for any field and grid."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from emulated import THREADS, launch
from records_of import Kept, axis_record, grid_record, keys_of
from sparse_scenes import field as random_field
from sparse_scenes import shift

from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import motion as moving
from dedelayed_ros.sparse.backends.cuda import records
from dedelayed_ros.sparse.geometry import Grid, Window, adaptive, sliding
from dedelayed_ros.sparse.motion import FrameMotion

FRAME = (40, 56)
GRIDS = {
    'pixels': Grid(FRAME, (Fraction(1), Fraction(1))),
    'four': Grid((10, 14), (Fraction(4), Fraction(4))),
    'eight by four': Grid((5, 14), (Fraction(8), Fraction(4))),
    'ragged': Grid((5, 7), (Fraction(9), Fraction(8))),
    'thirds': Grid((30, 42), (Fraction(4, 3), Fraction(4, 3))),
    'halves': Grid((80, 112), (Fraction(1, 2), Fraction(1, 2))),
    'one row': Grid((1, 14), (None, Fraction(4))),
}


def field(seed: int) -> MotionField:
    rng = np.random.default_rng(seed)
    return random_field(rng, FRAME, int(rng.choice([8, 16])))


def launched(name: str, slot: np.ndarray, kept: Kept, motion: MotionField | None, order: str) -> None:
    arguments = [slot, np.int32(0)]
    if motion is not None:
        record = np.zeros(1, records.FIELD)
        record['vectors'], record['valid'] = kept(motion.qpel.astype(np.int16)), kept(motion.valid.astype(np.uint8))
        record['rows'], record['cols'] = motion.valid.shape
        record['block'], record['frame_height'], record['frame_width'] = motion.block, *FRAME
        arguments = [record, *arguments]
    launch(name, (2,), THREADS, arguments, order)


@pytest.mark.parametrize('name', GRIDS)
def test_exact(name, order):
    for motion in (*map(field, range(4)), shift(FRAME, 0.5, -1.5), shift(FRAME, 8, 4)):
        assert_exact(name, motion, order)


def assert_exact(name, motion, order):
    kept, grid = Kept(), GRIDS[name]
    slot = grid_record(grid, kept)
    launched('exact', slot, kept, motion, order)
    wanted = FrameMotion(motion, FRAME, {}).exact(grid)
    np.testing.assert_array_equal(kept.array(slot['key'][0]), keys_of(wanted).ravel())


@pytest.mark.parametrize('name', GRIDS)
@pytest.mark.parametrize('tolerances', [None, (0.25, 0.0), (0.5, 0.6)])
def test_carried_and_tolerant(name, tolerances, order):
    for seed in range(4):
        assert_carried(name, seed, tolerances, order)


def assert_carried(name, seed, tolerances, order):
    kept, grid, motion = Kept(), GRIDS[name], field(seed)
    remainder = torch.randint(-9, 10, (2, *grid.size), generator=torch.Generator().manual_seed(seed))
    for axis, stride in enumerate(grid.stride):
        if stride is None:
            remainder[axis] = 0
    slot = grid_record(grid, kept, remainder)
    frame = FrameMotion(motion, FRAME, {})
    if tolerances is None:
        launched('carried', slot, kept, motion, order)
        wanted, rest = moving.carried(frame, grid, remainder)
    else:
        quarters = [4 * float(stride) if stride else 0.0 for stride in grid.stride]
        slot['share'], slot['spread'] = ([part * q for q in quarters] for part in tolerances)
        launched('tolerant', slot, kept, motion, order)
        wanted, rest = moving.tolerant(frame, grid, remainder, *tolerances)
    np.testing.assert_array_equal(kept.array(slot['key'][0]), keys_of(wanted).ravel())
    got = kept.array(slot['rest'][0]).reshape(2, *grid.size)
    # Where there is no cached value, what remains of it means nothing.
    np.testing.assert_array_equal(np.where(wanted.valid, got, 0), torch.where(wanted.valid, rest, 0).numpy())


def test_propagated(order):
    for seed in range(6):
        assert_propagated(seed, order)


def assert_propagated(seed, order):
    kept, old = Kept(), GRIDS['four']
    source = FrameMotion(field(seed), FRAME, {}).sampled(old)
    if seed % 2:
        new = Grid((5, 7), (Fraction(8), Fraction(8)))
        window = Window(sliding(10, 5, 3, 2, 1, 1), sliding(14, 7, 3, 2, 1, 1))
    else:
        new = Grid((20, 28), (Fraction(2), Fraction(2)))
        window = Window(adaptive(10, 20), adaptive(14, 28))
    slot = grid_record(new, kept)
    slot['source'] = kept(keys_of(source))
    slot['rows'], slot['cols'] = (axis_record(axis, kept) for axis in window.axes)
    ratios = [a / b for a, b in zip(old.stride, new.stride, strict=True)]
    slot['ratio_num'], slot['ratio_den'] = [r.numerator for r in ratios], [r.denominator for r in ratios]
    launched('propagated', slot, kept, None, order)
    wanted = moving.propagated(window, source, old, new)
    np.testing.assert_array_equal(kept.array(slot['key'][0]), keys_of(wanted).ravel())


@pytest.mark.parametrize('name', GRIDS)
def test_ranges(name, order):
    kept, grid, motion = Kept(), GRIDS[name], field(7)
    cells = np.zeros(1, records.CELLS)
    found = np.zeros(grid.cells, records.RANGE)
    cells['range'], cells['height'], cells['width'] = kept(found), *grid.size
    cells['num'], cells['den'] = zip(*(s.as_integer_ratio() if s else (0, 0) for s in grid.stride), strict=True)
    launched('ranges', cells, kept, motion, order)
    wanted = FrameMotion(motion, FRAME, {}).on(grid)
    np.testing.assert_array_equal(found['low'].T, wanted.low.reshape(2, -1).numpy())
    np.testing.assert_array_equal(found['high'].T, wanted.high.reshape(2, -1).numpy())


@pytest.mark.parametrize('size', [(40, 56), (33, 50), (16, 16)])
@pytest.mark.parametrize('block', [8, 16])
def test_compose(size, block, order):
    rng = np.random.default_rng(sum(size) + block)
    for _ in range(5):
        older, newer = (random_field(rng, size, block) for _ in range(2))
        vectors, valid = np.empty_like(newer.qpel), np.empty(newer.valid.shape, np.uint8)
        arrays = [older.qpel, older.valid.astype(np.uint8), newer.qpel, newer.valid.astype(np.uint8), vectors, valid]
        launch('compose', (1,), THREADS, [*arrays, *map(np.int32, (*size, block))], order)
        wanted = older.compose(newer)
        np.testing.assert_array_equal(valid.astype(bool), wanted.valid)
        np.testing.assert_array_equal(vectors[wanted.valid], wanted.qpel[wanted.valid])


def test_strays(order):
    """Every position that has a cached value elsewhere than most, once."""
    kept, grid = Kept(), GRIDS['pixels']
    choices = [records.to_key(-2, 3), records.to_key(0, 0), records.to_key(1, -1), records.NOWHERE]
    keys = np.random.default_rng(3).choice(np.array(choices, np.int32), grid.cells)
    slot = grid_record(grid, kept)
    slot['key'], slot['main'] = kept(keys), records.to_key(-2, 3)
    listed, count = np.full(grid.cells, -1, np.int32), np.zeros(1, np.uint32)
    slot['strays'], slot['stray_count'] = kept(listed), kept(count)
    launched('strays', slot, kept, None, order)
    wanted = np.flatnonzero((keys != records.NOWHERE) & (keys != records.to_key(-2, 3)))
    np.testing.assert_array_equal(np.sort(listed[: count[0]]), wanted)
