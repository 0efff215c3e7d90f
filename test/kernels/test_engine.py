"""The CUDA engine, on emulated kernels: sets, values and ratios of the reference, bit for bit on integer networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from emulated import ORDERS, EmulatedDevice
from hypothesis import given
from hypothesis import strategies as st
from plans import traced
from sparse_nets import Attention, DeepLab, Fused, MobileNetV3, RandomNet, ResNetFPN, examples, integers, random_nets
from sparse_scenes import picture, scenes, shift
from torch import nn
from torch.utils import _pytree as pytree

from dedelayed_ros.frames import MotionField
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cuda import CudaEngine
from dedelayed_ros.sparse.backends.reference import ReferenceEngine
from dedelayed_ros.sparse.backends.unary import Lacking
from dedelayed_ros.sparse.runtime import SparseModule

MODES = ('per_layer', 'sticky', Alignment('calibrated', remainder=0.25, spread=0.3))


def pair(model, example, device, mode='per_layer', thresholds=None, remap=True, dtype=torch.float32, of=''):
    """The same plan on the specification and on the emulated kernels."""
    plan = traced(model, example, dtype, of)
    thresholds = thresholds(len(plan.nodes)) if thresholds else None
    levels = tuple(thresholds or [0.0] * len(plan.nodes))
    given = tuple(x is not None for x in example)
    alignment = Alignment(mode) if isinstance(mode, str) else mode
    reference = ReferenceEngine(plan, alignment, levels, remap=remap)
    cuda = CudaEngine(plan, alignment, levels, remap=remap, device=device)
    return SparseModule(reference, given), SparseModule(cuda, given)


def assert_alike(reference, cuda, inputs, motion):
    """One step on both: equal results, sets, memories and ratios."""
    wanted, expected = reference.step(*inputs, motion=motion)
    got, stats = cuda.step(*inputs, motion=motion)
    for name in reference.layers:
        assert torch.equal(reference.recompute_set(name), cuda.recompute_set(name)), name
        if reference.plan.find(name).channels:
            assert torch.equal(reference.held(name), cuda.held(name)), name
    for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(wanted), strict=True):
        assert torch.equal(a, b)
    assert (stats.recompute_ratio, stats.compute_ratio) == (expected.recompute_ratio, expected.compute_ratio)
    assert [x.compute_ratio for x in stats.layers] == [x.compute_ratio for x in expected.layers]
    return got, stats


def on_the_kernels(steps):
    """Steps that the kernels have, and bilinear factors whose weights are binary fractions, so that sums are exact."""
    kept = []
    for kind, source, p, q, r in steps:
        kind = 'conv' if kind in ('shuffle', 'position') else kind
        kept.append((kind, source, p | 1, q, r & ~1) if kind == 'bilinear' else (kind, source, p, q, r))
    return kept


@pytest.mark.parametrize('mode', MODES[:1] + MODES[2:])
@pytest.mark.parametrize('net', [(ResNetFPN, 1, (39, 50)), (MobileNetV3, 6, (48, 64)), (DeepLab, 1, (48, 64))])
def test_networks_are_those_of_the_reference(net, mode, device):
    make, step, size = net
    model = integers(make(), 1, -1, 2, step)
    reference, cuda = pair(model, (torch.zeros(1, 3, *size),), device, mode)
    reused = False
    for image, motion in scenes(sum(size), 3, size, frames=5):
        got, stats = assert_alike(reference, cuda, (image * step,), motion)
        reused |= stats.compute_ratio < 1
        for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(model(image * step)), strict=True):
            assert mode != 'per_layer' or torch.equal(a, b)
    assert reused


@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from(MODES))
@examples(8)
def test_random_networks_are_those_of_the_reference(steps, seed, h, w, mode):
    example = torch.zeros(1, 2, h, w)
    model = RandomNet(on_the_kernels(steps), seed).build(example)
    reference, cuda = pair(model, (example,), EmulatedDevice(ORDERS[seed % 3], seed), mode, of=(steps, seed, h, w))
    for image, motion in scenes(seed, 2, (h, w), frames=8):
        got, _ = assert_alike(reference, cuda, (image,), motion)
        for a, b in zip(got, model(image), strict=True):
            assert not isinstance(mode, str) or torch.equal(a, b)


@given(random_nets(), st.integers(0, 10**6), st.sampled_from(MODES))
@examples(5)
def test_truncation_of_random_networks_is_that_of_the_reference(steps, seed, mode):
    size = (24, 33)
    model = RandomNet(on_the_kernels(steps), seed).build(torch.zeros(1, 2, *size))

    def thresholds(count):
        return [float(x) for x in np.random.default_rng(seed).choice([0, 0, 1, 2, 3], count)]

    device = EmulatedDevice(ORDERS[seed % 3], seed)
    reference, cuda = pair(model, (torch.zeros(1, 2, *size),), device, mode, thresholds, of=(steps, seed))
    for image, motion in scenes(seed, 2, size, frames=10):
        assert_alike(reference, cuda, (image,), motion)


@pytest.mark.parametrize('mode', MODES)
def test_channels_of_several_blocks_are_kept_together(mode, device):
    """More channels than a block computes, with a threshold: a position keeps all its cached channels or none."""
    size = (12, 20)
    model = integers(nn.Sequential(nn.Conv2d(2, 70, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Conv2d(70, 3, 1)))
    reference, cuda = pair(model, (torch.zeros(1, 2, *size),), device, mode, lambda n: [0.0] + [2.0] * (n - 1))
    for image, motion in scenes(5, 2, size, frames=6):
        assert_alike(reference, cuda, (image,), motion)
    assert 'commit_f32' in device.launched


def test_half_precision_is_that_of_the_reference(device):
    size = (24, 32)
    model = integers(ResNetFPN(), 1, -1, 2)
    reference, cuda = pair(model, (torch.zeros(1, 3, *size),), device, dtype=torch.float16)
    for image, motion in scenes(9, 3, size, frames=4):
        assert_alike(reference, cuda, (image,), motion)
    assert any(name.endswith('_f16') for name in device.launched)


def test_features_and_age_are_those_of_the_reference(device):
    size = (48, 64)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 6, 8), torch.zeros(1))
    reference, cuda = pair(integers(Fused(), 1, -1, 2), example, device)
    features, age = picture(np.random.default_rng(4), 2, (6, 8)), torch.ones(1)
    for n, (image, motion) in enumerate(scenes(17, 3, size, frames=14)):
        if n % 4 == 3:
            features = features.roll(1, 2)
        if n % 6 == 5:
            age = age + 1
        assert_alike(reference, cuda, (image, None if n % 5 == 4 else features, age), motion)


def test_features_follow_slow_motion(device):
    """Eight steps of one pixel are one cell of the features, whatever is computed in between."""
    size = (48, 64)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 6, 8), torch.zeros(1))
    reference, cuda = pair(integers(Fused(), 1, -1, 2), example, device)
    features, image = picture(np.random.default_rng(4), 2, (6, 8)), picture(np.random.default_rng(5), 3, size)
    assert_alike(reference, cuda, (image, features, torch.ones(1)), None)
    for _ in range(9):
        image = image.roll(1, 3)
        assert_alike(reference, cuda, (image, None, torch.ones(1)), shift(size, 0, 1))


def test_without_remap(device):
    reference, cuda = pair(integers(DeepLab(), 1, -1, 2), (torch.zeros(1, 3, 40, 40),), device, remap=False)
    for image, motion in scenes(11, 3, (40, 40), frames=6):
        assert_alike(reference, cuda, (image,), motion)


def test_a_long_drift_stays_in_memory(device):
    """A global shift moves the maps' origins; they come back to the middle when there is no more room."""
    size = (32, 48)
    model = integers(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3, 1, 1)))
    reference, cuda = pair(model, (torch.zeros(1, 1, *size),), device)
    world = picture(np.random.default_rng(1), 1, (400, 400))
    assert_alike(reference, cuda, (world[..., 200:232, 200:248],), None)
    row, col, spare = 200, 200, 0
    for n in range(40):
        rows, cols = (2, 4) if n < 20 else (-4, -2)
        row, col = row - rows, col - cols
        image = world[..., row : row + size[0], col : col + size[1]]
        before = len(device.launched)
        _, stats = assert_alike(reference, cuda, (image,), shift(size, rows, cols))
        assert stats.compute_ratio < 0.5
        assert not any('gather' in name for name in device.launched[before:]), 'a global shift copies nothing'
        assert n == 0 or cuda.state_bytes == spare
        spare = cuda.state_bytes


