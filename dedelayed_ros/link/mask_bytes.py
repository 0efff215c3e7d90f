"""The downlink of offload mode: a mask and its confidence as bytes and back, without loss."""

from __future__ import annotations

import struct

import numpy as np
import zstandard

from dedelayed_ros.link.fields import WireError, expand

_HEAD = struct.Struct('<BBHHI')  # version, 0, H, W, bytes of the class ids
_VERSION = 1
_LEVEL = 3


def pack_mask(mask: np.ndarray, confidence: np.ndarray) -> bytes:
    """Class ids and confidence, uint8 [H, W] each. Raises `WireError` for other arrays."""
    if mask.ndim != 2 or mask.shape != confidence.shape or mask.dtype != np.uint8 or confidence.dtype != np.uint8:
        raise WireError(
            'value', f'mask {mask.dtype} {list(mask.shape)}, confidence {confidence.dtype} {list(confidence.shape)}'
        )
    if not all(0 < side <= 0xFFFF for side in mask.shape):
        raise WireError('value', f'a mask of {list(mask.shape)}, sides of 1 to 65535 are expected')
    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    classes = compress(np.ascontiguousarray(mask).data)
    # Confidence is smooth: less (left + above - above left), modulo 256, little of it is left.
    slope = confidence.copy()
    slope[:, 1:] -= confidence[:, :-1]
    slope[1:] -= slope[:-1].copy()
    return _HEAD.pack(_VERSION, 0, *mask.shape, len(classes)) + classes + compress(slope.data)


def unpack_mask(data: bytes | memoryview, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class ids and confidence, uint8 [H, W] of the expected ``size`` (H, W).

    Raises `WireError` for anything that `pack_mask` did not write, in bounded memory.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size:
        raise WireError('short', f'mask of {len(view)} bytes, a header alone has {_HEAD.size}')
    version, zero, height, width, length = _HEAD.unpack_from(view)
    if version != _VERSION:
        raise WireError('version', f'mask in format {version}, expected {_VERSION}')
    if zero or (height, width) != tuple(size) or len(view) < _HEAD.size + length:
        raise WireError('value', f'mask of {width}x{height}, agreed were {size[1]}x{size[0]}')
    at = _HEAD.size + length
    mask, slope = (_plane(part, size) for part in (view[_HEAD.size : at], view[at:]))
    down = np.add.accumulate(slope, axis=0, dtype=np.uint8)
    return mask, np.add.accumulate(down, axis=1, dtype=np.uint8)


def _plane(body: memoryview, size: tuple[int, int]) -> np.ndarray:
    return np.frombuffer(expand(body, size[0] * size[1], 'a plane of a mask'), np.uint8).reshape(size)
