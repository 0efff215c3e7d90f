"""Masks moved by the codec's motion, where there is no time for a picture's own."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros.carried_mask import CarriedMask
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
    moved = carried.move(motion, 1)
    assert moved is not None
    warped, valid = motion.warp(torch.from_numpy(mask))
    sure, _ = motion.warp(torch.from_numpy(confidence))
    known = valid.numpy()
    assert (moved[0][known] == warped.numpy()[known]).all()
    assert (moved[1] == np.where(known, sure.numpy(), 0)).all(), 'what came into the frame is not known'
    assert moved[0].dtype == moved[1].dtype == np.uint8


def test_a_mask_is_carried_from_picture_to_picture() -> None:
    mask = RNG.integers(0, 19, (32, 32)).astype(np.uint8)
    right = MotionField((32, 32), np.broadcast_to(np.int16([8, 0]), (2, 2, 2)).copy())  # two pixels to the right
    carried = CarriedMask()
    carried.put(mask, np.full_like(mask, 200), 0)
    carried.move(right, 1)
    moved = carried.move(right, 2)
    assert moved is not None
    assert (moved[0][:, 4:] == mask[:, :-4]).all()
    assert (moved[1][:, :4] == 0).all() and (moved[1][:, 4:] == 200).all()


def test_motion_of_a_camera_moves_a_mask_of_the_models_size() -> None:
    mask = RNG.integers(0, 19, (32, 32)).astype(np.uint8)
    carried = CarriedMask()
    carried.put(mask, mask, 0)
    moved = carried.move(MotionField((64, 64), np.broadcast_to(np.int16([0, 16]), (4, 4, 2)).copy()), 1)
    assert moved is not None and (moved[0][2:] == mask[:-2]).all()


def test_without_motion_a_mask_stays_and_nobody_is_sure_of_it() -> None:
    mask = RNG.integers(0, 19, (32, 32)).astype(np.uint8)
    carried = CarriedMask()
    carried.put(mask, np.full_like(mask, 9), 0)
    moved = carried.move(None, 1)
    assert moved is not None and (moved[0] == mask).all() and not moved[1].any()


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
