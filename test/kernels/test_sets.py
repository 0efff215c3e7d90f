"""Sets on the emulated kernels are those of sparse/alignment.py and sparse/geometry.py, for all kinds of footprints."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from emulated import THREADS, launch
from records_of import Kept, axis_record, keys_of, packed, unpacked

from dedelayed_ros.sparse.alignment import misaligned, misaligned_within
from dedelayed_ros.sparse.backends.cuda import records
from dedelayed_ros.sparse.geometry import (
    AxisMap,
    Grid,
    Window,
    adaptive,
    everything,
    identity,
    padded,
    sliding,
    transposed,
)
from dedelayed_ros.sparse.motion import CellMotion, displacement

IN = (21, 40)
AXES = {
    'point': lambda n: identity(n),
    'fixed': lambda n: identity(n, fixed=True),
    'three': lambda n: sliding(n, n, 3, 1, 1, 1),
    'strided': lambda n: sliding(n, (n + 1) // 2, 3, 2, 1, 1),
    'dilated': lambda n: sliding(n, n, 3, 1, 3, 3),
    'padding alone': lambda n: sliding(n, n + 6, 1, 1, 1, 3),
    'transposed': lambda n: transposed(n, 2 * n, 4, 2, 1, 1),
    'adaptive': lambda n: adaptive(n, 5),
    'reflected': lambda n: padded(n, 2, 1, 'reflect'),
    'everything': lambda n: everything(n),
}
PAIRS = [(name, name) for name in AXES] + [('everything', 'point'), ('three', 'strided'), ('transposed', 'everything')]


# Cells by which outputs and inputs of a footprint move together, for each step of the motion.
STEPS = {'strided': (1, 2), 'transposed': (2, 1), 'everything': (0, 0), 'adaptive': (0, 0)}


def together(rng, pair):
    """A displacement of the outputs and the one of the inputs that goes with it, rows and columns each."""
    motion = rng.permutation([-1, 1, 2, 0])[:2] * 2
    steps = [STEPS.get(name, (1, 1)) for name in pair]
    return [[int(m) * step[k] for m, step in zip(motion, steps, strict=True)] for k in (0, 1)]


def displacements(rng, size, kind, main):
    """Mostly one displacement, with others, and some positions without one."""
    cells = np.broadcast_to(np.array(main)[:, None, None], (2, *size)).copy()
    if kind == 'parts':
        cells[:, : size[0] // 3] = rng.integers(-2, 3, 2)[:, None, None]
    if kind == 'still':
        cells[:] = 0
    if kind == 'nearly':
        cells += rng.random((2, *size)) < 0.05
    valid = rng.random(size) < (0.99 if kind != 'still' else 1.0)
    return displacement(torch.from_numpy(cells.astype(np.int64)), torch.from_numpy(valid))


def window_of(pair) -> Window:
    axes: list[AxisMap] = [AXES[name](n) for name, n in zip(pair, IN, strict=True)]
    return Window(axes[0], axes[1])


def check_record(kept, out, reaches, size):
    check = np.zeros(1, records.CHECK)
    bad = np.full((size[0], -(-size[1] // 32)), 0xFFFFFFFF, np.uint32)
    check['bad'], check['key'] = kept(bad), kept(keys_of(out))
    check['height'], check['width'], check['reach_count'] = *size, len(reaches)
    reach = np.zeros(len(reaches), records.REACH)
    for record, (window, source) in zip(reach, reaches, strict=True):
        record['rows'], record['cols'] = (axis_record(axis, kept) for axis in window.axes)
        record['key'] = kept(keys_of(source))
    check['reaches'] = kept(reach)
    return check, reach, bad


@pytest.mark.parametrize('pair', PAIRS, ids='/'.join)
@pytest.mark.parametrize('name', ['misaligned', 'misaligned_wide'])
def test_misaligned(pair, name, order):
    for kind in ('one', 'parts', 'still', 'a cell further'):
        assert_misaligned(pair, kind, name, order)


def assert_misaligned(pair, kind, name, order):
    rng = np.random.default_rng(len(pair[0]) + 10 * len(kind))
    window = window_of(pair)
    size = window.rows.size_out, window.cols.size_out
    main, moved = together(rng, pair)
    kept, source = Kept(), displacements(rng, IN, kind, moved)
    further = 1 if kind == 'a cell further' else 0  # where weights differ, that is another phase of them
    out = displacements(rng, size, kind, [m + further for m in main])
    point = Window(*(identity(n) for n in size))
    other = displacements(rng, size, kind, [m + further for m in main])
    check, _, bad = check_record(kept, out, [(window, source), (point, other)], size)
    launch(name, (2,), THREADS, [check, np.int32(0)], order)
    node = SimpleNamespace(windows=(window, point))
    wanted = misaligned(node, out, [source, other]).numpy()
    assert kind != 'a cell further' or pair[0] != 'transposed' or wanted.mean() > 0.9, 'phases have to matter'
    assert kind != 'one' or set(pair) & {'everything', 'fixed'} or not wanted.all(), 'something has to be aligned'
    np.testing.assert_array_equal(unpacked(bad, size[1]), wanted)


@pytest.mark.parametrize('pair', PAIRS, ids='/'.join)
@pytest.mark.parametrize('name', ['misaligned', 'misaligned_wide'])
def test_misaligned_within(pair, name, order):
    rng = np.random.default_rng(len(pair[0]))
    window = window_of(pair)
    size = window.rows.size_out, window.cols.size_out
    kept, spread = Kept(), 0.3
    stride = tuple(None if n == 'everything' else Fraction(4) for n in pair)
    main, moved = together(rng, pair)
    out, source = displacements(rng, size, 'nearly', main), displacements(rng, IN, 'nearly', moved)
    low = torch.from_numpy(rng.integers(-8, -5, (2, *IN)))
    high = low + torch.from_numpy(rng.integers(0, 3, (2, *IN)) * (rng.random((2, *IN)) < 0.2))
    motion = CellMotion(low, high, low, source.valid, source.valid)
    check, reach, bad = check_record(kept, out, [(window, source)], size)
    check['tolerant'], check['placed'] = 1, [s is not None for s in stride]
    check['spread'] = [spread * 4 * float(s) if s else 0.0 for s in stride]
    found = np.zeros(IN, records.RANGE)
    found['low'], found['high'] = low.permute(1, 2, 0), high.permute(1, 2, 0)
    reach['range'] = kept(found)
    launch(name, (1,), THREADS, [check, np.int32(0)], order)
    node = SimpleNamespace(windows=(window,), grid=Grid(size, stride))
    wanted = misaligned_within(node, out, [source], [motion], spread).numpy()
    np.testing.assert_array_equal(unpacked(bad, size[1]), wanted)


@pytest.mark.parametrize('pair', PAIRS, ids='/'.join)
@pytest.mark.parametrize('name', ['candidates', 'candidates_wide'])
def test_candidates(pair, name, order):
    """Footprints spread what is dirty, and flags; the list has every position once, neighbours side by side."""
    for share in (0.0, 0.02, 1.0):
        assert_candidates(pair, name, share, order)


def assert_candidates(pair, name, share, order):
    rng = np.random.default_rng(len(pair[0]))
    window = window_of(pair)
    size = window.rows.size_out, window.cols.size_out
    words = -(-size[1] // 32)
    kept = Kept()
    dirty, flags, bad = rng.random(IN) < share, rng.random(IN) < share / 2, rng.random(size) < share / 4
    sources = np.zeros(1, records.SOURCE)
    sources['dirty'], sources['flags'] = kept(packed(dirty)), kept(packed(flags))
    sources['rows'], sources['cols'] = (axis_record(axis, kept) for axis in window.axes)
    sources['height'], sources['width'] = IN
    layer = np.zeros(1, records.LAYER)
    listed, count = np.full(size[0] * size[1], -1, np.int32), np.zeros(2, np.uint32)
    old, new_flags = (np.full((size[0], words), 0xFFFFFFFF, np.uint32) for _ in range(2))
    ones = packed(bad) if share < 1 else np.full((size[0], words), 0xFFFFFFFF, np.uint32)  # a dense frame's
    layer['dirty'], layer['flags'], layer['bad'] = kept(old), kept(new_flags), kept(ones)
    layer['sources'], layer['source_count'] = kept(sources), 1
    layer['list'], layer['count'] = kept(listed), kept(count)
    layer['height'], layer['width'] = size
    launch(name, (3,), THREADS, [layer, np.int32(0)], order)
    bad = bad | (share == 1)
    wanted = bad | window.dilate(torch.from_numpy(dirty)).numpy()
    positions = listed[: count[0]]
    np.testing.assert_array_equal(np.sort(positions), np.flatnonzero(wanted))
    assert (listed[count[0] :] == -1).all()
    np.testing.assert_array_equal(unpacked(new_flags, size[1]), bad | window.dilate(torch.from_numpy(flags)).numpy())
    assert not old.any(), 'the last frame’s set is cleared'
    for word in {(p // size[1], p % size[1] // 32) for p in positions.tolist()}:
        at = [k for k, p in enumerate(positions.tolist()) if (p // size[1], p % size[1] // 32) == word]
        assert at == list(range(at[0], at[-1] + 1)), 'positions of a word stay together, in their order'
        assert (np.diff(positions[at]) > 0).all()
