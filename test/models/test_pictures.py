"""Pictures scaled to what a model takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import resize
from dedelayed_ros.models.pictures import as_levels, scaled


def smooth(size: tuple[int, int]) -> np.ndarray:
    return resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), size)


@pytest.mark.parametrize('size', [(160, 320), (192, 352), (64, 640), (400, 700), (1, 1)])
def test_a_scaled_picture_is_the_same_picture(size: tuple[int, int]) -> None:
    picture = smooth((320, 640))
    before = picture.copy()
    found = scaled(picture, size)
    assert found.shape == (*size, 3) and found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(picture, before)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    expected = F.interpolate(planes, size=size, mode='bilinear', antialias=True)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - np.rint(expected)).max() <= 1


def test_the_size_that_it_has_already_costs_nothing() -> None:
    picture = smooth((64, 96))
    assert scaled(picture, (64, 96)) is picture


def test_pictures_that_must_not_be_written_to_and_turned_ones() -> None:
    picture = smooth((64, 96))
    expected = scaled(picture, (32, 48))
    kept = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.shape)
    assert np.array_equal(scaled(kept, (32, 48)), expected)
    assert np.array_equal(scaled(np.asfortranarray(picture), (32, 48)), expected)
    assert np.array_equal(scaled(picture[:, ::-1], (32, 48)), expected[:, ::-1])


@pytest.mark.parametrize('value', [0, 7, 255])
def test_what_is_even_stays_even(value: int) -> None:
    assert (scaled(np.full((97, 131, 3), value, np.uint8), (40, 50)) == value).all()


@pytest.mark.parametrize('threads', [1, 2])
def test_scaling_leaves_the_number_of_threads_as_it_was(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        scaled(smooth((64, 96)), (32, 48))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_levels_are_the_picture_itself_channels_last() -> None:
    picture = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    found = as_levels(picture)
    assert torch.equal(found, torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])
    assert found.stride()[1] == 1  # channels-last in memory
    assert found.data_ptr() == picture.ctypes.data
    kept = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.shape)
    assert torch.equal(as_levels(kept), found)
    assert torch.equal(as_levels(picture[::-1, ::-1])[0, 0], torch.from_numpy(picture[::-1, ::-1, 0].copy()))


def test_levels_are_of_pictures_only() -> None:
    for other in (np.zeros((16, 24, 4), np.uint8), np.zeros((16, 24, 3), np.float32), np.zeros((16, 24), np.uint8)):
        with pytest.raises(InputError, match=r'expected uint8 \[height, width, 3\]'):
            as_levels(other)
