"""Footprints against what operations really read, found by changing one input at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dedelayed_ros.sparse.geometry import ABSENT, PADDING, AxisMap, Window, adaptive, broadcast, identity, transposed
from dedelayed_ros.sparse.graph import trace


class Wrap(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        if isinstance(function, nn.Module):
            for p in function.parameters():
                p.data = torch.rand_like(p) + 0.5

    def forward(self, x):
        return self.function(x)


OPERATIONS = {
    'conv': nn.Conv2d(1, 1, 3, 1, 1),
    'strided': nn.Conv2d(1, 1, 5, 2, 1),
    'dilated': nn.Conv2d(1, 1, 3, 1, 2, 2),
    'oblong': nn.Conv2d(1, 1, (1, 4), (3, 2), (1, 2)),
    'same, even kernel': nn.Conv2d(1, 1, 4, padding='same'),
    'transposed': nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1),
    'transposed, dilated': nn.ConvTranspose2d(1, 1, 2, 3, 0, dilation=2),
    'padded by one side': lambda x: F.pad(x, (0, 1, 2, 0)),
    'cropped by padding': lambda x: F.pad(x, (-1, 0, 0, -2)),
    'reflected': lambda x: F.pad(x, (2, 1, 1, 3), 'reflect'),
    'wrapped': lambda x: F.pad(x, (2, 1, 1, 3), 'circular'),
    'max pool': lambda x: F.max_pool2d(x, 3, 2, 1),
    'max pool, dilated': lambda x: F.max_pool2d(x, 2, 1, 0, 2),
    'max pool, ceil': lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
    'average pool': lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    'adaptive': lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    'global': lambda x: x.mean((2, 3), keepdim=True),
    'rows': lambda x: x.amax(2, keepdim=True),
    'nearest': lambda x: F.interpolate(x, scale_factor=2.0),
    'nearest, down': lambda x: F.interpolate(x, size=(4, 5)),
    'bilinear': lambda x: F.interpolate(x, scale_factor=2.0, mode='bilinear'),
    'bilinear to any size': lambda x: F.interpolate(x, size=(13, 9), mode='bilinear'),
    'bilinear, corners': lambda x: F.interpolate(x, size=(13, 9), mode='bilinear', align_corners=True),
    'bicubic': lambda x: F.interpolate(x, size=(9, 20), mode='bicubic'),
    'antialiased': lambda x: F.interpolate(x, size=(4, 5), mode='bilinear', antialias=True),
    'cropped': lambda x: x[:, :, 1::2, 3:-1],
    'shuffled': lambda x: F.pixel_shuffle(torch.cat([x, x, x, x], 1), 2),
    'unshuffled': lambda x: F.pixel_unshuffle(x[:, :, :6, :8], 2),
    'norm of the picture': lambda x: F.group_norm(x, 1),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_footprint_is_what_is_read(name):
    size = (7, 9)
    model = Wrap(OPERATIONS[name]).eval()
    plan = trace(model, (torch.zeros(1, 1, *size),))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, *size, generator=generator) + 1
    before = model(x)
    for cell in range(size[0] * size[1]):
        dirty = {0: torch.zeros(size, dtype=torch.bool)}
        dirty[0].view(-1)[cell] = True
        for node in plan.nodes[1:]:
            dirty[node.index] = torch.zeros(node.grid.size, dtype=torch.bool)
            for window, i in zip(node.windows, node.inputs, strict=True):
                dirty[node.index] = dirty[node.index] | window.dilate(dirty[i])
        changed = x.clone()
        changed.view(-1)[cell] += 100
        differs = (model(changed) != before).any(1)[0]
        found = dirty[plan.results[0].node]
        assert torch.equal(differs, found.expand(differs.shape)), (name, cell)


def test_axis_map_tells_phases_apart():
    table = transposed(5, 10, 4, 2, 1, 1)
    assert len(set(table.phase[2:8].tolist())) == 2
    assert table.phase[2] == table.phase[4] == table.phase[6] != table.phase[3]
    assert (table.taps == ABSENT).any() and (table.taps == PADDING).any()


def test_fixed_positions_are_all_of_their_own_kind():
    assert len(identity(6, fixed=True).phase.unique()) == 6
    assert len(identity(6).phase.unique()) == 1
    assert len(broadcast(6).phase.unique()) == 1


def test_adaptive_windows_of_unequal_length_are_of_different_kinds():
    table = adaptive(7, 3)
    lengths = (table.taps >= 0).sum(1)
    for p in range(3):
        for q in range(3):
            assert (table.phase[p] == table.phase[q]) == (lengths[p] == lengths[q])


def test_reductions_ignore_padding():
    table = AxisMap(torch.tensor([[PADDING, 0], [0, 1], [1, PADDING], [PADDING, PADDING]]), 2)
    window = Window(table, identity(1))
    values = torch.tensor([[-5], [7]])
    assert window.lowest(values)[:3, 0].tolist() == [-5, -5, 7]
    assert window.highest(values)[:3, 0].tolist() == [-5, 7, 7]
    assert window.tapped[:, 0].tolist() == [True, True, True, False]
    assert table.inside.tolist() == [False, True, False, False]
