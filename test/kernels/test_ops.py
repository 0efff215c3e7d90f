"""Every operation on the emulated kernels against torch: shapes, strides, borders, both number formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from emulated import ORDERS, EmulatedDevice
from plans import traced
from sparse_nets import Sums, integers
from torch import nn

from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cuda import CudaEngine
from dedelayed_ros.sparse.backends.unary import _RULES
from dedelayed_ros.sparse.runtime import SparseModule

DTYPES = {'float32': torch.float32, 'float16': torch.float16}


class Branches(nn.Module):
    """Layers and functions side by side, each of as many of the channels as it wants: traced once for all."""

    def __init__(self, branches):
        super().__init__()
        self.layers = nn.ModuleDict({str(k): f for k, f in enumerate(branches.values()) if isinstance(f, nn.Module)})
        self.branches = branches

    def forward(self, x):
        found = {}
        for k, (name, function) in enumerate(self.branches.items()):
            is_layer = isinstance(function, nn.Module)
            channels = function.in_channels if is_layer else 3
            found[name] = (self.layers[str(k)] if is_layer else function)(x[:, :channels])
        return found


CONVOLUTIONS = {
    '1x1': nn.Conv2d(8, 19, 1),
    '3x3': nn.Conv2d(3, 24, 3, padding=1),
    '3x3 of fours': nn.Conv2d(12, 40, 3, padding=1),
    'strided': nn.Conv2d(5, 16, 3, 2, 1),
    'stride without overlap': nn.Conv2d(4, 7, 2, 3),
    '7x7': nn.Conv2d(3, 4, 7, 2, 3),
    'oblong': nn.Conv2d(4, 5, (1, 5), (2, 1), (0, 2)),
    'dilated': nn.Conv2d(4, 6, 3, padding=4, dilation=4),
    'more channels than a block': nn.Conv2d(2, 130, 3, padding=1),
    'more positions than a block': nn.Conv2d(1, 3, 3, padding=1),
    'deep': nn.Conv2d(70, 4, 3, padding=1),
    'depthwise': nn.Conv2d(70, 70, 3, padding=1, groups=70),
    'depthwise, strided': nn.Conv2d(6, 6, 5, 2, 2, groups=6),
    'grouped': nn.Conv2d(6, 9, 3, padding=1, groups=3),
    'transposed': nn.ConvTranspose2d(4, 6, 4, 2, 1),
    'transposed in groups': nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2),
    'without bias': nn.Conv2d(3, 5, 3, bias=False),
}
EXACT = {
    'max pool': lambda x: F.max_pool2d(x, 3, 2, 1),
    'max pool, ceil': lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
    'max pool, dilated': lambda x: F.max_pool2d(x, 2, 1, 0, 2),
    'mean pool': lambda x: F.avg_pool2d(x, 2, 2),
    'mean pool, padding counted': lambda x: F.avg_pool2d(x, 4, 2, 1),
    'mean pool, padding not counted': lambda x: F.avg_pool2d(x, 2, 1, 1, count_include_pad=False),
    'sum pool': lambda x: F.avg_pool2d(x, 3, 1, 1, divisor_override=1),
    'global mean': lambda x: x.mean((2, 3), keepdim=True) + x,
    'rows': lambda x: x.amax(2, keepdim=True),
    'columns': lambda x: x.amin(3, keepdim=True),
    'adaptive': lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    'nearest': lambda x: F.interpolate(x, scale_factor=2),
    'nearest, ragged': lambda x: F.interpolate(x, size=(11, 9)),
    'bilinear': lambda x: F.interpolate(x, scale_factor=2, mode='bilinear'),
    'bilinear down': lambda x: F.interpolate(x, size=(4, 8), mode='bilinear'),
    'pad': lambda x: F.pad(x, (1, 2, 3, 0), value=7.0),
    'reflect': lambda x: F.pad(x, (2, 1, 1, 2), 'reflect'),
    'crop': lambda x: x[:, :, 1::2, 2:],
    'channels': lambda x: torch.cat([x[:, 1:], x.flip(1), x], 1),
    'add': lambda x: x + 2 * x.flip(1),
    'subtract': lambda x: torch.sub(x, x.flip(1), alpha=3),
    'multiply': lambda x: x * x[:, :1],
    'divide': lambda x: x / torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1),
    'maximum': lambda x: torch.maximum(x, x.flip(1)),
    'minimum': lambda x: torch.minimum(x, x.flip(1)),
    'prelu': lambda x: F.prelu(x, torch.tensor([0.5, 2.0, -1.0])),
}
# Means over numbers of cells that are no powers of two.
INEXACT = ('global mean',)
UNARY = {
    'relu6': F.relu6,
    'leaky_relu': lambda x: F.leaky_relu(x, 0.3),
    'hardswish': F.hardswish,
    'hardsigmoid': F.hardsigmoid,
    'sigmoid': torch.sigmoid,
    'silu': F.silu,
    'tanh': torch.tanh,
    'gelu': F.gelu,
    'gelu of tanh': lambda x: F.gelu(-x, approximate='tanh'),
    'elu': lambda x: F.elu(x, 1.5),
    'selu': lambda x: torch.ops.aten.elu(x, 1.673, 1.05),
    'exp': torch.exp,
    'log': lambda x: torch.log(x.abs() + 0.5),
    'sqrt': lambda x: torch.sqrt(x.abs()),
    'neg': torch.neg,
    'floor': torch.floor,
    'ceil': torch.ceil,
    'round': torch.round,
    'add': lambda x: x + 1.5,
    'mul': lambda x: x * 0.3,
    'div': lambda x: x / 3,
    'rsub': lambda x: 2 - x,
    'square': torch.square,
}


def run(model, image, dtype=torch.float32):
    """Outputs of a dense pass, the same in every order of fibers; what torch says; kernels that were launched."""
    plan = traced(model.eval(), (image,), dtype)
    found = []
    for order in ORDERS:
        device = EmulatedDevice(order)
        engine = CudaEngine(plan, Alignment(), (0.0,) * len(plan.nodes), device=device)
        found.append(SparseModule(engine, (True,)).step(image)[0])
    for other in found[1:]:
        for name, value in other.items():
            assert torch.equal(value.nan_to_num(), found[0][name].nan_to_num()), (
                f'{name} depends on the order of threads'
            )
    with torch.no_grad():
        return found[0], model(image), device.launched


def whole_numbers(shape, seed=0, low=-2, high=3):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize('dtype', DTYPES)
def test_convolutions(dtype):
    model = integers(Branches(CONVOLUTIONS), 1)
    got, wanted, launched = run(model, whole_numbers((1, 72, 24, 19)), DTYPES[dtype])
    wrong = [name for name in wanted if not torch.equal(got[name].float(), wanted[name])]
    assert not wrong, 'whole numbers are exact'
    suffix = 'f16' if dtype == 'float16' else 'f32'
    assert {f'{kind}_{suffix}' for kind in ('conv16', 'conv32', 'conv64', 'taps')} <= set(launched)


@pytest.mark.parametrize('dtype', DTYPES)
def test_sums(dtype):
    class Named(Sums):
        def forward(self, x):
            return {'sum': super().forward(x)}

    got, wanted, _ = run(integers(Named(), 1, -1, 2), whole_numbers((1, 3, 12, 10)), DTYPES[dtype])
    assert torch.equal(got['sum'].float(), wanted['sum'])


@pytest.mark.parametrize('dtype', DTYPES)
def test_convolutions_of_real_numbers(dtype):
    model = Branches(CONVOLUTIONS)
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2
    got, wanted, _ = run(model, torch.randn(1, 72, 12, 13), DTYPES[dtype])
    limit = 1e-4 if dtype == 'float32' else 2e-2
    for name, value in wanted.items():
        torch.testing.assert_close(got[name].float(), value, rtol=limit, atol=limit, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('size', [(24, 19), (16, 32)])
@pytest.mark.parametrize('dtype', DTYPES)
def test_operations(dtype, size):
    got, wanted, _ = run(Branches(EXACT), whole_numbers((1, 3, *size), 2, -8, 9), DTYPES[dtype])
    exact = [name for name in wanted if size == (16, 32) or name not in INEXACT]
    wrong = [n for n in exact if not torch.equal(got[n].float(), wanted[n].to(DTYPES[dtype]).float())]
    assert not wrong


def test_what_is_not_a_number_wins():
    pools = {'largest': lambda x: F.max_pool2d(x, 3, 1, 1), 'smallest': lambda x: x.amin(3, keepdim=True)}
    image = whole_numbers((1, 3, 6, 7))
    image[0, 0, 2, 3], image[0, 1, 4, 1] = torch.nan, torch.inf
    got, wanted, _ = run(Branches(pools), image)
    for name, value in wanted.items():
        assert torch.equal(got[name].isnan(), value.isnan())
        assert torch.equal(got[name].nan_to_num(), value.nan_to_num())


@pytest.mark.parametrize('dtype', DTYPES)
def test_functions_of_one_number(dtype):
    image = torch.linspace(-7, 7, 3 * 9 * 11).reshape(1, 3, 9, 11)
    got, _, _ = run(Branches(UNARY), image, DTYPES[dtype])
    given = image.to(DTYPES[dtype]).float()
    limit = 2e-6 if dtype == 'float32' else 3e-3
    for name, function in UNARY.items():
        torch.testing.assert_close(got[name].float(), function(given), rtol=limit, atol=limit, msg=name)


def test_every_function_is_tested():
    assert len(UNARY) >= len(_RULES) - 7  # relu, hardtanh and the clamps are one function; abs is within another's test


def test_a_position_has_the_same_bits_whatever_it_is_computed_with(order):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 37, 3, padding=1), nn.ReLU(), nn.Conv2d(37, 16, 3, dilation=2)).eval()
    image = torch.randn(1, 3, 20, 27)
    plan = traced(model, (image,))
    engine = CudaEngine(plan, Alignment(), (0.0,) * len(plan.nodes), device=EmulatedDevice(order))
    module = SparseModule(engine, (True,))
    module.step(image)
    rng = np.random.default_rng(2)
    for n in (1, 5, 17):
        image = image.clone()
        image.view(3, -1)[:, rng.permutation(20 * 27)[:n]] += 1.0
        got, stats = module.step(image, motion=MotionField.identity((20, 27)))
        assert stats.compute_ratio < 1
        assert torch.equal(got, module.fork().step(image)[0])
