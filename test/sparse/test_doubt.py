"""Tiles by margin: a difference counts by how sure the model was where it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_alike import assert_equal, engines, local_model
from sparse_nets import Fused, RandomNet, examples, integers, random_nets
from sparse_scenes import picture, scenes, shift
from test_tiles import assert_as_specified, needs_kernels
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cpu import CpuEngine
from dedelayed_ros.sparse.backends.doubt import LEAST, doubt_of
from dedelayed_ros.sparse.backends.tiled import TiledReference
from dedelayed_ros.sparse.graph import trace

BACKENDS = ['reference', pytest.param('cpu', marks=needs_kernels)]
MARGIN = 2.0


class TwoClasses(nn.Module):
    """Logits at stride 4: the picture's first channel, and 0; the second channel only differs."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.head = nn.Conv2d(2, 2, 1, bias=False)
        self.head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[..., None, None]

    def forward(self, image):
        return self.head(self.pool(image))


def tiled(backend, size=(32, 96), limit=1.0, margin=MARGIN, tile=16, model=None):
    """The module, and a picture in whose thirds the first class leads by 0, 2 and 50."""
    image = torch.zeros(1, 2, *size)
    image[:, 0, :, size[1] // 3 : 2 * size[1] // 3] = MARGIN
    image[:, 0, :, 2 * size[1] // 3 :] = 50.0
    alignment = Alignment('tiles', tile=tile, margin=margin)
    model = (TwoClasses() if model is None else model).eval()
    thresholds = {'image': limit}
    module = sparse.compile(model, (image,), alignment=alignment, thresholds=thresholds, backend=backend)
    return module, image


def still(size):
    return MotionField.identity(size, 8)


def due(module, row=0):
    """Whether each tile of a row was computed: bool [tiles]."""
    return module.recompute_set('image')[16 * row :: 16, 0::16][0].tolist()


def differing(image, by):
    """The same picture, whose second channel differs: by ``by`` in the mean of both."""
    changed = image.clone()
    changed[:, 1] += 2 * by
    return changed


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(('by', 'tiles'), [(1.5, 2), (3.0, 4), (5.0, 6), (0.5, 0)])
def test_a_difference_counts_less_where_a_class_leads(backend, by, tiles):
    """More than one threshold where classes are equal, two where one leads by the margin, four wherever it leads."""
    module, image = tiled(backend)
    module.step(image)
    module.step(differing(image, by), motion=still((32, 96)))
    assert due(module) == [k < tiles for k in range(6)]


@pytest.mark.parametrize('backend', BACKENDS)
def test_without_a_margin_it_counts_everywhere(backend):
    module, image = tiled(backend, margin=0.0)
    module.step(image)
    module.step(differing(image, 1.5), motion=still((32, 96)))
    assert all(due(module))


@pytest.mark.parametrize('backend', BACKENDS)
def test_doubts_move_with_their_content(backend):
    """The picture moves by a tile, and the border between doubt and certainty with it."""
    module, image = tiled(backend)
    module.step(image)
    moved = image.roll(16, 3)
    moved[..., :16] = 0.0
    module.step(moved, motion=shift((32, 96), 0, 16, block=8))
    module.step(differing(moved, 1.5), motion=still((32, 96)))
    assert due(module) == [True, True, True, False, False, False]


@pytest.mark.parametrize('backend', BACKENDS)
def test_what_comes_in_is_in_full_doubt_until_it_is_computed_as_a_tile(backend):
    module, image = tiled(backend)
    module.step(image)
    module.step(image, motion=shift((32, 96), 0, -16, block=8))
    assert due(module)[-1]  # nothing is known of where it came from
    changed = image.clone()
    changed[..., -16:] += 3.0
    module.step(changed, motion=still((32, 96)))
    assert due(module)[-1]


@pytest.mark.parametrize('backend', BACKENDS)
def test_doubts_are_found_anew_where_logits_are_computed(backend):
    """What was doubtful becomes certain in one frame, and counts less in the next."""
    module, image = tiled(backend)
    module.step(image)
    certain = torch.full_like(image, 50.0)
    certain[:, 1] = 0.0
    module.step(certain, motion=still((32, 96)))
    assert due(module) == [True] * 4 + [False] * 2
    module.step(differing(certain, 3.0), motion=still((32, 96)))
    assert not any(due(module))


class Overflowing(TwoClasses):
    """Both classes are infinite where the picture is 50; ``beyond``: or the first one is no number there."""

    def __init__(self, beyond: bool) -> None:
        super().__init__()
        self.beyond = beyond
        self.head.weight.data = torch.tensor([[1e37, 0.0], [1e37, 0.0]])[..., None, None]

    def forward(self, image):
        logits = super().forward(image)
        return logits - 2 * logits if self.beyond else logits


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('beyond', [False, True])
def test_logits_that_are_no_numbers_are_in_full_doubt(backend, beyond):
    """A doubt that is none itself would keep its tile from ever being due again."""
    module, image = tiled(backend, model=Overflowing(beyond))
    output, _ = module.step(image)
    assert not torch.isfinite(output[..., -8:]).any() and bool(output[..., -8:].isnan().any()) == beyond
    module.step(differing(image, 1.5), motion=still((32, 96)))
    assert all(due(module)[4:])


def test_doubt_is_between_a_quarter_and_one():
    """Of the mean of the two cells along each axis that lie over a unit at stride 4."""
    plan = trace(TwoClasses().eval(), (torch.zeros(1, 2, 24, 40),))
    grid = plan.nodes[-1].grid
    logits = torch.randn(1, 2, 6, 10) * torch.linspace(0, 20, 10)
    doubt = doubt_of(logits, grid, MARGIN, (24, 40))
    assert doubt.shape == (3, 5)
    assert float(doubt.min()) >= LEAST and float(doubt.max()) <= 1.0
    lead = (logits[0, 0] - logits[0, 1]).abs()
    wanted = (MARGIN / (MARGIN + lead)).clamp(min=LEAST).reshape(3, 2, 5, 2).mean((1, 3))
    torch.testing.assert_close(doubt, wanted)


@needs_kernels
@given(random_nets(), st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from([0.25, 1.0, 4.0]))
@examples(14)
def test_random_networks_are_those_of_the_reference(steps, seed, h, w, margin):
    from sparse_alike import on_the_kernels

    example = torch.zeros(1, 2, h, w)
    model = RandomNet(on_the_kernels(steps), seed).build(example)
    plan = trace(model, (example,))
    alignment = Alignment('tiles', tile=8 * (1 + seed % 3), margin=margin)
    thresholds = [0.0] * len(plan.nodes)
    thresholds[plan.inputs[0]] = 0.25
    sets = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(native.instruction_set() or 'portable') + 1]
    make = lambda *args, **kw: CpuEngine(*args, instruction_set=sets[seed % len(sets)], **kw)  # noqa: E731
    try:
        TiledReference(plan, alignment, thresholds)
    except InputError:
        return  # its first output is no map of two classes
    reference, cpu = engines(plan, (example,), make, alignment, thresholds)
    for image, motion in scenes(seed, 2, (h, w), frames=8):
        assert_as_specified(reference, cpu, (image,), motion)


@needs_kernels
def test_features_and_age_are_those_of_the_reference():
    """What features differ by counts by the same doubts."""
    size = (48, 64)
    example = (torch.zeros(1, 3, *size), torch.zeros(1, 2, 6, 8), torch.zeros(1))
    plan = trace(integers(Fused(), 1, -1, 2), example)
    thresholds = [0.0] * len(plan.nodes)
    for index in plan.inputs:
        thresholds[index] = 0.5
    reference, cpu = engines(plan, example, CpuEngine, Alignment('tiles', tile=16, margin=MARGIN), thresholds)
    rng = np.random.default_rng(4)
    features, age, ratios = picture(rng, 2, (6, 8)), torch.ones(1), []
    for n, (image, motion) in enumerate(scenes(17, 3, size)):
        if n % 3 == 2:
            features = features + 0.5 * picture(rng, 2, (6, 8))
        given = None if n % 5 == 4 else features
        ratios.append(assert_as_specified(reference, cpu, (image, given, age), motion).compute_ratio)
    assert min(ratios) < 1


@needs_kernels
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_threads_change_nothing(dtype):
    model, inputs = local_model((64, 96), features=False)
    alignment = Alignment('tiles', tile=16, margin=1.0)
    rng = np.random.default_rng(3)
    pictures = [torch.from_numpy(rng.random((1, 3, 64, 96), np.float32)) * 0.1 for _ in range(5)]
    outputs = []
    for threads in (1, 2):
        module = sparse.compile(
            model, inputs, alignment=alignment, thresholds={'image': 0.05}, threads=threads, dtype=dtype, backend='cpu'
        )
        steps = [module.step(p, motion=still((64, 96)) if k else None)[0] for k, p in enumerate(pictures)]
        outputs.append(torch.cat(steps))
    assert_equal(*outputs)


def test_a_margin_needs_logits_and_tiles():
    image = torch.zeros(1, 1, 32, 32)
    alignment = Alignment('tiles', margin=1.0)
    with pytest.raises(InputError, match='first output is a map of logits'):
        sparse.compile(nn.Conv2d(1, 1, 3).eval(), (image,), alignment=alignment)
    with pytest.raises(InputError, match='first output is a map of logits'):
        sparse.compile(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 4, 1)).eval(), (image,), alignment=alignment)
    with pytest.raises(InputError, match="for mode 'tiles'"):
        Alignment('per_layer', margin=1.0)
    for bad in (-1.0, float('nan'), float('inf')):
        with pytest.raises(InputError, match='expected 0 logits or more'):
            Alignment('tiles', margin=bad)
