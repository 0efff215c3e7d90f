"""Which positions motion vouches for, and what the modes make of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_nets import examples, integers
from sparse_scenes import picture, shift
from torch import nn

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse.alignment import Alignment, _unlike, receptive_field
from dedelayed_ros.sparse.geometry import Window, adaptive, identity, padded, shuffled, sliding, transposed
from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.motion import Displacement


def tables(n):
    """Strategy: how an axis of n inputs is read, with the number of outputs."""
    window = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 3))
    return st.one_of(
        window.map(lambda a: sliding(n, max(1, (n + 2 * a[3] - a[2] * (a[0] - 1) - 1) // a[1] + 1), *a)),
        window.map(lambda a: transposed(n, n * a[1] + 1, *a)),
        st.integers(1, n).map(lambda out: adaptive(n, out)),
        st.sampled_from(['constant', 'reflect', 'replicate', 'circular']).map(lambda mode: padded(n, 2, 1, mode)),
        st.just(shuffled(n, 2)),
        st.booleans().map(lambda fixed: identity(n, fixed)),
    )


def by_hand(rows, cols, out, source, p, q):
    """The conditions for one position, tap by tap."""
    moved = out.cells[:, p, q].tolist()
    here, there = (p, q), (p - moved[0], q - moved[1])
    pairs = []
    for axis, table in enumerate((rows, cols)):
        a, b = table.taps[here[axis]].tolist(), table.taps[there[axis]].tolist()
        if moved[axis] and (-1 in a or -1 in b):
            return False  # (3)
        if any((x < 0 or y < 0) and x != y for x, y in zip(a, b, strict=True)):
            return False  # other weights
        if moved[axis] and table.fixed:
            return False
        pairs.append([(x, y) for x, y in zip(a, b, strict=True) if x >= 0])
    for r, r2 in pairs[0]:
        for c, c2 in pairs[1]:
            # (1) and (2): every input's own source is what the cached output read in its place
            if not source.valid[r, c] or (r - r2, c - c2) != tuple(source.cells[:, r, c].tolist()):
                return False
    return True


@given(st.data(), st.integers(0, 10**6))
@examples(60)
def test_conditions_tap_by_tap(data, seed):
    h, w = data.draw(st.integers(4, 9)), data.draw(st.integers(4, 9))
    rows, cols = data.draw(tables(h)), data.draw(tables(w))
    rng = np.random.default_rng(seed)

    def displaced(size, uniform, reach):
        cells = rng.integers(-reach, reach + 1, (2, *size)) * (rng.random(size) < 0.3)
        cells = cells + np.array(uniform).reshape(2, 1, 1)
        at = np.stack(np.meshgrid(*map(np.arange, size), indexing='ij')) - cells
        valid = ((at >= 0) & (at < np.array(size).reshape(2, 1, 1))).all(0) & (rng.random(size) < 0.95)
        return Displacement(torch.from_numpy(np.where(valid, cells, 0)), torch.from_numpy(valid))

    move = [data.draw(st.integers(-2, 2)) for _ in range(2)]
    factor = [data.draw(st.sampled_from([0, 1, 1, 2, 3])) for _ in range(2)]
    out = displaced((rows.size_out, cols.size_out), move, data.draw(st.integers(0, 1)))
    source = displaced((h, w), [m * f for m, f in zip(move, factor, strict=True)], data.draw(st.integers(0, 1)))
    bad = _unlike(Window(rows, cols), out, source)
    for p in range(rows.size_out):
        for q in range(cols.size_out):
            if out.valid[p, q]:
                assert bool(bad[p, q]) != by_hand(rows, cols, out, source, p, q), (p, q)


class Chain(nn.Module):
    """Convolutions of one channel, one after the other."""

    def __init__(self, *strides):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(1, 1, 3, s, 1) for s in strides))

    def forward(self, x):
        return self.layers(x)


def wide_picture(rows=96, cols=96, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, (1, 1, rows, cols))).float()


def test_uniform_shift_that_the_deepest_stride_does_not_divide():
    """FluxShard's compacted check drops recomputed positions that look right, and later reuses what is not."""
    model = integers(Chain(2, 2, 2), 3)
    big = wide_picture()
    first, second = big[..., 16:80, 16:80], big[..., 12:76, 16:80]  # content moves down by 4
    wrong = {}
    for mode in ('per_layer', 'sticky', 'paper'):
        module = sparse.compile(model, (first,), alignment=mode)
        module.step(first)
        got, _ = module.step(second, motion=shift((64, 64), 4, 0))
        wrong[mode] = int((got != model(second)).any(1).sum())
    assert wrong['per_layer'] == wrong['sticky'] == 0
    assert wrong['paper'] >= 6 * 8  # six of the eight rows


