"""With every threshold zero, the exact modes equal a dense pass bit for bit, whatever the motion field says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_nets import Attention, DeepLab, Fused, MobileNetV3, RandomNet, ResNetFPN, examples, integers, random_nets
from sparse_scenes import picture, scenes
from torch.utils import _pytree as pytree

from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends import make_engine
from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.runtime import SparseModule

EXACT = ('per_layer', 'sticky')


def streams(model, example, modes=EXACT, remap=True):
    """A stream of every exact mode on the specification, through one plan (``test_cpu`` holds the kernels to it)."""
    plan = trace(model, example)
    zeros = [0.0] * len(plan.nodes)
    return [
        SparseModule(make_engine('reference', plan, Alignment(mode), zeros, remap=remap), (True,) * len(example))
        for mode in modes
    ]


def assert_equal(got, wanted):
    got, wanted = pytree.tree_leaves(got), pytree.tree_leaves(wanted)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        assert torch.equal(a, b), f'{int((a != b).sum())} of {a.numel()} values differ'


@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40))
@examples(12)
def test_random_networks_equal_dense(steps, seed, h, w):
    example = torch.zeros(1, 2, h, w)
    model = RandomNet(steps, seed).build(example)
    sparse = streams(model, (example,))
    for image, motion in scenes(seed, 2, (h, w)):
        wanted = model(image)
        for stream in sparse:
            assert_equal(stream.step(image, motion=motion)[0], wanted)


NETS = {
    'resnet-fpn': (ResNetFPN, 1),
    'mobilenet-v3': (MobileNetV3, 6),
    'deeplab': (DeepLab, 1),
    'fused': (Fused, 1),
}


@pytest.mark.parametrize('name', NETS)
@pytest.mark.parametrize('size', [(48, 64), (39, 50)])
def test_networks_equal_dense(name, size):
    make, step = NETS[name]
    model = integers(make(), 1, -1, 2, step)
    sparse = streams(model, (torch.zeros(1, 3, *size),))
    reused = False
    for image, motion in scenes(sum(size), 3, size):
        wanted = model(image * step)
        for stream in sparse:
            got, stats = stream.step(image * step, motion=motion)
            assert_equal(got, wanted)
            reused |= stats.compute_ratio < 1
    assert reused


def test_attention_equals_dense_within_rounding():
    torch.manual_seed(0)
    model = Attention().eval()
    sparse = streams(model, (torch.zeros(1, 3, 32, 48),))
    for image, motion in scenes(5, 3, (32, 48)):
        for stream in sparse:
            torch.testing.assert_close(stream.step(image, motion=motion)[0], model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('make', [ResNetFPN, MobileNetV3, DeepLab])
def test_real_weights_equal_dense_within_rounding(make):
    torch.manual_seed(0)
    model = make().eval()
    sparse = streams(model, (torch.zeros(1, 3, 48, 40),))
    for image, motion in scenes(7, 3, (48, 40), frames=8):
        wanted = pytree.tree_leaves(model(image))
        for stream in sparse:
            for a, b in zip(pytree.tree_leaves(stream.step(image, motion=motion)[0]), wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_without_remap_equals_dense():
    model = integers(DeepLab(), 1, -1, 2)
    sparse = streams(model, (torch.zeros(1, 3, 40, 40),), remap=False)
    for image, motion in scenes(11, 3, (40, 40)):
        for stream in sparse:
            assert_equal(stream.step(image, motion=motion)[0], model(image))


def test_calibrated_without_tolerances_is_per_layer():
    model = integers(ResNetFPN(), 1, -1, 2)
    exact, calibrated = streams(model, (torch.zeros(1, 3, 48, 48),), ('per_layer', 'calibrated'))
    for image, motion in scenes(13, 3, (48, 48)):
        a, stats = exact.step(image, motion=motion)
        b, other = calibrated.step(image, motion=motion)
        assert_equal(a, b)
        for name in exact.layers:
            assert torch.equal(exact.recompute_set(name), calibrated.recompute_set(name))
        assert [x.compute_ratio for x in stats.layers] == [x.compute_ratio for x in other.layers]


def test_features_and_age_equal_dense():
    model = integers(Fused(), 1, -1, 2)
    size = (48, 64)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 6, 8), torch.zeros(1))
    sparse = streams(model, example)
    generator = torch.Generator().manual_seed(3)
    rng = np.random.default_rng(4)
    features, age = picture(rng, 2, (6, 8)), torch.ones(1)
    for n, (image, motion) in enumerate(scenes(17, 3, size)):
        if n % 4 == 3:
            features = features.roll(int(torch.randint(0, 2, (), generator=generator)), 2)
        if n % 6 == 5:
            age = age + 1
        for stream in sparse:
            assert_equal(stream.step(image, features, age, motion=motion)[0], model(image, features, age))
