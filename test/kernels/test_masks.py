"""The fused mask kernel and the painter against the specification of masks/."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from emulated import THREADS, launch

from dedelayed_ros.errors import InputError
from dedelayed_ros.masks import reference
from dedelayed_ros.masks.cuda import CudaMasks

NONE = np.uint64(0)


def render(logits, size, order, *, last=False, palette=None, image=None, weight=0):
    """Mask, confidence, colours and overlay of logits [C, h, w], given channels-first or channels-last."""
    classes, h, w = logits.shape
    given = np.ascontiguousarray(logits.transpose(1, 2, 0) if last else logits)
    strides = (1, w * classes, classes) if last else (h * w, w, 1)
    mask, confidence = (np.full(size, 99, np.uint8) for _ in range(2))
    colours, overlay = (np.zeros((*size, 3), np.uint8) for _ in range(2))
    drawn = palette is not None
    arguments = [given, *map(np.int32, (classes, *strides, h, w, *size)), mask, confidence]
    arguments += [palette if drawn else NONE, colours if drawn else NONE]
    arguments += [image if drawn else NONE, overlay if drawn else NONE, np.uint32(weight)]
    launch('render', (2,), THREADS, arguments, order)
    return mask, confidence, colours, overlay


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize(
    'shape', [((19, 6, 9), (23, 37)), ((3, 8, 8), (8, 8)), ((2, 11, 5), (4, 3)), ((1, 1, 1), (5, 6))]
)
def test_render_is_the_specification(shape, last, order):
    random = np.random.default_rng(sum(shape[1]))
    palette = random.integers(0, 256, (256, 3), dtype=np.uint8)
    logits = random.standard_normal(shape[0]).astype(np.float32) * 3
    image = random.integers(0, 256, (*shape[1], 3), dtype=np.uint8)
    got = render(logits, shape[1], order, last=last, palette=palette, image=image, weight=100)
    mask, confidence = reference.render(torch.from_numpy(logits), shape[1])
    np.testing.assert_array_equal(got[0], mask)
    assert np.abs(got[1].astype(int) - confidence).max() <= 1
    np.testing.assert_array_equal(got[2], reference.colorize(mask, palette))
    np.testing.assert_array_equal(got[3], reference.overlay(image, mask, palette, 100))


def test_a_tie_goes_to_the_lower_class(order):
    """Equal planes stay equal, whatever the interpolation rounds."""
    plane = np.random.default_rng(0).standard_normal((7, 9)).astype(np.float32)
    mask, _, _, _ = render(np.stack([plane - 1, plane, plane]), (31, 43), order)
    assert (mask == 1).all()


def test_what_is_not_finite_is_unlabelled(order):
    random = np.random.default_rng(1)
    logits = random.standard_normal((4, 6, 7)).astype(np.float32)
    logits[1, 2, 3], logits[2, 0, 0], logits[3, 5, 6] = np.nan, np.inf, -np.inf
    palette = random.integers(0, 256, (256, 3), dtype=np.uint8)
    image = random.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    mask, confidence, _, overlay = render(logits, (12, 14), order, palette=palette, image=image, weight=256)
    wanted, _ = reference.render(torch.from_numpy(logits), (12, 14))
    np.testing.assert_array_equal(mask, wanted)
    assert (confidence[mask == 255] == 0).all() and (mask == 255).any()
    np.testing.assert_array_equal(overlay, reference.overlay(image, wanted, palette, 256))
    np.testing.assert_array_equal(overlay[mask == 255], image[mask == 255])


@pytest.mark.parametrize('weight', [0, 77, 256])
def test_paint(weight, order):
    random = np.random.default_rng(weight)
    mask = random.integers(0, 256, (19, 33), dtype=np.uint8)
    palette = random.integers(0, 256, (256, 3), dtype=np.uint8)
    image = random.integers(0, 256, (19, 33, 3), dtype=np.uint8)
    colours, overlay = np.zeros_like(image), np.zeros_like(image)
    arguments = [mask, np.int32(mask.size), palette, colours, image, overlay, np.uint32(weight)]
    launch('paint', (1,), THREADS, arguments, order)
    np.testing.assert_array_equal(colours, reference.colorize(mask, palette))
    np.testing.assert_array_equal(overlay, reference.overlay(image, mask, palette, weight))


def test_masks_on_a_device(device):
    random = np.random.default_rng(5)
    palette = random.integers(0, 256, (256, 3), dtype=np.uint8)
    masks = CudaMasks(device, (5, 6, 9), (23, 31), palette)
    for _ in range(2):
        logits = random.standard_normal((5, 6, 9)).astype(np.float32)
        image = random.integers(0, 256, (23, 31, 3), dtype=np.uint8)
        wanted, level = reference.render(torch.from_numpy(logits), (23, 31))
        mask, confidence = masks.render(logits)
        np.testing.assert_array_equal(mask, wanted)
        assert np.abs(confidence.astype(int) - level).max() <= 1
        _, _, overlay = masks.overlay(logits, image, 90)
        np.testing.assert_array_equal(overlay, reference.overlay(image, wanted, palette, 90))
    with pytest.raises(InputError, match=r'logits are \[5, 6, 8\], this was made for \[5, 6, 9\]'):
        masks.render(np.zeros((5, 6, 8), np.float32))
    with pytest.raises(InputError, match='palette'):
        CudaMasks(device, (5, 6, 9), (23, 31), palette[:9])
    with pytest.raises(InputError, match='image is'):
        masks.overlay(logits, image[1:], 90)
