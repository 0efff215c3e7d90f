"""Which layers tiles keep: not those that are cheap and hardly read beside the tiles. Nothing is read that is lost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_alike import local_model
from sparse_nets import RandomNet, examples, random_nets
from torch import nn

from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.describe import of_vectors
from dedelayed_ros.sparse.backends.roles import tile_roles
from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.ops import Input

TILES = Alignment('tiles', tile=32)


def names(model: nn.Module, *inputs: torch.Tensor, alignment: Alignment = TILES) -> tuple[set[str], set[str]]:
    """Layers that are computed where they are read, and those that are kept."""
    plan = trace(model.eval(), inputs)
    roles = tile_roles(plan, alignment)
    layers = [(node, role) for node, role in zip(plan.nodes, roles, strict=True) if not isinstance(node.op, Input)]
    return {n.name for n, role in layers if role.where_read}, {n.name for n, role in layers if role.kept}


def test_the_local_model_keeps_what_is_dear_or_read_from_afar():
    model, inputs = local_model((192, 256), features=False)
    where_read, kept = names(model, *inputs)
    assert {'mul', 'stem.0.conv', 'merge4.conv'} <= where_read
    assert {'stem.1.conv', 't1.1.unit.conv', 't3.1.unit.conv', 't4.0.conv', 'head'} <= kept
    assert not where_read & kept


@pytest.mark.parametrize(('width', 'cheap'), [(4, True), (512, False)])
def test_a_layer_is_kept_where_it_takes_many_multiplications(width, cheap):
    layers = nn.Conv2d(3, width, 1), nn.Conv2d(width, 8, 3, padding=1), nn.Conv2d(8, 2, 3, stride=2, padding=1)
    where_read, _ = names(nn.Sequential(*layers), torch.zeros(1, 3, 96, 96))
    assert ('1' in where_read) == cheap


@pytest.mark.parametrize(('reach', 'cheap'), [(3, True), (31, False)])
def test_a_layer_is_kept_where_it_is_read_from_afar(reach, cheap):
    layers = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, reach, padding=reach // 2)
    where_read, _ = names(nn.Sequential(*layers), torch.zeros(1, 3, 96, 96))
    assert ('1' in where_read) == cheap


def test_a_layer_that_only_the_tile_itself_is_read_of_is_never_kept():
    layers = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1), nn.ConvTranspose2d(64, 2, 2, stride=2)
    where_read, kept = names(nn.Sequential(*layers), torch.zeros(1, 3, 96, 96))
    assert where_read == {'0', '1'} and kept == {'2'}


def test_what_is_dear_and_read_by_what_is_computed_further_than_the_tiles_is_kept():
    dear, cheap = nn.Conv2d(256, 16, 5, padding=2), nn.Conv2d(16, 8, 1)
    layers = nn.Conv2d(3, 256, 1), dear, cheap, nn.Conv2d(8, 2, 3, padding=1)
    where_read, kept = names(nn.Sequential(*layers), torch.zeros(1, 3, 96, 96))
    assert '2' in where_read and '1' in kept and not where_read & kept


def test_results_and_what_tells_how_sure_the_model_is_are_kept():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits, self.up = nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2)

        def forward(self, image):
            logits = self.logits(image)
            return logits, self.up(logits)

    where_read, kept = names(Both(), torch.zeros(1, 3, 64, 64), alignment=Alignment('tiles', tile=32, margin=2.0))
    assert 'logits' in kept and len(kept) == 2 and not where_read


@given(random_nets(), st.integers(9, 60), st.integers(9, 60), st.sampled_from([8, 16, 32]))
@examples(25)
def test_whatever_is_read_is_there(steps, h, w, tile):
    plan = trace(RandomNet(steps, 1).build(torch.zeros(1, 2, h, w)), (torch.zeros(1, 2, h, w),))
    roles, vectors = tile_roles(plan, Alignment('tiles', tile=tile)), of_vectors(plan)
    for node, role in zip(plan.nodes, roles, strict=True):
        for i, window in zip(node.inputs, node.windows, strict=True):
            beside = role.where_read or not window.is_point
            assert i in vectors or roles[i].where_read or roles[i].kept or not beside
    for result in plan.results:
        assert result.node is None or roles[result.node].kept
