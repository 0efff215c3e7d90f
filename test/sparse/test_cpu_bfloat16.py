"""The CPU kernels on bfloat16 maps: sums in float32 that are rounded once, on every instruction set, AMX or not."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_alike import assert_alike, check_poison, drift, drifting, engines, local_model, on_the_kernels
from sparse_nets import RandomNet, ResNetFPN, Sums, examples, integers, random_nets
from sparse_scenes import scenes
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.frames import MotionField
from dedelayed_ros.models import zoo
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cpu import CpuEngine
from dedelayed_ros.sparse.graph import trace

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')
BEST = native.instruction_set() or 'portable'
SETS = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(BEST) + 1]
MODES = ('per_layer', 'sticky', Alignment('calibrated', remainder=0.5, spread=1.0))


def pair(model, example, mode='per_layer', thresholds=None, instruction_set=None):
    """The same model in bfloat16 on the specification and on the kernels."""
    plan = trace(model, example, dtype=torch.bfloat16)
    return engines(plan, example, partial(CpuEngine, instruction_set=instruction_set), mode, thresholds)


def wide(stride: int = 1, dilation: int = 1) -> nn.Module:
    """Channels of which whole parts of the depth are read where they are, and rows that do not end with a tile."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride, padding=1),
        nn.ReLU6(),
        nn.Conv2d(64, 48, (1, 3), dilation=dilation),
        nn.Conv2d(48, 32, 1),
        nn.ConvTranspose2d(32, 19, 2, stride=2),
        nn.Hardswish(),
    ).eval()


@pytest.mark.parametrize('instruction_set', SETS)
def test_sums_are_those_of_the_reference(instruction_set):
    model = integers(Sums(), 1, -1, 2)
    reference, cpu = pair(model, (torch.zeros(1, 3, 24, 38),), instruction_set=instruction_set)
    for image, motion in scenes(8, 3, (24, 38), frames=8):
        assert_alike(reference, cpu, (image,), motion)


@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from(MODES))
@examples(14)
def test_random_networks_are_those_of_the_reference(steps, seed, h, w, mode):
    # torch rounds the sum of an average before it divides.
    steps = [step for step in on_the_kernels(steps) if step[0] != 'avgpool']
    example = torch.zeros(1, 2, h, w)
    model = RandomNet(steps, seed).build(example)
    reference, cpu = pair(model, (example,), mode, instruction_set=SETS[seed % len(SETS)])
    for image, motion in scenes(seed, 2, (h, w), frames=8):
        assert_alike(reference, cpu, (image,), motion)


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize(('stride', 'dilation', 'size'), [(1, 1, (17, 45)), (2, 1, (20, 77)), (1, 2, (9, 38))])
def test_wide_layers_are_those_of_the_reference(stride, dilation, size, instruction_set):
    model = integers(wide(stride, dilation), 1, -1, 1)
    reference, cpu = pair(model, (torch.zeros(1, 3, *size),), instruction_set=instruction_set)
    reused = False
    for image, motion in scenes(sum(size), 3, size, frames=8):
        _, stats = assert_alike(reference, cpu, (image,), motion)
        reused |= stats.compute_ratio < 1
    assert reused