def test_an_identical_frame_computes_nothing(device):
    image = picture(np.random.default_rng(2), 3, (40, 48))
    _, cuda = pair(integers(ResNetFPN(), 1, -1, 2), (image,), device)
    first = pytree.tree_leaves(cuda.step(image)[0])
    again, stats = cuda.step(image, motion=MotionField.identity((40, 48)))
    assert stats.compute_ratio == stats.recompute_ratio == 0
    assert all(torch.equal(a, b) for a, b in zip(first, pytree.tree_leaves(again), strict=True))


def test_padding_wider_than_the_kernel(device):
    size = (12, 16)
    reference, cuda = pair(integers(nn.Conv2d(1, 2, 1, padding=3)), (torch.zeros(1, 1, *size),), device)
    image = picture(np.random.default_rng(2), 1, size)
    assert_alike(reference, cuda, (image,), None)
    for cols in (1, -2, 1):
        image = image.roll(cols, 3)
        assert_alike(reference, cuda, (image,), shift(size, 0, cols))


def test_poison_does_not_leak(device):
    """Memory that is not a number everywhere but where motion vouches for it: nothing of it is read."""
    size = (40, 48)
    model = integers(ResNetFPN(), 1, -1, 2)
    _, cuda = pair(model, (torch.zeros(1, 3, *size),), device)
    poison = torch.full((1, 3, *size), torch.nan)
    for image, motion in scenes(23, 3, size, frames=4):
        cuda.step(poison)
        assert all(leaf.isnan().any() for leaf in pytree.tree_leaves(cuda.step(poison)[0]))
        nowhere = MotionField(size, np.zeros((3, 3, 2), np.int16), np.zeros((3, 3), bool), block=16)
        for field in (nowhere, motion):
            got, _ = cuda.step(image, motion=field)
            for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(model(image)), strict=True):
                assert torch.equal(a, b)


