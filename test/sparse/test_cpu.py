"""The CPU kernels against the specification: the same sets, the same values, on every instruction set."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sparse_alike import (
    assert_alike,
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
    Fused,
    MobileNetV3,
    RandomNet,
    ResNetFPN,
    Sums,
    examples,
    integers,
    random_nets,
)
from sparse_scenes import picture, scenes, shift
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cpu import CpuEngine
from dedelayed_ros.sparse.graph import trace

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')
BEST = native.instruction_set() or 'portable'
SETS = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(BEST) + 1]
MODES = (
    'per_layer',
    'sticky',
    'off',
    Alignment('paper', r_max=5, s_max=2),
    Alignment('paper'),
    Alignment('calibrated', remainder=0.5, spread=1.0),
    Alignment('calibrated', remainder=0.5),
    Alignment('calibrated', remainder=0.25, spread=0.3),
    Alignment('calibrated', spread=0.5),
)
EXACT = MODES[:2]


def pair(model, example, mode='per_layer', thresholds=None, remap=True, instruction_set=None):
    """The same model on the specification and on the kernels."""
    make = partial(CpuEngine, instruction_set=instruction_set)
    return engines(trace(model, example), example, make, mode, thresholds, remap)


@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from(MODES))
@examples(14)
def test_random_networks_are_those_of_the_reference(steps, seed, h, w, mode):
    example = torch.zeros(1, 2, h, w)
    model = RandomNet(on_the_kernels(steps), seed).build(example)
    reference, cpu = pair(model, (example,), mode, instruction_set=SETS[seed % len(SETS)])
    for image, motion in scenes(seed, 2, (h, w)):
        got, _ = assert_alike(reference, cpu, (image,), motion)
        if mode in EXACT:
            for a, b in zip(got, model(image), strict=True):
                assert torch.equal(a, b)


@given(random_nets(), st.integers(0, 10**6), st.sampled_from(MODES))
@examples(12)
def test_truncation_is_that_of_the_reference(steps, seed, mode):
    size = (24, 33)
    model = RandomNet(on_the_kernels(steps), seed).build(torch.zeros(1, 2, *size))
    plan = trace(model, (torch.zeros(1, 2, *size),))
    thresholds = [float(x) for x in np.random.default_rng(seed).choice([0, 0, 1, 2, 3], len(plan.nodes))]
    reference, cpu = pair(model, (torch.zeros(1, 2, *size),), mode, thresholds)
    for image, motion in scenes(seed, 2, size, frames=10):
        assert_alike(reference, cpu, (image,), motion)


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize('net', [(ResNetFPN, 1, (39, 50)), (MobileNetV3, 6, (48, 64)), (DeepLab, 1, (48, 64))])
def test_networks_are_those_of_the_reference(net, instruction_set):
    make, step, size = net
    model = integers(make(), 1, -1, 2, step)
    reference, cpu = pair(model, (torch.zeros(1, 3, *size),), instruction_set=instruction_set)
    reused = False
    for image, motion in scenes(sum(size), 3, size, frames=12):
        _, stats = assert_alike(reference, cpu, (image * step,), motion)
        reused |= stats.compute_ratio < 1
    assert reused


@pytest.mark.parametrize('mode', MODES, ids=str)
def test_features_and_age_are_those_of_the_reference(mode):
    size = (48, 64)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 6, 8), torch.zeros(1))
    reference, cpu = pair(integers(Fused(), 1, -1, 2), example, mode)
    rng = np.random.default_rng(4)
    features, age = picture(rng, 2, (6, 8)), torch.ones(1)
    for n, (image, motion) in enumerate(scenes(17, 3, size)):
        if n % 4 == 3:
            features = features.roll(1, 2)
        if n % 6 == 5:
            age = age + 1
        assert_alike(reference, cpu, (image, None if n % 5 == 4 else features, age), motion)


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize('mode', ['sticky', MODES[-1]], ids=str)
def test_sums_are_those_of_the_reference(mode, instruction_set):
    model = integers(Sums(), 1, -1, 2)
    reference, cpu = pair(model, (torch.zeros(1, 3, 24, 38),), mode, instruction_set=instruction_set)
    assert sum(node.addend is not None for node in cpu.plan.nodes) == Sums.folded
    for image, motion in scenes(8, 3, (24, 38), frames=8):
        got, _ = assert_alike(reference, cpu, (image,), motion)
        if mode in EXACT:
            assert torch.equal(got, model(image))


def test_without_remap():
    reference, cpu = pair(integers(DeepLab(), 1, -1, 2), (torch.zeros(1, 3, 40, 40),), remap=False)
    for image, motion in scenes(11, 3, (40, 40), frames=10):
        assert_alike(reference, cpu, (image,), motion)


def test_a_long_drift_stays_in_memory():
    """A global shift moves the maps' origins; they come back to the middle when there is no more room."""
    size = (32, 48)
    reference, cpu = pair(integers(drifting()), (torch.zeros(1, 1, *size),))
    spare = cpu.state_bytes
    for image, motion in drift(size, 60):
        _, stats = assert_alike(reference, cpu, (image,), motion)
        assert motion is None or (stats.compute_ratio < 0.5 and cpu.state_bytes == spare)
        spare = cpu.state_bytes


