"""The bytes of latents: nothing is lost, nothing damaged gets through, and they are few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dedelayed_ros.link import LatentCoder, WireError, code_lengths, pack_features, unpack_features
from dedelayed_ros.link.latents import PASSES, SPREADS

CHANNELS, LIMIT = 3, 31


def smooth(rng: np.random.Generator, height: int = 20, width: int = 40) -> np.ndarray:
    maps = rng.standard_normal((CHANNELS, height, width))
    for _ in range(2):
        for axis in (1, 2):
            maps = maps + np.roll(maps, 1, axis) + np.roll(maps, -1, axis)
    return np.clip(np.rint(3 * maps / maps.std()), -LIMIT, LIMIT).astype(np.int32)


@pytest.fixture(scope='module')
def coder() -> LatentCoder:
    rng = np.random.default_rng(0)
    return LatentCoder(code_lengths([smooth(rng) for _ in range(40)] + [np.zeros((CHANNELS, 8, 8), np.int32)], LIMIT))


@settings(max_examples=60, deadline=None)
@given(latents=hnp.arrays(np.int32, st.tuples(st.just(CHANNELS), st.integers(1, 9), st.integers(1, 9)),
                          elements=st.integers(-LIMIT, LIMIT)))  # fmt: skip
def test_any_latents_come_back_as_they_were(coder: LatentCoder, latents: np.ndarray) -> None:
    back = coder.unpack(coder.pack(latents))
    assert back.dtype == np.float32
    assert np.array_equal(back, latents)


def test_the_extremes_come_back(coder: LatentCoder) -> None:
    row, column = np.indices((8, 8))
    steps = np.where((row + column) % 2, LIMIT, -LIMIT)
    latents = np.stack([steps, -steps, np.zeros_like(steps)]).astype(np.float32)
    assert np.array_equal(coder.unpack(coder.pack(latents)), latents)


def test_neighbours_that_agree_cost_little(coder: LatentCoder) -> None:
    latents = smooth(np.random.default_rng(1))
    shuffled = np.random.default_rng(2).permutation(latents.reshape(CHANNELS, -1), axis=1).reshape(latents.shape)
    entropy = 0.0
    for channel in latents:
        counts = np.unique(channel, return_counts=True)[1]
        entropy -= float(counts @ np.log2(counts / counts.sum()))
    assert 8 * len(coder.pack(latents)) < 0.85 * entropy, 'fewer bits than any coder that looks at no neighbours'
    assert len(coder.pack(latents)) < 0.6 * len(coder.pack(shuffled))


def test_what_is_damaged_is_refused_or_at_least_bounded(coder: LatentCoder) -> None:
    """Records have a checksum of their own; here it is only sure that nothing else than WireError comes out."""
    rng = np.random.default_rng(0)
    data = coder.pack(smooth(rng))
    refused = 0
    for _ in range(200):
        damaged = bytearray(data)
        damaged[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            assert np.abs(coder.unpack(bytes(damaged))).max() <= LIMIT
        except WireError:
            refused += 1
    assert refused > 100, 'what does not add up is refused'
    for length in range(0, len(data), 7):
        with pytest.raises(WireError):
            coder.unpack(data[:length])
    with pytest.raises(WireError, match='16383x16383'):
        coder.unpack(b'\x02\x00\x03\x00\xff\x3f\xff\x3f' + bytes(8))


def test_what_the_coder_cannot_code_is_named(coder: LatentCoder) -> None:
    with pytest.raises(WireError, match=r'expected \(3, height, width\)'):
        coder.pack(np.zeros((4, 2, 2)))
    for value in (0.5, LIMIT + 1, np.nan):
        with pytest.raises(WireError, match='whole numbers within'):
            coder.pack(np.full((CHANNELS, 2, 2), value, np.float32))
    with pytest.raises(WireError, match='format 1, expected 2'):
        coder.unpack(pack_features(np.zeros((CHANNELS, 2, 2), np.float32)))
    with pytest.raises(ValueError, match='expected uint8'):
        LatentCoder(np.zeros((2, 3, 4, 125), np.uint8))


def test_rare_differences_stay_possible_and_frequent_ones_are_short() -> None:
    lengths = code_lengths([np.zeros((1, 30, 30), np.int32)] * 2, 1)
    assert lengths.shape == (PASSES, 1, len(SPREADS) + 1, 5)
    assert (lengths[:, 0, 0, 2] == 1).all()
    coder = LatentCoder(lengths)
    odd = np.zeros((1, 6, 6), np.int32)
    odd[0, 1, 1], odd[0, 2, 3] = 1, -1
    assert np.array_equal(coder.unpack(coder.pack(odd)), odd)


def test_whole_latents_cross_the_plain_format_unchanged() -> None:
    """On the topic between the robot's own processes they are plain features."""
    latents = smooth(np.random.default_rng(3)).astype(np.float32)
    assert np.array_equal(unpack_features(pack_features(latents)), latents)