@pytest.mark.parametrize('instruction_set', SETS)
def test_a_pixel_has_the_same_bits_whatever_it_is_computed_with(instruction_set):
    """Alone, or in a row that is read where it is."""
    torch.manual_seed(1)
    size = (30, 51)
    image = torch.randn(1, 3, *size)
    _, cpu = pair(wide(), (image,), instruction_set=instruction_set)
    cpu.step(image)
    still = MotionField.identity(size)
    for n in (1, 2, 3, 7, 16, 40, 120):
        image = image.clone()
        image.view(3, -1)[:, torch.randperm(size[0] * size[1])[:n]] += 1.0
        image[..., n % 30, : n % 51] -= 0.5
        got, stats = cpu.step(image, motion=still)
        assert stats.compute_ratio < 1
        assert torch.equal(got, cpu.fork().step(image)[0])


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize('channels', [3, 32])
def test_rounding_is_that_of_torch(channels, instruction_set):
    """Any bits of a float: ties, subnormal numbers, infinities, and what is not a number."""
    bits = torch.randint(-(2**31), 2**31, (1, channels, 16, 24), generator=torch.Generator().manual_seed(3))
    bits[:, :, ::2] = bits[:, :, ::2] // 2**15 * 2**15  # halfway between two, every other time
    bits[..., 0, 0] = 0x7F800001  # of which the upper half alone would be infinite
    image = bits.to(torch.int32).view(torch.float32)
    _, cpu = pair(nn.ReLU().eval(), (image,), instruction_set=instruction_set)
    got, _ = cpu.step(image)
    assert cpu.held('input').isnan().any()
    for found, wanted in ((cpu.held('input'), image), (got, image.relu())):
        torch.testing.assert_close(found, wanted.bfloat16(), rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize('threshold', [0.0, 1e-3])
def test_what_is_new_is_that_of_the_specification(threshold, instruction_set):
    """Zeros of either sign are alike, infinities are, and what is not a number is like nothing: in every channel."""
    size, channels = (16, 24), 75  # whole vectors, one of half the width, and some
    image = torch.ones(1, channels, *size)
    _, cpu = pair(
        nn.Conv2d(channels, 1, 1).eval(), (image,), thresholds=[threshold, 0.0], instruction_set=instruction_set
    )
    kinds = torch.tensor([0.0, -0.0, float('nan'), float('inf'), -float('inf'), 1.0, 1.0078125])
    rng = torch.Generator().manual_seed(5)
    channel = torch.randint(channels, size, generator=rng)[None, None]
    for _ in range(4):
        before, image = image, torch.ones(1, channels, *size)
        image.scatter_(1, channel, kinds[torch.randint(len(kinds), size, generator=rng)][None, None])
        image = torch.where(torch.rand(size, generator=rng) < 0.5, before, image)
        cpu.reset()
        cpu.step(before)
        cpu.step(image, motion=MotionField.identity(size))
        unlike = ~((image - before).abs() <= threshold) if threshold else ~(image == before)
        assert torch.equal(cpu.recompute_set('input'), unlike[0].any(0))


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize('features', [False, True])
def test_the_local_model_is_as_near_to_float32_as_in_torch(instruction_set, features):
    size = (96, 160)
    model = zoo.load_local('street-v1')
    _, inputs = local_model(size, features)
    reference, cpu = pair(model, inputs, instruction_set=instruction_set)
    with torch.no_grad():
        exact = model(*inputs)
    error = (reference.step(*inputs)[0].float() - exact).abs()
    found = (cpu.step(*inputs)[0].float() - exact).abs()
    assert found.mean() <= 1.2 * error.mean()
    assert found.max() <= 0.03 * exact.abs().max()


def test_any_number_of_threads_gives_the_same_bits():
    size = (96, 160)
    model, inputs = local_model(size, True)
    streams = [sparse.compile(model, inputs, dtype=torch.bfloat16, backend='cpu', threads=n) for n in (1, 2, 5)]
    for image, motion in scenes(5, 3, size, frames=6):
        wanted, *others = [stream.step(image, *inputs[1:], motion=motion)[0] for stream in streams]
        assert all(torch.equal(other, wanted) for other in others)


@pytest.mark.parametrize('instruction_set', SETS)
def test_poison_does_not_leak(instruction_set):
    for make in (ResNetFPN, wide):
        reference, cpu = pair(integers(make(), 1, -1, 1), (torch.zeros(1, 3, 40, 48),), instruction_set=instruction_set)
        check_poison(cpu, lambda image, dense=reference: dense.fork().step(image)[0], (40, 48), 4)


@pytest.mark.parametrize('instruction_set', SETS)
def test_a_camera_that_pans_and_comes_back_is_followed_by_tiles(instruction_set):
    size = (40, 56)
    model, example = integers(drifting(), 1, -1, 2), (torch.zeros(1, 1, *size),)
    plan = trace(model, example, dtype=torch.bfloat16)
    thresholds = [0.5 if index in plan.inputs else 0.0 for index in range(len(plan.nodes))]
    reference, cpu = pair(model, example, Alignment('tiles', tile=8), thresholds, instruction_set)
    ratios = []
    for image, motion in drift(size, 24):
        wanted, expected = reference.step(image, motion=motion)
        got, stats = cpu.step(image, motion=motion)
        assert torch.equal(got, wanted)
        assert stats.compute_ratio == pytest.approx(expected.compute_ratio)
        ratios.append(stats.compute_ratio)
    assert np.mean(ratios) < 0.6


def test_caches_between_cells_are_rounded_once():
    """Motion by parts of a cell: what is kept lies between cached values, within what bfloat16 can hold of them."""
    size = (48, 64)
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)).eval()
    example = (torch.rand(1, 3, *size),)
    modules = []
    for dtype in (torch.float32, torch.bfloat16):
        plan = trace(model, example, dtype=dtype)
        thresholds = tuple(100.0 if index in plan.inputs else 0.0 for index in range(len(plan.nodes)))
        engine = CpuEngine(plan, Alignment('tiles', tile=8), thresholds)
        modules.append(sparse.SparseModule(engine, (True,)))
    vectors = np.full((3, 4, 2), 3, np.int16)
    motion = MotionField(size, vectors, block=16)
    for step in range(4):
        exact, got = (module.step(*example, motion=motion if step else None)[0].float() for module in modules)
        torch.testing.assert_close(got, exact, rtol=0.0, atol=0.02 * float(exact.abs().max()))
