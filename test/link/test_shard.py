"""An offloaded frame comes out as it went in, or within its bound, and damage is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dedelayed_ros.frames import MotionField
from dedelayed_ros.link import pack_dense, pack_mask, pack_shard, predict, unpack_mask, unpack_shard
from dedelayed_ros.link.fields import WireError
from dedelayed_ros.link.shard import SHARD_OVERHEAD, changed, pooled

sides = st.integers(1, 40)
bounds = st.integers(0, 127)


@st.composite
def scenes(draw):
    """An earlier picture, the motion since, and the picture now: carried, noisy, with something new in it."""
    size = draw(sides), draw(sides)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.sampled_from([4, 8, 16]))
    grid = -(-size[0] // block), -(-size[1] // block)
    motion = MotionField(size, rng.integers(-40, 41, (*grid, 2)), rng.random(grid) < 0.9, block)
    before = rng.integers(0, 256, (*size, 3), np.uint8)
    noise = draw(st.integers(0, 20))
    now = np.clip(predict(before, motion).astype(int) + rng.integers(-noise, noise + 1, (*size, 3)), 0, 255)
    new = rng.random(size) < draw(st.floats(0, 1))
    now[new] = rng.integers(0, 256, (int(new.sum()), 3))
    return before, motion, now.astype(np.uint8)


def off(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@given(scenes(), bounds)
@settings(max_examples=40, deadline=None)
def test_a_frame_comes_out_within_its_bound_and_as_the_sender_expects(scene, bound) -> None:
    before, motion, now = scene
    prediction = predict(before, motion)
    data, expected = pack_shard(now, prediction, motion, bound=bound)
    shard = unpack_shard(data, now.shape[:2])
    received = shard.onto(predict(before, shard.motion))
    assert np.array_equal(received, expected)
    assert off(received, now) <= bound
    # What is within the bound is not sent; where it goes along with its cell it may be, but is not needed.
    assert np.array_equal(shard.cells, pooled(changed(now, prediction, bound)))
    outside = ~shard.cells.repeat(2, 0).repeat(2, 1)[: now.shape[0], : now.shape[1]]
    assert np.array_equal(received[outside], prediction[outside])


@given(scenes(), bounds)
@settings(max_examples=15, deadline=None)
def test_a_dense_frame_needs_nothing_to_build_on(scene, bound) -> None:
    *_, now = scene
    data, expected = pack_dense(now, bound=bound)
    received = unpack_shard(data, now.shape[:2]).onto(None)
    assert np.array_equal(received, expected)
    assert off(received, now) <= bound


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_a_wire_error_or_a_picture(data) -> None:
    """Nothing else may happen: the checksum of the record and of the picture finds what is left."""
    before, motion, now = data.draw(scenes())
    dense = data.draw(st.booleans())
    packed = pack_dense(now)[0] if dense else pack_shard(now, predict(before, motion), motion)[0]
    damaged = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))] + data.draw(st.binary(max_size=3))
    try:
        shard = unpack_shard(bytes(damaged), now.shape[:2])
    except WireError:
        return
    assert shard.onto(None if shard.motion is None else predict(before, shard.motion)).shape == now.shape


def test_what_does_not_fit_is_said() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    data, _ = pack_dense(picture)
    with pytest.raises(WireError, match='6x4, agreed were 8x8'):
        unpack_shard(data, (8, 8))
    with pytest.raises(WireError, match='format 9'):
        unpack_shard(b'\x09' + data[1:], (4, 6))
    moved, _ = pack_shard(picture, picture, MotionField.identity((4, 6)))
    with pytest.raises(WireError, match='motion of a shard is not that of a picture of 6x4'):
        unpack_shard(moved[:20] + struct.pack('<HH', 8000, 8000) + moved[24:], (4, 6))
    with pytest.raises(WireError, match='bound of 128'):
        pack_dense(picture, bound=128)
    with pytest.raises(WireError, match=r'expected uint8 \[H, W, 3\]'):
        pack_dense(picture[..., :2])
    # A part that claims to be larger than its place is refused before memory is taken for it.
    bomb = np.zeros(100 << 20, np.uint8)
    import zstandard

    head = struct.pack('<BBBBHHII', 1, 0, 0, 2, 4, 6, 0, 0)
    with pytest.raises(WireError, match='does not state the expected 72 bytes'):
        unpack_shard(head + zstandard.compress(bomb), (4, 6))


def test_bytes_are_few_where_little_changed() -> None:
    rng = np.random.default_rng(1)
    before = rng.integers(0, 256, (64, 96, 3), np.uint8)
    motion = MotionField((64, 96), np.full((4, 6, 2), (6, -3)))
    now = predict(before, motion)
    still, _ = pack_shard(now, now, motion)
    assert len(still) < 200
    now[10:14, 20:24] ^= 255
    data, _ = pack_shard(now, predict(before, motion), motion)
    assert len(data) - len(still) <= 4 * 12 + 60  # four cells, and their mask
    noisy = rng.integers(0, 256, (64, 96, 3), np.uint8)
    # What cannot be compressed is sent as it is.
    assert len(pack_dense(noisy)[0]) == SHARD_OVERHEAD + noisy.size == 16 + noisy.size


def test_whole_pixels_are_carried_exactly_and_parts_are_interpolated() -> None:
    picture = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    moved = predict(picture, MotionField((16, 16), np.full((1, 1, 2), (4, 8))))
    assert np.array_equal(moved[2:, 1:], picture[:-2, :-1])
    ramp = np.zeros((16, 16, 3), np.uint8)
    ramp[...] = (np.arange(16) * 4)[None, :, None]
    assert np.array_equal(predict(ramp, MotionField((16, 16), np.full((1, 1, 2), (3, 0))))[:, 2:], ramp[:, 2:] - 3)


@given(st.tuples(sides, sides).flatmap(lambda size: arrays.arrays(np.uint8, (2, *size), elements=st.integers(0, 255))))
@settings(max_examples=20, deadline=None)
def test_masks_come_back(planes) -> None:
    mask, confidence = unpack_mask(pack_mask(*planes), planes.shape[1:])
    assert np.array_equal(mask, planes[0])
    assert np.array_equal(confidence, planes[1])


def test_masks_that_were_damaged_are_refused() -> None:
    plane = np.arange(48, dtype=np.uint8).reshape(6, 8)
    data = pack_mask(plane, plane)
    for damaged in (data[:5], data[:-1], data + b'x', b'\x07' + data[1:], data[:14] + b'\xff\xff' + data[16:]):
        with pytest.raises(WireError):
            unpack_mask(damaged, (6, 8))
    with pytest.raises(WireError, match='agreed were 9x6'):
        unpack_mask(data, (6, 9))
    with pytest.raises(WireError, match='confidence uint8'):
        pack_mask(plane, plane[:5])