def test_padding_wider_than_the_kernel():
    """Positions that see padding alone are taken as moved by nobody, as in the specification."""
    size = (12, 16)
    reference, cpu = pair(integers(nn.Conv2d(1, 2, 1, padding=3)), (torch.zeros(1, 1, *size),))
    image = picture(np.random.default_rng(2), 1, size)
    assert_alike(reference, cpu, (image,), None)
    for cols in (1, -2, 1):
        image = image.roll(cols, 3)
        assert_alike(reference, cpu, (image,), shift(size, 0, cols))


@pytest.mark.parametrize('instruction_set', SETS)
def test_resampling_reads_nothing_beyond_the_border(instruction_set):
    """What lies in memory after a row is the next one; a weight of 0 does not make an infinity go away."""
    image = torch.zeros(1, 20, 5, 7)
    image[..., 0] = float('inf')
    model = nn.Upsample(scale_factor=2, mode='bilinear').eval()
    _, cpu = pair(model, (image,), instruction_set=instruction_set)
    assert torch.isfinite(cpu.step(image)[0][..., 3:]).all()


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize(
    'layer',
    [
        nn.ConvTranspose2d(5, 43, 2, stride=2),  # blocks of channels, the last one in part
        nn.ConvTranspose2d(5, 7, (2, 3), stride=(3, 3), output_padding=(1, 0)),  # rows that no tap reaches
        nn.ConvTranspose2d(5, 7, 2, stride=3, padding=1, dilation=2),
        nn.ConvTranspose2d(5, 7, 3, stride=2, padding=1),  # taps that overlap
    ],
    ids=['apart', 'gaps', 'padded', 'overlapping'],
)
def test_transposed_convolutions_are_those_of_torch(layer, instruction_set):
    model = integers(nn.Sequential(nn.Conv2d(3, 5, 1), layer), 2)
    reference, cpu = pair(model, (torch.zeros(1, 3, 9, 14),), instruction_set=instruction_set)
    for image, motion in scenes(5, 3, (9, 14), frames=4):
        got, _ = assert_alike(reference, cpu, (image,), motion)
        assert torch.equal(got, model(image))


@pytest.mark.parametrize('instruction_set', SETS)
@pytest.mark.parametrize('kernel', [2, 3])
def test_some_of_the_outputs_that_a_transposed_convolution_makes_of_a_pixel(kernel, instruction_set):
    """A column that comes in from the side is less than what a pixel makes in a row, which is computed together."""
    model = integers(nn.Sequential(nn.Conv2d(3, 5, 1, stride=kernel), nn.ConvTranspose2d(5, 19, kernel, kernel)), 2)
    size = (4 * kernel, 7 * kernel)
    reference, cpu = pair(model, (torch.zeros(1, 3, *size),), 'off', instruction_set=instruction_set)
    rng = np.random.default_rng(kernel)
    image = picture(rng, 3, size)
    assert_alike(reference, cpu, (image,), None)
    for cols in (1, -1, 2, -2, 1):
        image = image.roll(cols, 3)
        _, stats = assert_alike(reference, cpu, (image,), shift(size, 0, cols))
        assert 0 < stats.layers[-1].compute_ratio < 0.5


@pytest.mark.parametrize('features', [False, True])
def test_the_local_model_runs_on_the_kernels(features):
    model, inputs = local_model((64, 96), features)
    check_local_model(sparse.compile(model, inputs, backend='cpu'), model, inputs, 0, 32)


