"""Colour and overlay: exact on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros import masks, native
from dedelayed_ros.errors import InputError

needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'kernels are there')


def picture(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random image [H, W, 3], mask [H, W] with some unlabelled pixels, palette [256, 3]."""
    random = np.random.default_rng(seed)
    mask = random.choice(np.array([0, 3, 18, 254, masks.UNLABELLED], np.uint8), (height, width))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, mask, random.integers(0, 256, (256, 3), dtype=np.uint8)


@needs_kernels
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_kernels_equal_the_specification(seed: int, height: int, width: int, alpha: float) -> None:
    image, mask, palette = picture(seed, height, width)
    np.testing.assert_array_equal(masks.colorize(mask, palette, 'cpu'), masks.colorize(mask, palette, 'reference'))
    np.testing.assert_array_equal(
        masks.overlay(image, mask, palette, alpha, 'cpu'), masks.overlay(image, mask, palette, alpha, 'reference')
    )


@pytest.mark.parametrize('backend', ['reference', pytest.param('cpu', marks=needs_kernels)])
def test_overlay_mixes_image_and_colour(backend: masks.render.Backend) -> None:
    image, mask, palette = picture(1, 31, 17)
    colours = masks.colorize(mask, palette, backend)
    np.testing.assert_array_equal(colours[5, 7], palette[mask[5, 7]])
    labelled = mask != masks.UNLABELLED
    np.testing.assert_array_equal(masks.overlay(image, mask, palette, 0.0, backend), image)
    full = masks.overlay(image, mask, palette, 1.0, backend)
    np.testing.assert_array_equal(full[labelled], colours[labelled])
    np.testing.assert_array_equal(full[~labelled], image[~labelled])
    half = masks.overlay(image, mask, palette, 0.5, backend)[labelled].astype(int)
    assert np.abs(half - (image[labelled].astype(int) + colours[labelled]) / 2).max() <= 0.5


def test_views_are_accepted() -> None:
    image, mask, palette = picture(2, 20, 30)
    np.testing.assert_array_equal(
        masks.overlay(image[:, ::2], mask[:, ::2], palette), masks.overlay(image, mask, palette)[:, ::2]
    )


def test_wrong_arrays_are_refused() -> None:
    image, mask, palette = picture(3, 8, 9)
    with pytest.raises(InputError, match=r'image is uint8 \[8, 9, 3\], it has to be uint8 \[8, 8, 3\]'):
        masks.overlay(image, mask[:, :8], palette)
    with pytest.raises(InputError, match=r'palette is uint8 \[19, 3\]'):
        masks.colorize(mask, palette[:19])
    with pytest.raises(InputError, match='mask is int64'):
        masks.colorize(mask.astype(np.int64), palette)
    with pytest.raises(InputError, match='alpha is 1.5'):
        masks.overlay(image, mask, palette, 1.5)
