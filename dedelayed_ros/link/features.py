"""The bytes of a feature tensor: one scale a channel, uniform quantisation, horizontal prediction, zstd.

Layout, little-endian: version u8 | bits u8 | predictor u8 | 0 u8 | C, h, w u16 | scales float32 [C] | zstd frame of
int8 [C, h, w]. A value is its integer times its channel's scale, so zero stays exactly zero, and whole numbers that fit
the bits are kept exactly (with a scale of 1). Predictor 1 means that
each integer is stored as the difference to its left neighbour (modulo 256), which makes smooth maps smaller and is
undone exactly.
"""

from __future__ import annotations

import struct

import numpy as np
import zstandard

from dedelayed_ros.link.fields import expand
from dedelayed_ros.link.wire import MAX_RECORD_BYTES, WireError

_HEAD = struct.Struct('<BBBBHHH')
_VERSION = 1
_PEAK = np.float32(1e36)
"""Largest magnitude that is accepted: 128 times it is still a float32."""

_PLAIN, _LEFT = 0, 1
_LEVEL = 1
"""zstd level: beyond 1 the bytes hardly shrink and the time doubles."""


def pack_features(features: np.ndarray, *, bits: int = 8) -> bytes:
    """Features float32 [C, h, w] as bytes, each value off by at most half a step: a channel's peak / (2^(bits-1) - 1).

    Raises `WireError` for another shape and for values that are not finite.
    """
    if not 2 <= bits <= 8:
        raise WireError('value', f'features in {bits} bits, expected 2 to 8')
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 3 or not all(0 < side <= 0xFFFF for side in features.shape) or features.size > MAX_RECORD_BYTES:
        raise WireError('value', f'features of shape {features.shape}, expected (channels, height, width)')
    levels = 2 ** (bits - 1) - 1
    peak = np.maximum(features.max(axis=(1, 2)), -features.min(axis=(1, 2)))
    if not (peak <= _PEAK).all():
        raise WireError('value', 'features are not finite, or beyond float32: the model computed NaN or infinity')
    scales = (peak / np.float32(levels)).astype('<f4')
    if (peak <= levels).all() and np.array_equal(features, np.rint(features)):
        scales[:] = 1
    # A peak so small that its step underflows is as good as zero; dividing by it would not be.
    usable = scales >= np.finfo(np.float32).tiny
    scales[~usable] = 0
    inverse = np.zeros_like(scales)
    np.divide(1, scales, out=inverse, where=usable)
    steps = np.rint(features * inverse[:, None, None])
    whole = np.clip(steps, -levels, levels, out=steps).astype(np.int8)
    body, predictor = _smaller(whole)
    return _HEAD.pack(_VERSION, bits, predictor, 0, *features.shape) + scales.tobytes() + body


def unpack_features(data: bytes | memoryview) -> np.ndarray:
    """Features float32 [C, h, w] as `pack_features` wrote them; `WireError` for anything else, in bounded memory."""
    view = memoryview(data)
    if len(view) < _HEAD.size:
        raise WireError('short', f'features of {len(view)} bytes, a header alone has {_HEAD.size}')
    version, bits, predictor, zero, channels, height, width = _HEAD.unpack_from(view)
    if version != _VERSION:
        raise WireError('version', f'features in format {version}, expected {_VERSION}')
    size = channels * height * width
    if zero or predictor > _LEFT or not 2 <= bits <= 8 or not 0 < size <= MAX_RECORD_BYTES:
        raise WireError('value', f'features {channels}x{height}x{width} in {bits} bits, predictor {predictor}')
    at = _HEAD.size + 4 * channels
    if len(view) < at:
        raise WireError('length', 'features end within their scales')
    scales = np.frombuffer(view[_HEAD.size : at], '<f4')
    if not ((scales >= 0) & (scales <= _PEAK)).all():
        raise WireError('value', 'features have a scale that is no finite, non-negative number')
    whole = np.frombuffer(expand(view[at:], size, 'the compressed tensor'), np.int8).reshape(channels, height, width)
    if predictor == _LEFT:
        whole = np.add.accumulate(whole, axis=2, dtype=np.int8)
    return whole * scales[:, None, None]


def _smaller(whole: np.ndarray) -> tuple[bytes, int]:
    """`whole` int8 [C, h, w] compressed, with the predictor whose integers spread less."""
    left = whole.copy()
    left[:, :, 1:] -= whole[:, :, :-1]  # wraps modulo 256, as the addition that undoes it
    predictor = _LEFT if np.abs(left, dtype=np.int16).sum() < np.abs(whole, dtype=np.int16).sum() else _PLAIN
    chosen = left if predictor == _LEFT else whole
    return zstandard.ZstdCompressor(level=_LEVEL).compress(chosen.data), predictor
