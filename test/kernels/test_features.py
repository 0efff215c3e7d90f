"""Remote features on the emulated kernel: dequantised and carried as MotionField.warp does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from emulated import THREADS, launch
from sparse_scenes import field

NONE = np.uint64(0)


def carry(whole, scales, motion, stride, order, base=None, dtype=np.float32):
    out = np.empty(whole.shape, dtype)
    vectors = [NONE, NONE, np.int32(0), np.int32(16), np.int32(stride)]
    if motion is not None:
        valid = motion.valid.astype(np.uint8)
        vectors = [motion.qpel, valid, np.int32(valid.shape[1]), np.int32(motion.block), np.int32(stride)]
    name = 'features_f16' if dtype == np.float16 else 'features_f32'
    arguments = [whole, scales, *vectors, NONE if base is None else base, out, *map(np.int32, whole.shape)]
    launch(name, (2,), THREADS, arguments, order)
    return out


@pytest.mark.parametrize('block', [8, 16])
@pytest.mark.parametrize('dtype', [np.float32, np.float16])
def test_carried_features(block, dtype, order):
    rng = np.random.default_rng(block)
    for _ in range(4):
        whole = rng.integers(-128, 128, (5, 6, 9), dtype=np.int8)
        scales = (2.0 ** rng.integers(-6, 0, 5)).astype(np.float32)
        motion = field(rng, (6 * 8, 9 * 8), block)
        values = torch.from_numpy(whole * scales[:, None, None])
        wanted, _ = motion.warp(values, stride=8, mode='bilinear')
        got = carry(whole, scales, motion, 8, order, dtype=dtype)
        limit = 1e-6 if dtype == np.float32 else 1e-3
        np.testing.assert_allclose(got.astype(np.float32), wanted.numpy(), rtol=limit, atol=limit)
        base = rng.standard_normal(whole.shape).astype(dtype)
        added = carry(whole, scales, motion, 8, order, base, dtype)
        np.testing.assert_allclose(added.astype(np.float32), wanted.numpy() + base, rtol=3 * limit, atol=3 * limit)


def test_features_that_did_not_move(order):
    rng = np.random.default_rng(1)
    whole, scales = rng.integers(-128, 128, (3, 4, 5), dtype=np.int8), np.array([1, 0.5, 0], np.float32)
    np.testing.assert_array_equal(carry(whole, scales, None, 16, order), whole * scales[:, None, None])
