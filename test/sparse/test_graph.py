"""Ordinary modules become plans: what is folded, where the strides end up, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sparse_nets import Attention, DeepLab, MobileNetV3, ResNetFPN, integers
from sparse_scenes import scenes
from torch import nn

from dedelayed_ros import sparse
from dedelayed_ros.errors import DedelayedError, InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.ops import Addend, Conv, Global, Pad, Pointwise, Resize


class Call(nn.Module):
    """A module from a function of the frame; ``parts`` are its layers."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.function(self, x)


def plan_of(function, shape=(1, 4, 16, 24), unsupported='error', **parts):
    return trace(Call(function, **parts).eval(), (torch.zeros(shape),), unsupported=unsupported)


def kinds(plan):
    return [type(node.op).__name__ for node in plan.nodes]


def assert_same(function, shape=(1, 4, 16, 24), frames=5, **parts):
    """The module equals a dense pass over a few frames."""
    torch.manual_seed(0)
    model = Call(function, **parts).eval()
    module = sparse.compile(model, (torch.zeros(shape),))
    for image, motion in scenes(1, shape[1], shape[2:], frames):
        got, _ = module.step(image, motion=motion)
        with torch.no_grad():
            torch.testing.assert_close(got, model(image), rtol=1e-4, atol=1e-5)
    return module.plan


def test_batch_norm_and_activation_are_folded():
    plan = trace(ResNetFPN().eval(), (torch.zeros(1, 3, 64, 64),))
    stem = plan.find('stem.0.0')
    assert stem.aliases == ('stem.0.1', 'stem.0.2') and len(stem.epilogue) == 1 and stem.op.bias is not None
    assert kinds(plan).count('Conv') == sum(isinstance(m, nn.Conv2d) for m in ResNetFPN().modules())
    assert {tuple(map(int, n.grid.stride)) for n in plan.nodes} == {(s, s) for s in (1, 2, 4, 8, 16)}
    assert stem.macs == 4 * 3 * 49


def test_a_shared_convolution_keeps_its_own_value():
    """What two layers read is not folded into: here batch norm is one reader of two."""
    plan = assert_same(
        lambda m, x: torch.cat([(y := m.conv(x)), m.norm(y).relu()], 1),
        conv=nn.Conv2d(4, 4, 3, padding=1),
        norm=nn.BatchNorm2d(4),
    )
    assert not plan.find('conv').aliases


def test_a_sum_is_folded_into_what_computes_the_later_part_of_it():
    """Of a block and what goes around it only the sum is kept; functions before and after stay in their places."""
    plan = assert_same(lambda m, x: (x + m.conv(x).relu()).clamp(-1, 1) * 2, conv=nn.Conv2d(4, 4, 3, padding=1))
    assert kinds(plan) == ['Input', 'Conv'] and plan.nodes[1].inputs == (0, 0) and plan.nodes[1].addend == 1
    assert [isinstance(step, Addend) for step in plan.nodes[1].epilogue] == [False, True, False, False]
    assert plan.find('add') is plan.find('conv')
    plan = assert_same(
        lambda m, x: m.fine(x) + F.interpolate(m.coarse(x), scale_factor=2, mode='bilinear'),
        fine=nn.Conv2d(4, 5, 1),
        coarse=nn.Conv2d(4, 5, 3, 2, 1),
    )
    assert kinds(plan) == ['Input', 'Conv', 'Conv', 'Resize'] and plan.nodes[3].inputs == (2, 1)


@pytest.mark.parametrize(
    'function',
    [
        lambda m, x: torch.cat([x + (y := m.conv(x)), y], 1),  # read by others too
        lambda m, x: m.conv(x) + m.conv(x).mean((2, 3), keepdim=True),  # of another size
        lambda m, x: torch.add(x, m.conv(x), alpha=2),  # not a plain sum
        lambda m, x: (y := m.conv(x)) + y,
        lambda m, x: x + x.flip(1)[:, :1],  # other channels
    ],
)
def test_other_sums_stay_by_themselves(function):
    plan = assert_same(function, conv=nn.Conv2d(4, 4, 3, padding=1))
    assert all(node.addend is None for node in plan.nodes)


