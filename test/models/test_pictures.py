"""Pictures scaled to what a model takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import resize
from dedelayed_ros.models.pictures import InputPicture, scaled


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


def test_a_network_gets_each_level_divided_by_255() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    make = InputPicture((16, 16))
    found = make(levels)
    assert torch.equal(found, torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255)
    assert found.stride()[1] == 1  # channels-last in memory
    assert make(levels[::-1, ::-1]).data_ptr() == found.data_ptr()
    assert torch.equal(found[0, 0], torch.from_numpy(levels[::-1, ::-1, 0].copy()).float() / 255)


def test_a_network_gets_no_other_picture_than_its_own() -> None:
    make = InputPicture((16, 24))
    for other in (np.zeros((24, 16, 3), np.uint8), np.zeros((16, 24, 3), np.float32), np.zeros((16, 24), np.uint8)):
        with pytest.raises(InputError, match=r'expected (uint8 \[height, width, 3\]|\[16, 24\] pixels)'):
            make(other)