@pytest.mark.parametrize('instruction_set', SETS)
def test_a_pixel_has_the_same_bits_whatever_it_is_computed_with(instruction_set):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 37, 3, padding=1), nn.ReLU(), nn.Conv2d(37, 16, 3, dilation=2)).eval()
    image = torch.randn(1, 3, 20, 27)
    _, cpu = pair(model, (image,), instruction_set=instruction_set)
    cpu.step(image)
    still = MotionField.identity((20, 27))
    for n in (1, 2, 3, 5, 11, 17):
        image = image.clone()
        image.view(3, -1)[:, torch.randperm(20 * 27)[:n]] += 1.0
        got, stats = cpu.step(image, motion=still)
        assert stats.compute_ratio < 1
        assert torch.equal(got, cpu.fork().step(image)[0])
    torch.testing.assert_close(got, model(image).detach(), rtol=1e-4, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    size = (96, 160)
    model, inputs = local_model(size, True)
    streams = [sparse.compile(model, inputs, backend='cpu', threads=n) for n in (1, 2, 5)]
    for n, (image, motion) in enumerate(scenes(5, 3, size, frames=8)):
        wanted, expected = streams[0].step(image, *inputs[1:], motion=motion)
        for stream in streams[1:]:
            got, stats = stream.step(image, *inputs[1:], motion=motion)
            assert torch.equal(got, wanted), n
            assert stats.compute_ratio == expected.compute_ratio
            assert [x.recompute_ratio for x in stats.layers] == [x.recompute_ratio for x in expected.layers]


@pytest.mark.parametrize('mode', [MODES[0], MODES[5]], ids=str)
def test_a_frame_that_is_mostly_new_is_computed_in_full(mode):
    """The results are those of a dense pass, and what follows reuses it as if nothing had happened."""
    size = (64, 96)
    model = integers(DeepLab(), 1, -1, 2)
    example = (torch.zeros(1, 3, *size),)
    module = sparse.compile(model, example, alignment=mode, backend='cpu', dense_above=0.5)
    full = sparse.compile(model, example, alignment=mode, backend='cpu')
    rng = np.random.default_rng(1)
    image = picture(rng, 3, size)
    module.step(image)
    still = MotionField.identity(size)
    for share in (0.3, 0.6, 0.1, 0.9, 0.0):
        image = image.clone()
        image[..., : round(share * size[1])] += 1
        full.reset()
        got, stats = module.step(image, motion=still)
        wanted, _ = full.step(image)
        assert torch.equal(got, wanted)
        assert (stats.compute_ratio == 1) == (share > 0.5)
        assert stats.recompute_ratio == pytest.approx(share, abs=0.01)


def test_threads_are_checked():
    with pytest.raises(InputError, match='threads is 0'):
        sparse.compile(nn.Conv2d(1, 1, 1).eval(), (torch.zeros(1, 1, 4, 4),), threads=0)


def test_poison_does_not_leak():
    model = integers(ResNetFPN(), 1, -1, 2)
    _, cpu = pair(model, (torch.zeros(1, 3, 40, 48),))
    check_poison(cpu, model, (40, 48), 8)


def test_auto_takes_the_kernels_where_they_can():
    image = torch.zeros(1, 3, 32, 32)
    assert sparse.compile(integers(DeepLab()), (image,)).backend == 'cpu'
    module = sparse.compile(Attention().eval(), (image,))
    assert module.backend == 'reference' and 'layer_norm' in module.backend_reason
    assert sparse.compile(integers(DeepLab()), (image,), dtype=torch.bfloat16).backend == 'cpu'
    module = sparse.compile(integers(DeepLab()), (image,), dtype=torch.float16)
    assert module.backend == 'reference' and 'float32 or bfloat16, not in torch.float16' in module.backend_reason


class Odd(nn.Module):
    def forward(self, x):
        return F.pixel_shuffle(torch.cat([x, x], 1).softmax(1), 2)


class Transformer(nn.Module):
    """Four layers that lack the same, among others."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(4)))

    def forward(self, x):
        return self.blocks(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


def test_what_the_kernels_lack_is_named():
    with pytest.raises(InputError, match=r"(?s)layer '_?softmax.*softmax.*'pixel_shuffle.*Shuffle.*use 'reference'"):
        sparse.compile(Odd().eval(), (torch.zeros(1, 2, 8, 8),), backend='cpu')
    with pytest.raises(InputError, match=r'scaled_dot_product_attention, .*and \d+ other operations') as raised:
        sparse.compile(Transformer().eval(), (torch.zeros(1, 16, 8, 8),), backend='cpu')
    assert ' and 3 more (' in str(raised.value) and len(str(raised.value)) < 800


def test_strides_of_the_given_tensor_do_not_matter():
    model = integers(nn.Conv2d(3, 2, 3, padding=1))
    module = sparse.compile(model, (torch.zeros(1, 3, 12, 16),), backend='cpu')
    image = picture(np.random.default_rng(3), 3, (12, 16))
    for given_image in (image.contiguous(memory_format=torch.channels_last), image.transpose(2, 3).clone().mT, image):
        assert torch.equal(module.step(given_image)[0], model(image))
    flat = image[:, :1].expand(1, 3, 12, 16)
    assert torch.equal(module.step(flat)[0], model(flat))