def test_two_streams_do_not_touch_each_other(device):
    size = (24, 32)
    model = integers(ResNetFPN(), 1, -1, 2)
    reference, cuda = pair(model, (torch.zeros(1, 3, *size),), device)
    other, other_cuda = reference.fork(), cuda.fork()
    for (a, motion), (b, other_motion) in zip(scenes(3, 3, size, frames=4), scenes(4, 3, size, frames=4), strict=True):
        assert_alike(reference, cuda, (a,), motion)
        assert_alike(other, other_cuda, (b,), other_motion)
    cuda.reset(), reference.reset()
    assert_alike(reference, cuda, (a,), motion)


@pytest.mark.parametrize('features', [False, True])
def test_the_local_model_runs_on_the_kernels(features, device):
    """Real weights: within float32 rounding of torch, and a changed region has the bits of a dense pass."""
    size = (64, 96)
    torch.manual_seed(0)
    model = LocalModel(19, width=32).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    cells = torch.randn(1, 32, size[0] // 8, size[1] // 8)
    inputs = (torch.rand(1, 3, *size), cells, torch.tensor([80.0])) if features else (torch.rand(1, 3, *size),)
    _, module = pair(model, inputs, device)
    module.step(*inputs)
    image = inputs[0].roll(32, 3)
    image[..., 20:30, 50:57] += 0.25
    got, stats = module.step(image, *inputs[1:], motion=shift(size, 0, 32))
    assert 0 < stats.compute_ratio < 1
    with torch.no_grad():
        torch.testing.assert_close(got, model(image, *inputs[1:]), rtol=1e-4, atol=1e-4)
    dense, whole = module.fork().step(image, *inputs[1:])
    assert whole.compute_ratio == 1
    assert torch.equal(got, dense)


def test_what_the_kernels_lack_is_named():
    example = (torch.zeros(1, 3, 32, 32),)
    with pytest.raises(Lacking, match='layer_norm'):
        pair(Attention().eval(), example, EmulatedDevice())
    with pytest.raises(Lacking, match='float32 or float16, not in torch.bfloat16'):
        pair(integers(DeepLab()), example, EmulatedDevice(), dtype=torch.bfloat16)
    with pytest.raises(Lacking, match='paper'):
        pair(integers(DeepLab()), example, EmulatedDevice(), 'paper')