def test_what_moves_otherwise_is_not_added_along():
    """Features that are carried stay as they are where only the picture changes."""

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, self.expand = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(2, 4, 3, padding=1)

        def forward(self, image, features):
            return self.image(image) + self.expand(features)

    plan = trace(Fused().eval(), (torch.zeros(1, 3, 16, 24), torch.zeros(1, 2, 8, 12)))
    assert kinds(plan) == ['Input', 'Input', 'Conv', 'Conv', 'Pointwise']


def test_zero_padding_becomes_part_of_the_convolution():
    plan = assert_same(lambda m, x: m.conv(F.pad(x, (0, 1, 2, 0))), conv=nn.Conv2d(4, 2, 3, 2))
    assert kinds(plan) == ['Input', 'Conv'] and plan.nodes[1].op.padding == ((2, 0), (0, 1))
    plan = assert_same(lambda m, x: F.max_pool2d(F.pad(x, (0, 1, 2, 0)), 3, 2))
    assert isinstance(plan.nodes[1].op, Pad)


def test_layouts_are_seen_through():
    """Tokens, channels-last norms and heads are other ways to read [1, C, h, w]."""
    plan = assert_same(
        lambda m, x: m.linear(m.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        norm=nn.LayerNorm(4),
        linear=nn.Linear(4, 6),
    )
    assert kinds(plan) == ['Input', 'Pointwise', 'Conv']
    plan = assert_same(
        lambda m, x: m.linear(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:]),
        linear=nn.Linear(4, 6),
    )
    assert kinds(plan) == ['Input', 'Conv']


def test_channel_shuffle_is_a_gather():
    plan = assert_same(lambda m, x: x.view(1, 2, 2, 16, 24).transpose(1, 2).reshape(1, 4, 16, 24) * 2)
    assert kinds(plan) == ['Input', 'Gather']
    assert plan.nodes[1].op.index.tolist() == [0, 2, 1, 3]
    plan = assert_same(lambda m, x: x.flip(1)[:, 1:3])
    assert kinds(plan) == ['Input', 'Gather', 'Gather']


@pytest.mark.parametrize(
    'function',
    [
        lambda m, x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1).sqrt(),
        lambda m, x: F.normalize(x, dim=1),
        lambda m, x: x.softmax(1).log_softmax(1),
        lambda m, x: F.silu(x) + F.gelu(x) * F.hardswish(x) - F.elu(x) / 2 + F.leaky_relu(x, 0.1) + 2**x,
        lambda m, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)).expand_as(x),
        lambda m, x: x * F.adaptive_avg_pool2d(x, 1).flatten(1).relu().view(1, 4, 1, 1),
        lambda m, x: F.interpolate(F.max_pool2d(x, 2, 2, ceil_mode=True), size=(16, 24), mode='bicubic') + x,
        lambda m, x: x + torch.linspace(0, 1, 24),
        lambda m, x: torch.stack([x, x * 2], 1).sum(1),
        lambda m, x: torch.where(x > 1, x, -x).clamp(-1, 1),
        lambda m, x: F.group_norm(x, 2),
        lambda m, x: F.pixel_shuffle(x, 2) + F.interpolate(x[:, :1], scale_factor=2),
        lambda m, x: x.view(1, 4, 4, 4, 6, 4).permute(0, 2, 4, 3, 5, 1).flatten(1, 2).softmax(2).sum((1, 2, 3)),
        lambda m, x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1) @ x.flatten(2),
        lambda m, x: torch.einsum('bchw,bdhw->bcd', x, x),
        lambda m, x: (x.mean(3, keepdim=True) * x.mean(2, keepdim=True)).sigmoid() * x,
        lambda m, x: F.prelu(x - 1, torch.tensor([0.1, 0.2, 0.3, 0.4])),
        lambda m, x: {'classes': x.argmax(1), 'best': x.amax(1)},
    ],
)
def test_functions_equal_dense(function):
    assert_same(function)


def test_attention_is_global_and_the_rest_is_not():
    plan = trace(Attention().eval(), (torch.zeros(1, 3, 32, 48),))
    assert next(n.name for n in plan.nodes if isinstance(n.op, Global)) == 'scaled_dot_product_attention'
    assert isinstance(plan.find('qkv').op, Conv) and isinstance(plan.find('norm').op, Pointwise)
    assert plan.find('mlp').grid.stride == (4, 4)