def test_flat_texture_with_an_aliased_vector():
    """A vector that is wrong where it does not matter lets the compacted check lose its flags."""
    model = integers(Chain(1, 1), 5, 1, 3)
    image = torch.zeros(1, 1, 32, 64)
    image[..., 39:42] = 1  # from column 37 seen by the second layer, but not by the first
    vectors = np.zeros((2, 4, 2), np.int16)
    vectors[:, 1, 0] = -4 * 6  # the flat block (columns 16 to 31) claims to come from 6 pixels to its right
    motion = MotionField((32, 64), vectors)
    results = {}
    for mode in ('per_layer', 'sticky', 'paper'):
        module = sparse.compile(model, (image,), alignment=mode)
        module.step(image)
        results[mode] = torch.equal(module.step(image, motion=motion)[0], model(image))
    assert results == {'per_layer': True, 'sticky': True, 'paper': False}


@pytest.mark.parametrize('mode', ['per_layer', 'sticky'])
@pytest.mark.parametrize(('down', 'right'), [(8, 0), (0, -16), (8, 8), (-24, 16)])
def test_shift_by_whole_cells_recomputes_nothing_inside(mode, down, right):
    model = integers(Chain(2, 1, 2, 2), 3)
    big = wide_picture(160, 160)
    first, second = big[..., 40:104, 40:104], big[..., 40 - down : 104 - down, 40 - right : 104 - right]
    module = sparse.compile(model, (first,), alignment=mode)
    module.step(first)
    got, stats = module.step(second, motion=shift((64, 64), down, right))
    assert torch.equal(got, model(second))
    assert 0 < stats.compute_ratio < 1
    last = module.recompute_set(module.layers[-1])
    # What entered the picture, and a border of the receptive field on the sides that padding touches.
    inside = torch.zeros(8, 8, dtype=torch.bool)
    rows = slice(2 + max(down, 0) // 8, 6 + min(down, 0) // 8) if down else slice(0, 8)
    cols = slice(2 + max(right, 0) // 8, 6 + min(right, 0) // 8) if right else slice(0, 8)
    inside[rows, cols] = True
    assert inside.any() and not (last & inside).any()


@pytest.mark.parametrize('mode', sparse.MODES)
def test_an_identical_frame_needs_nothing(mode):
    model = integers(Chain(2, 1, 2), 3)
    image = wide_picture(48, 64)
    module = sparse.compile(model, (image,), alignment=mode)
    wanted, stats = module.step(image)
    assert stats.dense and stats.compute_ratio == stats.recompute_ratio == 1
    got, stats = module.step(image, motion=MotionField.identity((48, 64)))
    assert torch.equal(got, wanted) and not stats.dense
    assert stats.compute_ratio == stats.recompute_ratio == 0
    assert not any(module.recompute_set(name).any() for name in module.layers)


@pytest.mark.parametrize('mode', sparse.MODES)
def test_a_scene_cut_is_a_dense_pass(mode):
    model = integers(Chain(2, 1, 2), 3)
    first, second = wide_picture(48, 64), wide_picture(48, 64, 9) + 10
    module = sparse.compile(model, (first,), alignment=mode)
    module.step(first)
    got, stats = module.step(second, motion=MotionField.identity((48, 64)))
    assert torch.equal(got, model(second))
    assert stats.compute_ratio == stats.recompute_ratio == 1


def test_unknown_motion_is_a_dense_pass():
    model = integers(Chain(2, 1), 3)
    image = wide_picture(32, 32)
    module = sparse.compile(model, (image,))
    for _ in range(2):
        got, stats = module.step(image)
        assert stats.dense and stats.compute_ratio == 1 and torch.equal(got, model(image))


def test_a_local_change_is_computed_in_its_receptive_field_only():
    model = integers(Chain(1, 1), 3, 1, 3)
    image = wide_picture(32, 32)
    module = sparse.compile(model, (image,))
    module.step(image)
    changed = image.clone()
    changed[..., 10, 20] += 1
    _, stats = module.step(changed, motion=MotionField.identity((32, 32)))
    assert stats.recompute_ratio == 1 / 1024
    assert [x.compute_ratio * 1024 for x in stats.layers] == [0, 9, 25]
    found = module.recompute_set(module.layers[-1])
    assert found.sum() == 25 and found[8:13, 18:23].all()


def test_a_change_that_cancels_stops_spreading_unless_flags_are_sticky():
    """Recomputed and equal leaves the set: here the first layer does not see what changed."""
    model = integers(Chain(1, 1), 3)
    model.layers[0].weight.data.zero_()
    image = wide_picture(32, 32)
    changed = image.clone()
    changed[..., 5, 5] += 1
    for mode in ('per_layer', 'sticky'):
        module = sparse.compile(model, (image,), alignment=mode)
        module.step(image)
        _, stats = module.step(changed, motion=MotionField.identity((32, 32)))
        assert [round(x.compute_ratio * 1024) for x in stats.layers] == [0, 9, 0]


def test_calibrated_reuses_what_exact_modes_cannot():
    """Half a pixel of motion: exact modes compute everything, a tolerance lets deep layers be."""
    model = integers(Chain(2, 2, 2), 3)
    image = picture(np.random.default_rng(1), 1, (64, 64))
    exact = sparse.compile(model, (image,))
    loose = sparse.compile(model, (image,), alignment=Alignment('calibrated', remainder=0.25))
    for module in (exact, loose):
        module.step(image)
    motion = shift((64, 64), 0.25, 0)
    assert exact.step(image, motion=motion)[1].compute_ratio == 1
    _, stats = loose.step(image, motion=motion)
    assert stats.compute_ratio == 0 and stats.recompute_ratio == 0
    # The remainder is kept: after 3 more such steps it is half a stride-2 cell, and over the tolerance there.
    for _ in range(3):
        _, stats = loose.step(image, motion=motion)
    assert stats.recompute_ratio > 0


def test_paper_settings():
    plan = trace(integers(Chain(2, 2, 2)), (torch.zeros(1, 1, 64, 64),))
    assert receptive_field(plan) == (15, 8)
    assert Alignment('paper').settled(plan) == Alignment('paper', r_max=15, s_max=8)
    assert Alignment('paper', r_max=3, s_max=2).settled(plan).s_max == 2
    image = wide_picture(64, 64)
    # With divisibility by two asked for only, nothing is flagged inside; with eight, everything.
    computed = {}
    for s_max in (2, 8):
        module = sparse.compile(integers(Chain(2, 2, 2)), (image,), alignment=Alignment('paper', r_max=3, s_max=s_max))
        module.step(image)
        _, stats = module.step(image.roll(2, 2), motion=shift((64, 64), 2, 0))
        computed[s_max] = stats.layers[1].compute_ratio
    assert computed[2] < 0.2 and computed[8] == 1


def test_off_checks_nothing():
    model = integers(Chain(1, 1), 3)
    image = wide_picture(32, 32)
    module = sparse.compile(model, (image,), alignment='off')
    module.step(image)
    _, stats = module.step(image, motion=MotionField.identity((32, 32)))
    vectors = np.zeros((2, 2, 2), np.int16)
    vectors[:, 1, 0] = 8
    flat = torch.zeros(1, 1, 32, 32)
    module.step(flat)
    _, stats = module.step(flat, motion=MotionField((32, 32), vectors))
    assert stats.compute_ratio == 0


@pytest.mark.parametrize(
    'arguments',
    [
        {'mode': 'exact'},
        {'mode': 'calibrated', 'remainder': 0.7},
        {'mode': 'calibrated', 'spread': -1},
        {'mode': 'per_layer', 'remainder': 0.1},
        {'mode': 'paper', 's_max': 0},
    ],
)
def test_settings_are_checked(arguments):
    with pytest.raises(InputError, match='alignment'):
        Alignment(**arguments)
