"""The mask functions against their specification, for every backend and instruction set that this machine has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros import masks, native
from dedelayed_ros.errors import InputError
from dedelayed_ros.masks import cpu, reference

EPSILON = float(np.finfo(np.float32).eps)
needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'kernels are there')
SETS = () if native.library() is None else native.INSTRUCTION_SETS[: native.library().dedelayed_instruction_set() + 1]
sides = st.integers(1, 70)


def axis(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both neighbours and the fraction of each output position: half-pixel centres, in float32 as specified."""
    centres = np.float32(length) / np.float32(wanted) * (np.arange(wanted, dtype=np.float32) + np.float32(0.5))
    at = np.maximum(centres - np.float32(0.5), np.float32(0))
    low = np.minimum(at.astype(np.int64), length - 1)
    return low, np.minimum(low + 1, length - 1), np.clip(at - low.astype(np.float32), 0, 1).astype(np.float64)


def exact_values(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Up-sampled logits [C, H, W] in double precision, written independently of torch."""
    planes = logits.astype(np.float64)
    low, high, fraction = axis(planes.shape[1], size[0])
    planes = planes[:, low] * (1 - fraction)[:, None] + planes[:, high] * fraction[:, None]  # 0 · inf is NaN
    low, high, fraction = axis(planes.shape[2], size[1])
    return planes[:, :, low] * (1 - fraction) + planes[:, :, high] * fraction


def assert_within_rounding(mask: np.ndarray, confidence: np.ndarray, logits: np.ndarray) -> None:
    """The class is the best, and the confidence rightly rounded, up to the rounding of the interpolation."""
    values = exact_values(logits, mask.shape)
    slack = 8 * EPSILON * np.abs(logits).max()
    best = values.max(axis=0)
    chosen = np.take_along_axis(values, mask[None].astype(np.int64), axis=0)[0]
    assert (best - chosen).max() <= slack
    probability = 1 / np.exp(values - best).sum(axis=0)
    assert np.abs(confidence - 255 * probability).max() <= 0.501 + 255 * slack


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int]]:
    classes, height, width = draw(st.integers(1, 40)), draw(sides), draw(sides)
    scale = draw(st.sampled_from([0.01, 1.0, 30.0]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = (random.standard_normal((classes, height, width)) * scale).astype(np.float32)
    return logits, (draw(st.integers(1, 150)), draw(st.integers(1, 150)))


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_reference_is_bilinear_argmax_softmax(picture: tuple[np.ndarray, tuple[int, int]]) -> None:
    logits, size = picture
    mask, confidence = reference.render(torch.from_numpy(logits), size)
    assert_within_rounding(mask, confidence, logits)


@needs_kernels
@settings(max_examples=150, deadline=None)
@given(pictures(), st.integers(1, 3))
def test_kernels_agree_with_the_specification(picture: tuple[np.ndarray, tuple[int, int]], threads: int) -> None:
    logits, size = picture
    mask, confidence = cpu.render(torch.from_numpy(logits), size, threads=threads)
    assert_within_rounding(mask, confidence, logits)
    expected, level = reference.render(torch.from_numpy(logits), size)
    np.testing.assert_array_equal(mask, expected)
    assert np.abs(confidence.astype(int) - level).max() <= 1


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_up_sampling_is_that_of_torch(picture: tuple[np.ndarray, tuple[int, int]]) -> None:
    logits = torch.from_numpy(picture[0])
    torchs = F.interpolate(logits[None], size=picture[1], mode='bilinear', align_corners=False)[0]
    # Positions are in single precision: their error grows with the length of the axis.
    bound = 2 * (4 + max(logits.shape[1:])) * EPSILON * float(logits.abs().max())
    torch.testing.assert_close(reference.upsample(logits, picture[1]), torchs, rtol=0, atol=bound)
    # So the class of a pixel may be another one than torch's only where its two best logits lie within that bound.
    mask, _ = masks.render(logits, picture[1])
    ours = torchs.gather(0, torch.from_numpy(mask).long()[None])[0]
    assert float((torchs.amax(dim=0) - ours).max()) <= 2 * bound


@needs_kernels
@settings(max_examples=60, deadline=None)
@given(pictures())
def test_instruction_sets_give_the_same_bits(picture: tuple[np.ndarray, tuple[int, int]]) -> None:
    logits, size = picture
    first = cpu.render(torch.from_numpy(logits), size, instruction_set=SETS[0])
    for name in SETS[1:]:
        for one, other in zip(first, cpu.render(torch.from_numpy(logits), size, instruction_set=name), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@needs_kernels
@settings(max_examples=80, deadline=None)
@given(pictures(), st.permutations([0, 1, 2]), st.booleans(), st.integers(1, 3))
def test_any_layout_gives_the_same_bits(
    picture: tuple[np.ndarray, tuple[int, int]], order: list[int], half: bool, threads: int
) -> None:
    logits, size = torch.from_numpy(picture[0]), picture[1]
    if half:
        logits = logits.bfloat16()
    expected = cpu.render(logits.float().contiguous(), size)
    wide = torch.full([2 * n for n in logits.permute(order).shape], torch.nan, dtype=logits.dtype)
    view = wide[::2, ::2, ::2]  # nothing lies beside anything
    view.copy_(logits.permute(order))
    back = [order.index(axis) for axis in range(3)]
    for laid in (view.permute(back), logits.permute(order).contiguous().permute(back)):
        for name in SETS:
            found = cpu.render(laid, size, threads=threads, instruction_set=name)
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize('backend', ['reference', pytest.param('cpu', marks=needs_kernels)])
def test_equal_logits_go_to_the_lowest_class(backend: masks.render.Backend) -> None:
    one = torch.randn(7, 9, 13)
    alone, _ = masks.render(one, (40, 61), backend)
    doubled, confidence = masks.render(torch.cat([one, one, one]), (40, 61), backend)
    np.testing.assert_array_equal(alone, doubled)
    assert confidence.max() <= 85
    flat, confidence = masks.render(torch.zeros(19, 4, 4), (5, 5), backend)
    assert not flat.any()
    assert (confidence == 13).all()  # 255 / 19 = 13.4


@needs_kernels
@settings(max_examples=60, deadline=None)
@given(pictures(), st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 2**32 - 1))
def test_numbers_that_are_not_finite_leave_pixels_unlabelled(
    picture: tuple[np.ndarray, tuple[int, int]], bad: float, seed: int
) -> None:
    logits, size = picture
    random = np.random.default_rng(seed)
    index = tuple(random.integers(0, length) for length in logits.shape)
    clean, clean_level = cpu.render(torch.from_numpy(logits), size)
    logits = logits.copy()
    logits[index] = bad
    with np.errstate(invalid='ignore'):
        reached = ~np.isfinite(exact_values(logits, size)).all(axis=0)
    for name in SETS:
        mask, confidence = cpu.render(torch.from_numpy(logits), size, instruction_set=name)
        assert (mask[reached] == masks.UNLABELLED).all()
        assert (confidence[reached] == 0).all()
        np.testing.assert_array_equal(mask[~reached], clean[~reached])
        np.testing.assert_array_equal(confidence[~reached], clean_level[~reached])
    expected, _ = reference.render(torch.from_numpy(logits), size)
    np.testing.assert_array_equal(expected, mask)


@needs_kernels
def test_255_classes_and_certainty() -> None:
    logits = torch.zeros(255, 3, 3)
    logits[254] = 200.0
    mask, confidence = masks.render(logits, (33, 17), 'cpu')
    assert (mask == 254).all()
    assert (confidence == 255).all()


@needs_kernels
def test_render_takes_views_half_precision_and_arrays() -> None:
    logits = torch.randn(40, 12, 5).permute(2, 1, 0)  # [5, 12, 40], not contiguous
    expected = masks.render(logits.contiguous(), (30, 50))
    for given_logits in (logits, logits.numpy(), logits.double(), logits.requires_grad_()):
        for one, other in zip(expected, masks.render(given_logits, (30, 50)), strict=True):
            np.testing.assert_array_equal(one, other)
    half = logits.detach().bfloat16()
    for one, other in zip(masks.render(half.float(), (30, 50)), masks.render(half, (30, 50)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ('logits', 'size', 'words'),
    [
        (torch.zeros(1, 19, 4, 4), (8, 8), r'\[1, 19, 4, 4\].*\[classes, height, width\]'),
        (torch.zeros(256, 4, 4), (8, 8), '1 to 255 classes'),
        (torch.zeros(19, 0, 4), (8, 8), r'\[19, 0, 4\]'),
        (torch.zeros(19, 4, 4, dtype=torch.int64), (8, 8), 'floating-point'),
        (torch.zeros(19, 4, 4), (0, 8), 'at least one pixel'),
    ],
)
def test_render_says_what_is_wrong(logits: torch.Tensor, size: tuple[int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        masks.render(logits, size)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="'tpu'.*'auto', 'reference' or 'cpu'"):
        masks.render(torch.zeros(2, 2, 2), (4, 4), 'tpu')  # type: ignore[arg-type]


def test_auto_says_what_it_took() -> None:
    wanted = 'reference' if native.library() is None else 'cpu'
    assert masks.backend_name().startswith(wanted)