def test_ragged_sizes_meet_on_the_same_grid():
    plan = trace(DeepLab().eval(), (torch.zeros(1, 3, 39, 50),))
    resized = [n for n in plan.nodes if isinstance(n.op, Resize)]
    assert resized[0].grid.stride == (4, 4) and resized[-1].grid.stride == (1, 1)


def test_structure_of_the_outputs():
    model = integers(ResNetFPN(), 1, -1, 2)
    image = torch.ones(1, 3, 32, 32)
    out, _ = sparse.compile(model, (image,)).step(image)
    assert list(out) == ['fine', 'levels'] and len(out['levels']) == 3
    out, _ = sparse.compile(Call(lambda m, x: (x, None, [x * 2, 3])).eval(), (image,)).step(image)
    assert torch.equal(out[0], image) and out[1] is None and torch.equal(out[2][0], image * 2) and out[2][1] == 3


def test_an_unknown_operation_is_named():
    with pytest.raises(DedelayedError, match=r"layer 'cummax'.*aten.cummax.*unsupported='dense'"):
        plan_of(lambda m, x: x.cummax(2).values)
    with pytest.raises(DedelayedError, match=r"layer 'inner.sort' uses aten.sort"):
        plan_of(lambda m, x: m.inner(x), inner=Call(lambda m, x: x.sort(1).values))


def test_dense_islands():
    torch.manual_seed(0)
    model = Call(
        lambda m, x: m.b(m.a(x).cummax(2).values), a=nn.Conv2d(4, 4, 3, padding=1), b=nn.Conv2d(4, 2, 1)
    ).eval()
    image = torch.rand(1, 4, 16, 24)
    module = sparse.compile(model, (image,), unsupported='dense')
    module.step(image)
    changed = image.clone()
    changed[..., 3, 3] += 1
    got, stats = module.step(changed, motion=MotionField.identity((16, 24)))
    torch.testing.assert_close(got, model(changed), rtol=1e-4, atol=1e-5)
    assert stats.layer('a').compute_ratio == 9 / 384 and stats.layer('b').compute_ratio > stats.layer('a').compute_ratio


@pytest.mark.parametrize(
    ('function', 'message'),
    [
        (lambda m, x: x + torch.rand_like(x), 'random'),
        (lambda m, x: F.dropout(x, 0.5, training=True), 'random'),
        (lambda m, x: x * 2 if x.sum() > 0 else x, 'cannot trace'),
        (lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1], 'not available'),
    ],
)
def test_what_cannot_be_reused_is_refused(function, message):
    with pytest.raises(InputError, match=message):
        plan_of(function)


def test_arguments_are_checked():
    conv, image = nn.Conv2d(1, 1, 1).eval(), torch.zeros(1, 1, 4, 4)
    with pytest.raises(InputError, match='training mode'):
        sparse.compile(nn.Conv2d(1, 1, 1), (image,))
    with pytest.raises(InputError, match=r'\[1, C, H, W\]'):
        sparse.compile(conv, (torch.zeros(2, 1, 4, 4),))
    with pytest.raises(InputError, match='dtype'):
        sparse.compile(conv, (image,), dtype=torch.float64)
    with pytest.raises(InputError, match='there is reference'):
        sparse.compile(conv, (image,), backend='tpu')
    with pytest.raises(InputError, match='unsupported'):
        sparse.compile(conv, (image,), unsupported='maybe')
    module = sparse.compile(conv, (image,))
    with pytest.raises(InputError, match='no step'):
        module.held('input')
    module.step(image)
    with pytest.raises(InputError, match='there are: input'):
        module.held('conv')


def test_a_model_with_state_is_refused():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('seen', torch.zeros(()))

        def forward(self, x):
            self.seen.add_(1)
            return x * self.seen

    with pytest.raises(InputError, match='own state'):
        trace(Counter().eval(), (torch.zeros(1, 1, 4, 4),))


def test_bfloat16():
    torch.manual_seed(0)
    model = MobileNetV3().eval()
    image = torch.rand(1, 3, 32, 32)
    module = sparse.compile(model, (image,), dtype=torch.bfloat16)
    for picture, motion in scenes(1, 3, (32, 32), 4):
        got, _ = module.step(picture, motion=motion)
        assert got['out'].dtype == torch.bfloat16
        with torch.no_grad():
            wanted = model(picture)['out']
        assert (got['out'].float() - wanted).abs().max() <= 0.05 * wanted.abs().max() + 0.05
