"""The CUDA engine, on emulated kernels: sets, values and ratios of the reference, bit for bit on integer networks."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from emulated import ORDERS, EmulatedDevice
from hypothesis import given
from hypothesis import strategies as st
from plans import traced
from sparse_alike import (
    assert_alike,
    assert_equal,
    check_local_model,
    check_poison,
    drift,
    drifting,
    engines,
    local_model,
    on_the_kernels,
)
from sparse_nets import (
    Attention,
    DeepLab,
    FineFused,
    Fused,
    MobileNetV3,
    RandomNet,
    ResNetFPN,
    examples,
    integers,
    random_nets,
)
from sparse_scenes import moved, picture, scenes, shift
from torch import nn

from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cuda import CudaEngine
from dedelayed_ros.sparse.backends.unary import Lacking

MODES = ('per_layer', 'sticky', Alignment('calibrated', remainder=0.25, spread=0.3))


def pair(model, example, device, mode='per_layer', thresholds=None, remap=True, dtype=torch.float32, name=''):
    """The same plan on the specification and on the emulated kernels. ``name``: of a model that several tests have."""
    plan = traced(model, example, dtype, name)
    levels = thresholds(len(plan.nodes)) if thresholds else None
    return engines(plan, example, partial(CudaEngine, device=device), mode, levels, remap)


@pytest.mark.parametrize('mode', MODES[:1] + MODES[2:])
@pytest.mark.parametrize('net', [(ResNetFPN, 1, (39, 50)), (MobileNetV3, 6, (48, 64)), (DeepLab, 1, (48, 64))])
def test_networks_are_those_of_the_reference(net, mode, device):
    make, step, size = net
    model = integers(make(), 1, -1, 2, step)
    reference, cuda = pair(model, (torch.zeros(1, 3, *size),), device, mode, name=make.__name__)
    reused = False
    for image, motion in scenes(sum(size), 3, size, frames=5):
        got, stats = assert_alike(reference, cuda, (image * step,), motion)
        reused |= stats.compute_ratio < 1
        if mode == 'per_layer':
            assert_equal(got, model(image * step))
    assert reused


@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from(MODES))
@examples(8)
def test_random_networks_are_those_of_the_reference(steps, seed, h, w, mode):
    example = torch.zeros(1, 2, h, w)
    model = RandomNet(on_the_kernels(steps), seed).build(example)
    reference, cuda = pair(
        model, (example,), EmulatedDevice(ORDERS[seed % len(ORDERS)], seed), mode, name=f'{steps} {seed}'
    )
    for image, motion in scenes(seed, 2, (h, w), frames=8):
        got, _ = assert_alike(reference, cuda, (image,), motion)
        if isinstance(mode, str):
            assert_equal(got, list(model(image)))


@given(random_nets(), st.integers(0, 10**6), st.sampled_from(MODES))
@examples(5)
def test_truncation_of_random_networks_is_that_of_the_reference(steps, seed, mode):
    size = (24, 33)
    model = RandomNet(on_the_kernels(steps), seed).build(torch.zeros(1, 2, *size))

    def thresholds(count):
        return [float(x) for x in np.random.default_rng(seed).choice([0, 0, 1, 2, 3], count)]

    device = EmulatedDevice(ORDERS[seed % len(ORDERS)], seed)
    reference, cuda = pair(model, (torch.zeros(1, 2, *size),), device, mode, thresholds, name=f'{steps} {seed}')
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


@pytest.mark.parametrize('mode', MODES)
def test_fine_features_are_those_of_the_reference(mode, device):
    """Transposed convolutions: features that enter in quarters of their cells, and logits at stride 2."""
    size = (32, 48)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 4, 6), torch.zeros(1))
    model = integers(FineFused(), 1, -1, 2)
    reference, cuda = pair(model, example, device, mode, name='FineFused')
    features, age = picture(np.random.default_rng(6), 2, (4, 6)), torch.ones(1)
    reused = False
    for n, (image, motion) in enumerate(scenes(19, 3, size, frames=6)):
        if n % 3 == 2:
            features, age = features.roll(1, 3), age + 1
        given = None if n % 4 == 3 else features
        got, stats = assert_alike(reference, cuda, (image, given, age), motion)
        reused |= 0 < stats.compute_ratio < 1
        if given is not None and isinstance(mode, str):
            assert_equal(got, model(image, features, age))
    assert reused and 'taps_f32' in device.launched


def test_fine_features_in_half_precision(device):
    size = (32, 48)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 4, 6), torch.zeros(1))
    reference, cuda = pair(integers(FineFused(), 1, -1, 2), example, device, dtype=torch.float16, name='FineFused')
    features = picture(np.random.default_rng(6), 2, (4, 6))
    for image, motion in scenes(21, 3, size, frames=3):
        assert_alike(reference, cuda, (image, features, torch.ones(1)), motion)
    assert 'taps_f16' in device.launched


@pytest.mark.parametrize('channels', [3, 70])
def test_flags_stay_whatever_the_content(channels, device):
    """'sticky': a position that motion does not vouch for is new even where it equals its cached value."""
    size = (12, 20)
    model = integers(nn.Sequential(nn.Conv2d(1, channels, 3, 2, 1), nn.Conv2d(channels, 2, 1)))
    example = torch.ones(1, 1, *size)
    reference, cuda = pair(model, (example,), device, 'sticky', lambda n: [0.0] + [0.5] * (n - 1), name=str(channels))
    vectors = shift(size, 0, 2, block=4).qpel.copy()
    vectors[1:] = 0
    for motion in (None, MotionField(size, vectors, block=4)):
        assert_alike(reference, cuda, (example,), motion)
    between = cuda.recompute_set(cuda.layers[1])[2]  # reads what moves and what does not, all of one value
    assert between[4:].all() and not cuda.recompute_set(cuda.layers[1])[4, 4:].any()


def test_parts_that_move_apart(device):
    """What does not move as most of the picture does is copied from its place in the old map."""
    size = (48, 64)
    model = integers(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 1)))
    reference, cuda = pair(model, (torch.zeros(1, 1, *size),), device)
    rng = np.random.default_rng(8)
    image = torch.from_numpy(rng.integers(-4, 5, (1, 1, *size))).float()
    assert_alike(reference, cuda, (image,), None)
    for rows, cols in ((0, 4), (2, 0), (-2, -4)):
        vectors = shift(size, rows, cols).qpel.copy()
        vectors[2, :] = -8, 4
        motion = MotionField(size, vectors)
        image = moved(image, motion, rng)
        got, stats = assert_alike(reference, cuda, (image,), motion)
        assert_equal(got, model(image))
        assert stats.compute_ratio < 0.5
    assert {'gather_f32', 'scatter_f32'} <= set(device.launched)


def test_without_remap(device):
    reference, cuda = pair(integers(DeepLab(), 1, -1, 2), (torch.zeros(1, 3, 40, 40),), device, remap=False)
    for image, motion in scenes(11, 3, (40, 40), frames=6):
        assert_alike(reference, cuda, (image,), motion)


def test_a_long_drift_stays_in_memory(device):
    """A global shift moves the maps' origins; they come back to the middle when there is no more room."""
    size, spare = (32, 48), 0
    reference, cuda = pair(integers(drifting()), (torch.zeros(1, 1, *size),), device)
    for n, (image, motion) in enumerate(drift(size, 40)):
        before = len(device.launched)
        _, stats = assert_alike(reference, cuda, (image,), motion)
        assert motion is None or stats.compute_ratio < 0.5
        assert not any('gather' in name for name in device.launched[before:]), 'a global shift copies nothing'
        assert n < 2 or cuda.state_bytes == spare
        spare = cuda.state_bytes


