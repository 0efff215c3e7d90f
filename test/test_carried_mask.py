"""Masks moved by the codec's motion, where there is no time for a picture's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros import native
from dedelayed_ros.carried_mask import CarriedMask, _moved, moved
from dedelayed_ros.frames import MotionField

RNG = np.random.default_rng(5)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, MotionField]:
    """A mask, its confidence, and motion with vectors that lead out of the frame and blocks without a source."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.tuples(st.integers(16, 50), st.integers(16, 70)))
    blocks = (-(-size[0] // 16), -(-size[1] // 16))
    reach = draw(st.sampled_from([0, 3, 40, 400]))
    qpel = rng.integers(-reach, reach + 1, (*blocks, 2)).astype(np.int16)
    mask, confidence = (rng.integers(0, 256, size).astype(np.uint8) for _ in range(2))
    return mask, confidence, MotionField(size, qpel, rng.random(blocks) < 0.8)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_a_mask_moves_as_a_map_is_warped(scene: tuple[np.ndarray, np.ndarray, MotionField]) -> None:
    mask, confidence, motion = scene
    carried = CarriedMask()
    carried.put(mask, confidence, 0)
    after = carried.move(motion, 1)
    assert after is not None
    warped, valid = motion.warp(torch.from_numpy(mask))
    sure, _ = motion.warp(torch.from_numpy(confidence))
    known = valid.numpy()
    assert (after[0][known] == warped.numpy()[known]).all()
    assert (after[1] == np.where(known, sure.numpy(), 0)).all(), 'what came into the frame is not known'
    assert after[0].dtype == after[1].dtype == np.uint8


@pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'the kernels are there')
@settings(max_examples=60, deadline=None)
@given(scenes())
def test_the_kernel_moves_as_numpy_does(scene: tuple[np.ndarray, np.ndarray, MotionField]) -> None:
    natively, plainly = moved(*scene), _moved(*scene)
    assert np.array_equal(natively[0], plainly[0])
    assert np.array_equal(natively[1], plainly[1])


def test_a_mask_is_carried_from_picture_to_picture() -> None:
    mask = RNG.integers(0, 19, (32, 32)).astype(np.uint8)
    right = MotionField((32, 32), np.broadcast_to(np.int16([8, 0]), (2, 2, 2)).copy())  # two pixels to the right
    carried = CarriedMask()
    carried.put(mask, np.full_like(mask, 200), 0)
    carried.move(right, 1)
    after = carried.move(right, 2)
    assert after is not None
    assert (after[0][:, 4:] == mask[:, :-4]).all()
    assert (after[1][:, :4] == 0).all() and (after[1][:, 4:] == 200).all()


def test_motion_of_a_camera_moves_a_mask_of_the_models_size() -> None:
    mask = RNG.integers(0, 19, (32, 32)).astype(np.uint8)
    carried = CarriedMask()
    carried.put(mask, mask, 0)
    after = carried.move(MotionField((64, 64), np.broadcast_to(np.int16([0, 16]), (4, 4, 2)).copy()), 1)
    assert after is not None and (after[0][2:] == mask[:-2]).all()


def test_without_motion_a_mask_stays_and_nobody_is_sure_of_it() -> None:
    mask = RNG.integers(0, 19, (32, 32)).astype(np.uint8)
    carried = CarriedMask()
    carried.put(mask, np.full_like(mask, 9), 0)
    after = carried.move(None, 1)
    assert after is not None and (after[0] == mask).all() and not after[1].any()


def test_a_mask_is_not_carried_for_long_nor_back() -> None:
    mask = np.zeros((16, 16), np.uint8)
    still = MotionField.identity((16, 16))
    carried = CarriedMask(limit_s=0.5)
    assert carried.move(still, 0) is None, 'there is none'
    carried.put(mask, mask, 10**9)
    assert carried.move(still, 1_500_000_000) is not None
    assert carried.move(still, 1_500_000_001) is None
    assert carried.move(still, 1_200_000_000) is None, 'once it was too old it is gone'
    carried.put(mask, mask, 10**9)
    assert carried.move(still, 10**9 - 1) is None, 'a stream that began anew'
