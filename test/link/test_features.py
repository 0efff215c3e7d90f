"""Feature bytes: bounded error, exact zeros, bounded size, and the reader fails by WireError only."""

from __future__ import annotations

import struct
import time
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dedelayed_ros.link import WireError, pack_features, unpack_features

tensors = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=9),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


def smooth_features(shape=(32, 16, 40), seed=0) -> np.ndarray:
    """Rectified low-pass noise: about as compressible as what a network's last layers give."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    for axis in (1, 2):
        noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    return np.maximum(noise, 0).astype(np.float32)


@given(tensors, st.integers(2, 8))
def test_error_is_at_most_half_a_step(features, bits):
    back = unpack_features(pack_features(features, bits=bits))
    assert back.dtype == np.float32
    assert back.shape == features.shape
    step = np.abs(features).max(axis=(1, 2), keepdims=True).astype(np.float64) / (2 ** (bits - 1) - 1)
    # A channel whose step underflows float32 comes back as zeros.
    allowed = np.where(step > 2e-38, step * 0.5001, step * 2**bits + 1e-37)
    assert (np.abs(back.astype(np.float64) - features) <= allowed).all()
    assert (back[features == 0] == 0).all()


def test_zeros_are_exact_and_tiny():
    data = pack_features(np.zeros((32, 16, 40), np.float32))
    assert np.array_equal(unpack_features(data), np.zeros((32, 16, 40)))
    assert len(data) < 200


def test_what_was_packed_once_packs_the_same_again():
    once = unpack_features(pack_features(smooth_features()))
    assert np.allclose(unpack_features(pack_features(once)), once, rtol=1e-6, atol=0)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_refused(bad):
    features = smooth_features()
    features[3, 2, 1] = bad
    with pytest.raises(WireError) as error:
        pack_features(features)
    assert error.value.code == 'value'


@pytest.mark.parametrize('shape', [(16, 40), (1, 32, 16, 40), (0, 16, 40)])
def test_another_shape_is_refused(shape):
    with pytest.raises(WireError):
        pack_features(np.zeros(shape, np.float32))


@given(st.data())
def test_any_damage_is_a_wire_error_or_harmless_numbers(data):
    packed = bytearray(pack_features(smooth_features((4, 5, 6))))
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        bit = data.draw(st.integers(0, 8 * len(packed) - 1))
        packed[bit // 8] ^= 1 << bit % 8
    try:
        back = unpack_features(bytes(packed))
    except WireError:
        return
    assert np.isfinite(back).all()


@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    with pytest.raises(WireError):
        unpack_features(noise)


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = zstandard.compress(bytes(64 << 20))
    head = struct.pack('<BBBBHHH', 1, 8, 0, 0, 1, 4, 4) + struct.pack('<f', 1.0)
    assert len(bomb) < 10_000
    tracemalloc.start()
    with pytest.raises(WireError) as error:
        unpack_features(head + bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.code == 'length'
    assert peak < 1 << 20
    with pytest.raises(WireError):
        unpack_features(struct.pack('<BBBBHHH', 1, 8, 0, 0, 65535, 65535, 65535) + bytes(100))


def test_size_and_time_of_a_typical_tensor():
    features = smooth_features()
    data = pack_features(features)
    assert len(data) < 0.18 * features.nbytes
    assert len(pack_features(features, bits=6)) < 0.75 * len(data)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        unpack_features(pack_features(features))
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3
