"""Truncation: what thresholds leave out is bounded, layer by layer and for ever."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_nets import RandomNet, ResNetFPN, examples, integers, random_nets
from sparse_scenes import picture, scenes, shift
from torch import nn

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.backends.evaluate import evaluate
from dedelayed_ros.sparse.backends.reference import ReferenceEngine
from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.ops import Input


def assert_every_layer_within_threshold(engine, state):
    """Each layer's value is within its own threshold of what it computes from the values of its inputs."""
    for node in engine.plan.nodes:
        if not isinstance(node.op, Input):
            fresh = evaluate(node, [state.values[i] for i in node.inputs])
            error = (fresh - state.values[node.index]).abs().max()
            assert error <= engine.thresholds[node.index], (node.name, float(error))


@given(random_nets(), st.integers(0, 10**6), st.sampled_from(['per_layer', 'sticky']))
@examples(6)
def test_every_layer_stays_within_its_threshold(steps, seed, mode):
    size = (24, 33)
    model = RandomNet(steps, seed).build(torch.zeros(1, 2, *size))
    plan = trace(model, (torch.zeros(1, 2, *size),))
    rng = np.random.default_rng(seed)
    thresholds = tuple(float(x) for x in rng.choice([0, 0, 1, 2, 3], len(plan.nodes)))
    engine = ReferenceEngine(plan, Alignment(mode), thresholds)
    state = engine.new_state()
    for image, motion in scenes(seed, 2, size, frames=12):
        engine.step(state, [image], motion)
        assert (state.values[0] - image).abs().max() <= thresholds[0]
        assert_every_layer_within_threshold(engine, state)


def test_static_noise_does_not_drift():
    """Noise below the threshold for a thousand frames: the memory stays where it was, and so does the output."""
    model = integers(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 3, 1, 1)), 2)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 16, 16, generator=generator) * 255
    plan = trace(model, (image,))
    thresholds = {'0': 2.0, plan.nodes[0].name: 8.0}
    module = sparse.compile(model, (image,), thresholds=thresholds)
    still = MotionField.identity((16, 16))
    first, _ = module.step(image)
    slope = float(model[2].weight.abs().sum((1, 2, 3)).max())
    inner = float(model[0].weight.abs().sum((1, 2, 3)).max())
    for _ in range(1000):
        noisy = image + torch.rand(image.shape, generator=generator) * 8 - 4
        out, stats = module.step(noisy, motion=still)
        assert stats.recompute_ratio == 0
        assert torch.equal(out, first)
    assert (out - model(noisy)).abs().max() <= slope * (inner * 8 + 2)


def test_slow_change_is_noticed():
    """Steps far below the threshold add up against the kept value, not against the last frame."""
    module = sparse.compile(nn.Conv2d(1, 1, 1).eval(), (torch.zeros(1, 1, 4, 4),), thresholds={'input': 1.0})
    still = MotionField.identity((4, 4))
    module.step(torch.zeros(1, 1, 4, 4))
    changed = [module.step(torch.full((1, 1, 4, 4), 0.25 * n), motion=still)[1].recompute_ratio for n in range(1, 11)]
    assert changed == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_sets_shrink_as_the_input_threshold_grows():
    model = integers(ResNetFPN(), 1, -1, 2)
    rng = np.random.default_rng(3)
    image = picture(rng, 3, (48, 48)) * 10
    changed = image.roll(4, 2) + torch.from_numpy(rng.integers(-6, 7, (1, 3, 48, 48)))
    before = None
    for threshold in (0, 1, 2, 4, 6, 20):
        module = sparse.compile(model, (image,), thresholds={'x': threshold})
        module.step(image)
        _, stats = module.step(changed, motion=shift((48, 48), 0, 4))
        dirty, computed = module.recompute_set('x'), stats.layers[1].compute_ratio
        if before is not None:
            assert not (dirty & ~before[0]).any()
            assert computed <= before[1]
        before = dirty, computed
    assert dirty[:, 8:].sum() == 0


def test_bound_of_a_layer():
    """|O − Ô| ≤ ‖w‖₁ · Δmax for each output channel (Eq. 7), attained by inputs that lie against it."""
    conv = integers(nn.Conv2d(2, 3, 3, padding=1), 4)
    image = picture(np.random.default_rng(2), 2, (12, 12)) * 10
    delta = 3.0
    module = sparse.compile(conv, (image,), thresholds={'input': delta})
    kept, _ = module.step(image)
    bound = conv.weight.abs().sum((1, 2, 3)) * delta
    worst = torch.zeros(3)
    rng = np.random.default_rng(5)
    for n in range(8):
        noise = torch.from_numpy(rng.integers(-3, 4, image.shape)).float()
        if n < 3:  # the worst there is for channel n, at one position
            noise = torch.zeros_like(image)
            noise[0, :, 4:7, 4:7] = conv.weight[n].sign() * delta
        got, stats = module.step(image + noise, motion=MotionField.identity((12, 12)))
        assert stats.recompute_ratio == 0 and torch.equal(got, kept)
        worst = torch.maximum(worst, (got - conv(image + noise)).abs().amax((0, 2, 3)))
        assert (worst <= bound).all()
    assert torch.equal(worst, bound)


@pytest.mark.parametrize('backend', ['reference', 'auto'])
@pytest.mark.parametrize('read', [False, True])
def test_only_a_layer_that_another_reads_is_compared(backend, read):
    """To compare the last one would spare nothing: what is computed of it counts as new."""
    same = nn.Conv2d(1, 1, 1)
    nn.init.zeros_(same.weight)
    model = nn.Sequential(nn.Conv2d(1, 1, 1), same, *([nn.Conv2d(1, 2, 3)] if read else [])).eval()
    image = torch.zeros(1, 1, 8, 8)
    module = sparse.compile(model, (image,), backend=backend)
    module.step(image)
    image[..., 4, 5] = 1.0
    _, stats = module.step(image, motion=MotionField.identity((8, 8)))
    assert stats.layer('1').compute_ratio == 1 / 64
    assert stats.layer('1').recompute_ratio == (0 if read else 1 / 64)
    assert torch.equal(module.recompute_set('1'), torch.zeros(8, 8, dtype=torch.bool) if read else image[0, 0] > 0)


def test_a_layer_can_be_named_by_what_was_folded_into_it():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    image = torch.rand(1, 1, 8, 8)
    module = sparse.compile(model, (image,), thresholds={'2': 100.0})
    module.step(image)
    _, stats = module.step(image + 1, motion=MotionField.identity((8, 8)))
    assert stats.layer('0').compute_ratio == 1 and stats.layer('0').recompute_ratio == 0


@pytest.mark.parametrize('thresholds', [{'nothing': 1.0}, {'0': -1.0}, {'0': float('nan')}])
def test_thresholds_are_checked(thresholds):
    with pytest.raises(InputError, match=r'there are|expected 0 or more'):
        sparse.compile(nn.Sequential(nn.Conv2d(1, 1, 1)).eval(), (torch.zeros(1, 1, 4, 4),), thresholds=thresholds)