def test_an_identical_frame_computes_nothing(device):
    image = picture(np.random.default_rng(2), 3, (40, 48))
    _, cuda = pair(integers(ResNetFPN(), 1, -1, 2), (image,), device, name='ResNetFPN')
    first = cuda.step(image)[0]
    again, stats = cuda.step(image, motion=MotionField.identity((40, 48)))
    assert stats.compute_ratio == stats.recompute_ratio == 0
    assert_equal(again, first)


def test_padding_wider_than_the_kernel(device):
    size = (12, 16)
    reference, cuda = pair(integers(nn.Conv2d(1, 2, 1, padding=3)), (torch.zeros(1, 1, *size),), device)
    image = picture(np.random.default_rng(2), 1, size)
    assert_alike(reference, cuda, (image,), None)
    for cols in (1, -2, 1):
        image = image.roll(cols, 3)
        assert_alike(reference, cuda, (image,), shift(size, 0, cols))


def test_poison_does_not_leak(device):
    model = integers(ResNetFPN(), 1, -1, 2)
    _, cuda = pair(model, (torch.zeros(1, 3, 40, 48),), device, name='ResNetFPN')
    check_poison(cuda, model, (40, 48), 4)


def test_two_streams_do_not_touch_each_other(device):
    size = (24, 32)
    model = integers(ResNetFPN(), 1, -1, 2)
    reference, cuda = pair(model, (torch.zeros(1, 3, *size),), device, name='ResNetFPN')
    other, other_cuda = reference.fork(), cuda.fork()
    for (a, motion), (b, other_motion) in zip(scenes(3, 3, size, frames=4), scenes(4, 3, size, frames=4), strict=True):
        assert_alike(reference, cuda, (a,), motion)
        assert_alike(other, other_cuda, (b,), other_motion)
    cuda.reset(), reference.reset()
    assert_alike(reference, cuda, (a,), motion)


@pytest.mark.parametrize('features', [False, True])
def test_the_local_model_runs_on_the_kernels(features, device):
    model, inputs = local_model((64, 96), features)
    _, module = pair(model, inputs, device)
    check_local_model(module, model, inputs, 0, 32)


def test_what_the_kernels_lack_is_named():
    example = (torch.zeros(1, 3, 32, 32),)
    with pytest.raises(Lacking, match='layer_norm'):
        pair(Attention().eval(), example, EmulatedDevice())
    simple = integers(nn.Conv2d(3, 2, 1))
    with pytest.raises(Lacking, match='float32 or float16, not in torch.bfloat16'):
        pair(simple, example, EmulatedDevice(), dtype=torch.bfloat16)
    with pytest.raises(Lacking, match='paper'):
        pair(simple, example, EmulatedDevice(), 'paper')
