"""Frames as uint8 levels: results are those of their 255th parts, and what motion leaves unexplained a whole number."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_alike import assert_equal, engines, local_model
from sparse_nets import examples
from sparse_scenes import field, scenes
from test_cpu import MODES
from test_tiles import assert_as_specified
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cpu import CpuEngine
from dedelayed_ros.sparse.graph import trace

needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')
BACKENDS = ['reference', pytest.param('cpu', marks=needs_kernels)]
SETS = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(native.instruction_set() or 'portable') + 1]


def as_levels(image: torch.Tensor) -> torch.Tensor:
    """Small integers as levels that are far apart."""
    return (image * 85).to(torch.uint8)


def read_once(channels: int) -> nn.Module:
    """Reads the picture position by position, as the shipped models do."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, 1, 1))

        def forward(self, image):
            return self.layers(image * 2.0 - 1.0)

    torch.manual_seed(3)
    return Scaled().eval()


def read_by_neighbours(channels: int) -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, 1, 1)).eval()


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('alignment', ['per_layer', 'sticky', Alignment('tiles', tile=16)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_levels_are_their_255th_parts(backend, alignment, dtype):
    """Bit for bit; with tiles wherever anything that differs is more than enough."""
    size = (32, 64)
    model, (image,) = local_model(size, features=False)
    of_levels, of_floats = (
        sparse.compile(model, (example,), alignment=alignment, dtype=dtype, backend=backend)
        for example in (torch.zeros(image.shape, dtype=torch.uint8), image)
    )
    for picture, motion in scenes(11, 3, size, frames=8):
        levels = as_levels(picture)
        got, stats = of_levels.step(levels, motion=motion)
        wanted, expected = of_floats.step((levels.float() / 255).to(dtype), motion=motion)
        assert_equal(got, wanted)
        assert (stats.compute_ratio, stats.recompute_ratio) == (expected.compute_ratio, expected.recompute_ratio)
        assert torch.equal(of_levels.held('image'), of_floats.held('image'))


@needs_kernels
@pytest.mark.parametrize('limit', [0.0, 0.4])
@given(
    make=st.sampled_from([read_once, read_once, read_by_neighbours]), channels=st.integers(1, 4),
    seed=st.integers(0, 10**6), h=st.integers(9, 40), w=st.integers(9, 75), mode=st.sampled_from(MODES),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)  # fmt: skip
@examples(14)
def test_levels_are_compared_as_their_255th_parts_are(limit, make, channels, seed, h, w, mode, dtype):
    """In every mode, on every instruction set: the same sets and bits, whether levels or floats are kept."""
    model, instruction_set = make(channels), SETS[seed % len(SETS)]
    kernels = partial(CpuEngine, instruction_set=instruction_set)
    modules = []
    for example in (torch.zeros(1, channels, h, w, dtype=torch.uint8), torch.zeros(1, channels, h, w)):
        plan = trace(model, (example,), dtype=dtype)
        thresholds = [limit if node.index in plan.inputs else 0.0 for node in plan.nodes]
        modules.append(engines(plan, (example,), kernels, mode, thresholds)[1])
    of_levels, of_floats = modules
    for image, motion in scenes(seed, channels, (h, w), frames=10):
        levels = as_levels(image) + seed % 3  # a third apart: the threshold puts up with one step, not with two
        got, stats = of_levels.step(levels, motion=motion)
        wanted, expected = of_floats.step((levels.float() / 255).to(dtype), motion=motion)
        assert_equal(got, wanted)
        assert (stats.compute_ratio, stats.recompute_ratio) == (expected.compute_ratio, expected.recompute_ratio)
        for name in of_floats.layers:
            assert torch.equal(of_levels.recompute_set(name), of_floats.recompute_set(name)), name
        picture = of_floats.layers[0]
        assert torch.equal(of_levels.held(picture), of_floats.held(picture))


@needs_kernels
def test_blocks_of_another_size_are_followed():
    """A stream is told motion in blocks of 16, then of 4, then of 16 again."""
    size, model, rng = (48, 64), read_once(3), np.random.default_rng(5)
    example = torch.zeros(1, 3, *size, dtype=torch.uint8)
    module = sparse.compile(model, (example,), backend='cpu')
    levels = torch.from_numpy(rng.integers(0, 3, (1, 3, *size), dtype=np.uint8))
    ratios = []
    for step, block in enumerate((16, 16, 4, 4, 16, 8)):
        levels = levels.roll(4 if step else 0, 3)
        vectors = np.zeros((-(-size[0] // block), -(-size[1] // block), 2), np.int16)
        vectors[..., 0] = 16
        got, stats = module.step(levels, motion=MotionField(size, vectors, block=block) if step else None)
        ratios.append(stats.recompute_ratio)
        dense, _ = module.fork().step(levels)
        assert torch.equal(got, dense)
    assert max(ratios[1:]) < 0.15  # what came in on the left


@needs_kernels
@pytest.mark.parametrize('alignment', ['per_layer', Alignment('tiles', tile=16)])
def test_a_picture_that_is_a_result_comes_back_as_its_255th_parts(alignment):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.scaled = read_once(3)

        def forward(self, image):
            return image, self.scaled(image)

    size = (32, 48)
    module = sparse.compile(Both().eval(), (torch.zeros(1, 3, *size, dtype=torch.uint8),), alignment=alignment)
    for image, motion in scenes(2, 3, size, frames=4):
        (shown, _), _ = module.step(as_levels(image), motion=motion)
        assert torch.equal(shown, as_levels(image).float() / 255)


def pair(model, size, limit, *, channels=3, tile=16, instruction_set=None, dtype=torch.float32):
    example = torch.zeros(1, channels, *size, dtype=torch.uint8)
    plan = trace(model, (example,), dtype=dtype)
    thresholds = [0.0] * len(plan.nodes)
    thresholds[plan.inputs[0]] = limit
    make = lambda *args, **kw: CpuEngine(*args, instruction_set=instruction_set, **kw)  # noqa: E731
    return engines(plan, (example,), make, Alignment('tiles', tile=tile), thresholds)


@needs_kernels
@given(
    st.sampled_from([read_once, read_by_neighbours]), st.integers(1, 4), st.integers(0, 10**6), st.integers(9, 40),
    st.integers(9, 75), st.sampled_from([0.0, 0.02, 0.1, 0.4]),
)  # fmt: skip
@examples(16)
def test_tiles_are_those_of_the_reference(make, channels, seed, h, w, limit):
    name = SETS[seed % len(SETS)]
    reference, cpu = pair(
        make(channels), (h, w), limit, channels=channels, tile=8 * (1 + seed % 4), instruction_set=name
    )
    for image, motion in scenes(seed, channels, (h, w), frames=7):
        assert_as_specified(reference, cpu, (as_levels(image),), motion)


@needs_kernels
@pytest.mark.parametrize('instruction_set', SETS)
def test_any_level_and_any_quarter_of_a_pixel(instruction_set):
    """Noise, whose differences are as large as they get, on large blocks, beside what does not change."""
    size = (96, 128)
    rng = np.random.default_rng(7)
    reference, cpu = pair(read_once(3), size, 0.30, instruction_set=instruction_set)
    extremes = torch.from_numpy(rng.choice([0, 255], (1, 3, *size)).astype(np.uint8))
    ratios = []
    for step in range(12):
        noise = torch.from_numpy(rng.integers(0, 256, (1, 3, *size), dtype=np.uint8))
        levels = extremes if step % 3 == 0 else 255 - extremes if step % 3 == 1 else noise // 3
        levels = levels.clone()
        levels[..., 80:] = 0
        vectors = rng.integers(-9, 10, (2, 2, 2)).astype(np.int16)
        motion = MotionField(size, vectors, block=64) if step else None
        ratios.append(assert_as_specified(reference, cpu, (levels,), motion).compute_ratio)
    assert min(ratios) < 1


@needs_kernels
def test_any_layout_of_a_picture_gives_the_same_bits():
    size = (40, 56)
    rng = np.random.default_rng(3)
    model = read_once(3)
    example = torch.zeros(1, 3, *size, dtype=torch.uint8)
    thresholds = {'image': 0.1}
    for alignment in ('per_layer', Alignment('tiles', tile=16)):
        streams = [
            sparse.compile(model, (example,), alignment=alignment, thresholds=thresholds, backend='cpu')
            for _ in range(3)
        ]
        for step in range(5):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8) // (1 + step % 2 * 100)
            motion = field(rng, size, 8) if step else None
            planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            wide = torch.zeros(1, 3, 2 * size[0], 3 * size[1], dtype=torch.uint8)
            apart = wide[..., ::2, ::3]
            apart.copy_(planes)
            outs = [
                stream.step(levels, motion=motion)[0]
                for stream, levels in zip(streams, (planes, planes.contiguous(), apart), strict=True)
            ]
            assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])


@needs_kernels
@pytest.mark.parametrize(('alignment', 'maps'), [(Alignment('tiles', tile=16), 2), ('per_layer', 1)])
def test_a_picture_that_only_copies_read_takes_a_byte_a_level(alignment, maps):
    size = (64, 96)
    sizes = []
    for dtype in (torch.uint8, torch.float32):
        example = torch.zeros(1, 3, *size, dtype=dtype)
        module = sparse.compile(read_once(3), (example,), alignment=alignment, backend='cpu')
        module.step(example)
        sizes.append(module.state_bytes)
    # Levels are kept twice; floats, of four bytes, in tiles too.
    assert sizes[1] - sizes[0] > (4 * maps - 2) * 3 * 64 * 96


def test_a_frame_of_another_type_is_refused():
    example = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    module = sparse.compile(read_once(3), (example,), backend='reference')
    with pytest.raises(InputError, match=r'the frame is torch.float32; the model was compiled for levels 0-255'):
        module.step(example.float())
    with pytest.raises(InputError, match=r'input 0 is torch.uint8; expected floating point'):
        sparse.compile(read_once(3), (example.float(),), backend='reference').step(example)
    assert module.plan.takes_levels
