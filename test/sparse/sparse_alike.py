"""A backend beside the specification: one plan on two engines, and what both have to do alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sparse_scenes import picture, scenes, shift
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dedelayed_ros.frames import MotionField
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.sparse.alignment import Alignment, parse
from dedelayed_ros.sparse.backends.reference import ReferenceEngine
from dedelayed_ros.sparse.plan import Plan
from dedelayed_ros.sparse.runtime import SparseModule


def engines(
    plan: Plan,
    example: Sequence[Tensor | None],
    make: Callable[..., Any],
    mode: str | Alignment = 'per_layer',
    thresholds: Sequence[float] | None = None,
    remap: bool = True,
) -> tuple[SparseModule, SparseModule]:
    """A plan on the specification, and on the engine that ``make`` makes."""
    levels = tuple(thresholds or [0.0] * len(plan.nodes))
    given = tuple(x is not None for x in example)
    reference = ReferenceEngine(plan, parse(mode), levels, remap=remap)
    return SparseModule(reference, given), SparseModule(make(plan, parse(mode), levels, remap=remap), given)


def assert_alike(reference, module, inputs, motion):
    """One step on both: equal results, sets, memories and ratios. Returns the engine's."""
    wanted, expected = reference.step(*inputs, motion=motion)
    got, stats = module.step(*inputs, motion=motion)
    for name in reference.layers:
        assert torch.equal(reference.recompute_set(name), module.recompute_set(name)), name
        if reference.plan.find(name).channels:
            assert torch.equal(reference.held(name), module.held(name)), name
    assert_equal(got, wanted)
    assert (stats.recompute_ratio, stats.compute_ratio) == (expected.recompute_ratio, expected.compute_ratio)
    for layer, other in zip(stats.layers, expected.layers, strict=True):
        assert (layer.compute_ratio, layer.recompute_ratio) == (other.compute_ratio, other.recompute_ratio), layer.name
    return got, stats


def assert_equal(got, wanted):
    """Two structures of outputs, bit for bit."""
    for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(wanted), strict=True):
        assert torch.equal(a, b)


def on_the_kernels(steps):
    """Steps that kernels have, and bilinear factors whose weights are binary fractions, so that sums are exact."""
    kept = []
    for kind, source, p, q, r in steps:
        kind = 'conv' if kind in ('shuffle', 'position') else kind
        kept.append((kind, source, p | 1, q, r & ~1) if kind == 'bilinear' else (kind, source, p, q, r))
    return kept


def drifting() -> nn.Module:
    """What ``drift`` is to be run through."""
    return nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3, 1, 1))


def drift(size: tuple[int, int], steps: int):
    """Frames and motion of a camera that goes one way for half of the steps, and then back another way."""
    world = picture(np.random.default_rng(1), 1, (400, 400))
    row = col = 200
    yield world[..., row : row + size[0], col : col + size[1]], None
    for n in range(steps):
        rows, cols = (2, 4) if n < steps // 2 else (-4, -2)
        row, col = row - rows, col - cols
        yield world[..., row : row + size[0], col : col + size[1]], shift(size, rows, cols)


def check_poison(module: SparseModule, model: Callable[[Tensor], Any], size: tuple[int, int], frames: int) -> None:
    """Memory that is not a number everywhere but where motion vouches for it: nothing of it is read."""
    poison = torch.full((1, 3, *size), torch.nan)
    for image, motion in scenes(23, 3, size, frames=frames):
        module.step(poison)
        assert all(leaf.isnan().any() for leaf in pytree.tree_leaves(module.step(poison)[0]))
        nowhere = MotionField(size, np.zeros((3, 3, 2), np.int16), np.zeros((3, 3), bool), block=16)
        wanted = model(image)
        for field in (nowhere, motion):
            assert_equal(module.step(image, motion=field)[0], wanted)


def local_model(size: tuple[int, int], features: bool) -> tuple[LocalModel, tuple[Tensor, ...]]:
    """The robot's network with weights of its own, and inputs for it."""
    torch.manual_seed(0)
    model = LocalModel(19, width=32).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    cells = torch.randn(1, 32, size[0] // 8, size[1] // 8)
    return model, (torch.rand(1, 3, *size), cells, torch.tensor([80.0])) if features else (torch.rand(1, 3, *size),)


def check_local_model(module: SparseModule, model: nn.Module, inputs: tuple[Tensor, ...], rows: int, cols: int) -> None:
    """Real weights: within float32 rounding of torch, and a changed region has the bits of a dense pass."""
    module.step(*inputs)
    image = inputs[0].roll((rows, cols), (2, 3))
    image[..., 20:30, 50:57] += 0.25
    motion = shift((image.shape[-2], image.shape[-1]), rows, cols)
    got, stats = module.step(image, *inputs[1:], motion=motion)
    assert 0 < stats.compute_ratio < 1
    with torch.no_grad():
        torch.testing.assert_close(got, model(image, *inputs[1:]), rtol=1e-4, atol=1e-4)
    dense, whole = module.fork().step(image, *inputs[1:])
    assert whole.compute_ratio == 1
    assert torch.equal(got, dense)
