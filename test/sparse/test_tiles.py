"""The alignment mode 'tiles': one decision a frame, interpolated caches, and the kernels against the specification."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_alike import assert_equal, drift, drifting, engines, local_model
from sparse_nets import DeepLab, Fused, RandomNet, ResNetFPN, examples, integers, random_nets
from sparse_scenes import field, picture, scenes, shift
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cpu import CpuEngine
from dedelayed_ros.sparse.backends.roles import tile_roles
from dedelayed_ros.sparse.graph import trace

TILES = Alignment('tiles', tile=16)
needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')


def net():
    """Three layers, the last two over neighbours, at strides 2 and 4."""
    layers = nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(3, 2, 3, 1, 1)
    return integers(nn.Sequential(*layers))


def compiled(model, example, limit=1.0, backend='reference', **options):
    name = sparse.compile(model, example, backend='reference').layers[0]
    return sparse.compile(model, example, alignment=TILES, thresholds={name: limit}, backend=backend, **options)


def still(size, block=16):
    return MotionField.identity(size, block)


def test_a_change_is_computed_over_its_tile_only():
    """One unit owes more than the threshold: its tile is computed by every layer, and around it only what is read of a
    layer that is not kept.
    """
    image = torch.zeros(1, 1, 64, 64)
    module = compiled(net(), (image,))
    module.step(image)
    changed = image.clone()
    changed[..., 16:24, 32:40] = 1.5
    _, stats = module.step(changed, motion=still((64, 64)))
    roles = tile_roles(module.plan, TILES)
    assert [role.where_read for role in roles] == [True, False, True, False]
    work = 0.0
    for node, further in zip(module.plan.nodes, (0, 0, 1, 0), strict=True):
        asked = module.recompute_set(node.name)
        cells = 16 // int(node.grid.stride[0])
        work += float(module.plan.work[node.index]) * (cells + 2 * further) ** 2
        assert bool(asked[cells - further : 2 * cells + further, 2 * cells - further : 3 * cells + further].all())
        assert int(asked.sum()) == (cells + 2 * further) ** 2
    assert 1 / 16 < stats.compute_ratio == pytest.approx(work / module.plan.all_work)
    assert stats.recompute_ratio == pytest.approx(1 / 16)


def test_small_changes_add_up_and_are_forgotten_when_computed():
    """0.3 of a threshold a frame: in the fourth frame the tile is computed, and then again four frames later."""
    image = torch.zeros(1, 1, 32, 32)
    module = compiled(net(), (image,))
    module.step(image)
    computed = []
    for _ in range(8):
        image = image + 0.3
        _, stats = module.step(image, motion=still((32, 32)))
        computed.append(stats.compute_ratio)
    assert [round(c) for c in computed] == [0, 0, 0, 1, 0, 0, 0, 1]


def test_what_is_owed_moves_with_its_content():
    """Half a threshold here, then half a threshold eight pixels further right after everything moved there."""
    size = (32, 64)
    image = torch.zeros(1, 1, *size)
    for cells, due in ((8, True), (0, False)):
        module = compiled(net(), (image,), limit=1.0)
        module.step(image)
        first = image.clone()
        first[..., 8:16, 16:24] = 0.75
        module.step(first, motion=still(size))
        # The same blob, carried along by the vectors, in units 24:32, changes once more.
        second = torch.zeros_like(image)
        second[..., 8:16, 16 + 8 : 24 + 8] = 1.25
        motion = shift(size, 0, 8, block=8)
        if not cells:
            # The owed part stays where it was: nothing of it reaches the tile that changes.
            second, motion = first.clone(), still(size)
            second[..., 8:16, 48:56] = 0.5
        module.step(second, motion=motion)
        tile = module.recompute_set(module.layers[0])[0:16, 16:32]
        assert bool(tile.all()) == due


def test_a_shift_without_change_is_followed_between_cells():
    """Two pixels of a layer at stride 4 are half a cell: the kept value lies between two cells."""
    size = (32, 32)
    model = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 1, 1, bias=False))
    model[1].weight.data.fill_(1.0)
    model = model.eval()
    image = torch.arange(32.0).expand(1, 1, 32, 32).clone()
    module = compiled(model, (image,), limit=1e9)
    module.step(image)
    moved = image.roll(2, 3)
    out, stats = module.step(moved, motion=shift(size, 0, 2))
    before = model(image)
    torch.testing.assert_close(out[..., 1:7], (before[..., 0:6] + before[..., 1:7]) / 2)
    assert stats.compute_ratio < 0.2


def test_uncovered_positions_are_computed_and_owe_nothing():
    size = (32, 64)
    image = torch.zeros(1, 1, *size)
    module = compiled(net(), (image,))
    module.step(image)
    new = torch.full_like(image, 100.0)
    new[..., 16:] = 0
    module.step(new, motion=shift(size, 0, 16))
    sets = module.recompute_set(module.layers[0])
    assert bool(sets[:, :15].all()) and not bool(sets[:, 17:].any())


def test_a_scene_cut_is_dense_and_a_still_picture_is_free():
    image = torch.zeros(1, 1, 64, 64)
    model = net()
    module = compiled(model, (image,))
    module.step(image)
    assert module.step(image, motion=still((64, 64)))[1].compute_ratio == 0
    out, stats = module.step(image + 5, motion=still((64, 64)))
    assert stats.compute_ratio == 1
    assert_equal(out, model(image + 5))


def test_sets_shrink_with_the_threshold():
    image, change = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    sizes = []
    for limit in (0.0, 0.2, 0.5, 2.0):
        module = compiled(net(), (image,), limit=limit)
        module.step(image)
        _, stats = module.step(image + change * torch.linspace(0, 1, 64), motion=still((64, 64)))
        sizes.append(stats.compute_ratio)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 1 and sizes[-1] == 0


def test_layers_have_no_thresholds():
    image = torch.zeros(1, 1, 32, 32)
    with pytest.raises(InputError, match='is a layer'):
        sparse.compile(net(), (image,), alignment=TILES, thresholds={'0': 1.0})
    with pytest.raises(InputError, match='multiple of 8'):
        Alignment('tiles', tile=12)


def assert_as_specified(reference, cpu, inputs, motion):
    """One step on both: equal outputs, sets, ratios, and equal memories wherever they are looked at again."""
    wanted, expected = reference.step(*inputs, motion=motion)
    got, stats = cpu.step(*inputs, motion=motion)
    roles = tile_roles(reference.plan, reference._engine.alignment)
    for node, role in zip(reference.plan.nodes, roles, strict=True):
        assert torch.equal(reference.recompute_set(node.name), cpu.recompute_set(node.name)), node.name
        if role.kept:
            torch.testing.assert_close(cpu.held(node.name), reference.held(node.name), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    for layer, other in zip(stats.layers, expected.layers, strict=True):
        assert layer.compute_ratio == pytest.approx(other.compute_ratio), layer.name
        assert layer.recompute_ratio == pytest.approx(other.recompute_ratio), layer.name
    assert stats.compute_ratio == pytest.approx(expected.compute_ratio)
    return stats


def pair(model, example, limit, tile=16, instruction_set=None):
    plan = trace(model, example)
    thresholds = [0.0] * len(plan.nodes)
    for index in plan.inputs:
        thresholds[index] = limit
    make = lambda *args, **kw: CpuEngine(*args, instruction_set=instruction_set, **kw)  # noqa: E731
    return engines(plan, example, make, Alignment('tiles', tile=tile), thresholds)


@needs_kernels
@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from([0.0, 0.25, 1.0]))
@examples(14)
def test_random_networks_are_those_of_the_reference(steps, seed, h, w, limit):
    from sparse_alike import on_the_kernels

    example = torch.zeros(1, 2, h, w)
    model = RandomNet(on_the_kernels(steps), seed).build(example)
    sets = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(native.instruction_set() or 'portable') + 1]
    reference, cpu = pair(model, (example,), limit, 8 * (1 + seed % 4), sets[seed % len(sets)])
    for image, motion in scenes(seed, 2, (h, w), frames=8):
        assert_as_specified(reference, cpu, (image,), motion)


@needs_kernels
@pytest.mark.parametrize('net_of', [(ResNetFPN, 1, (39, 50)), (DeepLab, 1, (48, 64))])
def test_networks_are_those_of_the_reference(net_of):
    make, step, size = net_of
    model = integers(make(), 1, -1, 2, step)
    reference, cpu = pair(model, (torch.zeros(1, 3, *size),), 0.5)
    ratios = []
    for image, motion in scenes(sum(size), 3, size, frames=10):
        ratios.append(assert_as_specified(reference, cpu, (image * step,), motion).compute_ratio)
    assert min(ratios) < 1


@needs_kernels
@pytest.mark.parametrize('instruction_set', native.INSTRUCTION_SETS)
def test_a_camera_that_pans_and_comes_back_is_followed(instruction_set):
    """Whole cells, most frames: caches are not copied but found at another place, until there is no room."""
    if native.INSTRUCTION_SETS.index(instruction_set) > native.INSTRUCTION_SETS.index(native.instruction_set()):
        pytest.skip(f'this processor has no {instruction_set}')
    size = (40, 56)
    reference, cpu = pair(integers(drifting(), 1, -1, 2), (torch.zeros(1, 1, *size),), 0.5, 8, instruction_set)
    for image, motion in drift(size, 48):
        assert_as_specified(reference, cpu, (image,), motion)


@needs_kernels
@pytest.mark.parametrize(('rows', 'cols'), [(4, 8), (2, -4), (1, 3)])
def test_what_moves_before_a_background_at_rest_is_followed(rows, cols):
    size = (48, 64)
    reference, cpu = pair(net(), (torch.zeros(1, 1, *size),), 0.5, 8)
    image = picture(np.random.default_rng(5), 1, size)
    for step in range(6):
        motion = still(size, 8)
        if step:
            vectors, top, left = motion.qpel.copy(), 1 + step // 2, 2 + step // 2
            vectors[top : top + 3, left : left + 3] = (4 * cols, 4 * rows)
            motion = MotionField(size, vectors, block=8)
            source = image.clone()
            image[..., 8 * top : 8 * top + 24, 8 * left : 8 * left + 24] = source.roll((rows, cols), (2, 3))[
                ..., 8 * top : 8 * top + 24, 8 * left : 8 * left + 24
            ]
        stats = assert_as_specified(reference, cpu, (image,), motion if step else None)
    assert stats.compute_ratio < 0.5


@needs_kernels
def test_features_and_age_are_those_of_the_reference():
    size = (48, 64)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 6, 8), torch.zeros(1))
    reference, cpu = pair(integers(Fused(), 1, -1, 2), example, 0.5)
    rng = np.random.default_rng(4)
    features, age = picture(rng, 2, (6, 8)), torch.ones(1)
    for n, (image, motion) in enumerate(scenes(17, 3, size)):
        if n % 4 == 3:
            features = features.roll(1, 2)
        if n % 6 == 5:
            age = age + 1
        assert_as_specified(reference, cpu, (image, None if n % 5 == 4 else features, age), motion)


@needs_kernels
def test_a_tile_has_the_bits_of_a_dense_pass():
    """Everything moves, and everything that it moves to is computed: the same as if nothing had been remembered."""
    model, inputs = local_model((64, 96), features=False)
    module = compiled(model, inputs, limit=0.0, backend='cpu')
    module.step(*inputs)
    rng = np.random.default_rng(2)
    image = torch.rand_like(inputs[0])
    got, stats = module.step(image, motion=field(rng, (64, 96), 8))
    assert stats.compute_ratio == 1
    assert torch.equal(got, module.fork().step(image)[0])


@needs_kernels
def test_repeated_features_cost_nothing_and_new_ones_their_tiles():
    size = (64, 96)
    model, inputs = local_model(size, features=True)
    plan = sparse.compile(model, inputs, backend='reference')
    limits = {plan.plan.nodes[i].name: 0.5 for i in plan.plan.inputs}
    module = sparse.compile(model, inputs, alignment=TILES, thresholds={**limits}, backend='cpu')
    module.step(*inputs)
    assert module.step(*inputs, motion=still(size))[1].compute_ratio == 0
    other = inputs[1].clone()
    other[..., 2, 3] += 40.0
    _, stats = module.step(inputs[0], other, inputs[2], motion=still(size))
    assert 0 < stats.compute_ratio < 0.35
    _, stats = module.step(inputs[0], other, inputs[2] + 1, motion=still(size))
    assert stats.compute_ratio == pytest.approx(1, abs=0.02)  # the gate multiplies everything


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits():
    """On maps that are large enough to be shared out."""
    size = (192, 256)
    model = nn.Sequential(nn.Conv2d(3, 24, 3, 1, 1), nn.ReLU(), nn.Conv2d(24, 8, 3, 2, 1)).eval()
    rng = np.random.default_rng(8)
    image = torch.rand(1, 3, *size)
    streams = [compiled(model, (image,), 0.3, 'cpu', threads=n) for n in (1, 2, 5)]
    ratios = []
    for step in range(5):
        motion = field(rng, size, 16) if step else None
        one, *others = (stream.step(image, motion=motion) for stream in streams)
        for out, stats in others:
            assert_equal(out, one[0])
            assert stats.compute_ratio == one[1].compute_ratio
        ratios.append(one[1].compute_ratio)
        image = image + 0.3 * torch.rand(1, 1, *size)
    assert min(ratios) < 1


def test_streams_do_not_touch_each_other():
    image = torch.rand(1, 1, 32, 32)
    one = compiled(net(), (image,), limit=0.3)
    other = one.fork()
    one.step(image)
    other.step(1 - image)
    assert other.step(1 - image, motion=still((32, 32)))[1].compute_ratio == 0
    assert one.step(image, motion=still((32, 32)))[1].compute_ratio == 0
