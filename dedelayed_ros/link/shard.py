"""The uplink of offload mode: a frame as what differs from the picture that the cloud holds (FluxShard, section IV-E).

A shard is the motion since that picture, a mask of 2x2 cells, and the pixels of these cells: as themselves or as
differences from what motion predicts, whichever is smaller. Everything is compressed with zstd where that pays. With a
``bound`` of 0 the frame comes out as it went in; else no value is off by more than the bound, and pixels that are
within it of their prediction are not sent. A dense frame needs no picture to build on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import zstandard

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.link.fields import MAX_RECORD_BYTES, WireError, expand

CELL = 2
"""Pixels a side of a cell of the mask: it is set where any of its pixels differs."""
MAX_BOUND = 127

_VERSION = 1
_DENSE, _VALUES, _DIFFERENCES = 0, 1, 2  # codings of the pixels
_PLAIN, _PACKED = 0, 1
_HEAD = struct.Struct('<BBBBHHII')  # version, coding, bound, packings, H, W, bytes of the motion, of the mask
SHARD_OVERHEAD = _HEAD.size
"""Bytes of a shard that holds nothing."""
_MASK_BIT, _PIXELS_BIT = 1, 2  # of the packings: this part is compressed
_LEVEL = 3


def changed(picture: np.ndarray, prediction: np.ndarray, bound: int = 0) -> np.ndarray:  # bool [H, W]
    """Pixels of ``picture`` uint8 [H, W, 3] that are off by more than ``bound`` (0-127, of 255) in any channel."""
    off = np.maximum(picture, prediction) - np.minimum(picture, prediction)
    return (off > bound).any(axis=2)


def pooled(mask: np.ndarray) -> np.ndarray:  # bool [ceil(H/2), ceil(W/2)]
    """Cells of ``mask`` bool [H, W] in which any pixel is set."""
    height, width = mask.shape
    padded = np.zeros((height + height % CELL, width + width % CELL), bool)
    padded[:height, :width] = mask
    return padded[::2, ::2] | padded[1::2, ::2] | padded[::2, 1::2] | padded[1::2, 1::2]


def pack_dense(picture: np.ndarray, *, bound: int = 0) -> tuple[bytes, np.ndarray]:
    """A whole picture uint8 [H, W, 3] as bytes, and what the other side makes of them.

    Raises `WireError` for another shape or bound, and for one that does not fit a record.
    """
    size = _checked(picture, bound)
    levels, received = _levels(picture, bound)
    packed, body = _smaller(_gradient(_decorrelated(levels)).tobytes())
    return _record(_DENSE, bound, packed * _PIXELS_BIT, size, b'', b'', body), received


def pack_shard(
    picture: np.ndarray, prediction: np.ndarray, motion: MotionField, *, bound: int = 0
) -> tuple[bytes, np.ndarray]:
    """A picture uint8 [H, W, 3] by its ``prediction`` (see :func:`~dedelayed_ros.link.prediction.predict`) and motion.

    Returns the bytes and what the other side makes of them. Errors as :func:`pack_dense`.
    """
    size = _checked(picture, bound)
    if prediction.shape != picture.shape or tuple(motion.size) != size:
        raise WireError(
            'value', f'picture of {list(size)}, prediction of {list(prediction.shape)}, motion of {list(motion.size)}'
        )
    cells = pooled(changed(picture, prediction, bound))
    mask_packed, mask = _smaller(np.packbits(cells).tobytes())
    new, old = _in_cells(picture, cells), _in_cells(prediction, cells)
    steps, by_differences = _differences(new, old, bound)
    levels, by_values = _levels(new, bound)
    choices = [
        (coding, *_smaller(np.ascontiguousarray(_decorrelated(symbols).transpose(2, 1, 0)).tobytes()), received)
        for coding, symbols, received in ((_DIFFERENCES, steps, by_differences), (_VALUES, levels, by_values))
    ]
    coding, packed, body, inside = min(choices, key=lambda choice: len(choice[2]))
    packings = mask_packed * _MASK_BIT + packed * _PIXELS_BIT
    data = _record(coding, bound, packings, size, motion.to_bytes(), mask, body)
    return data, _put_cells(prediction, cells, inside)


@dataclass(frozen=True)
class Shard:
    """A frame as it was received. ``motion`` since the picture that it builds on; None for a dense frame."""

    size: tuple[int, int]
    bound: int
    motion: MotionField | None
    cells: np.ndarray | None
    _coding: int
    _symbols: np.ndarray

    def onto(self, prediction: np.ndarray | None) -> np.ndarray:
        """The picture uint8 [H, W, 3]; ``prediction`` is that of ``motion``, None for a dense frame."""
        if self.cells is None:
            return _from_levels(self._symbols, self.bound)
        assert prediction is not None
        if self._coding == _VALUES:
            return _put_cells(prediction, self.cells, _from_levels(self._symbols, self.bound))
        old = _in_cells(prediction, self.cells)
        return _put_cells(prediction, self.cells, _from_differences(self._symbols, old, self.bound))


def unpack_shard(data: bytes | memoryview, size: tuple[int, int]) -> Shard:
    """What `pack_dense` or `pack_shard` wrote of a picture of ``size`` (H, W).

    Raises `WireError` for anything else, another size included, in memory bounded by the size.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size:
        raise WireError('short', f'shard of {len(view)} bytes, a header alone has {_HEAD.size}')
    version, coding, bound, packings, height, width, motion_bytes, mask_bytes = _HEAD.unpack_from(view)
    if version != _VERSION:
        raise WireError('version', f'shard in format {version}, expected {_VERSION}')
    if (height, width) != tuple(size):
        raise WireError('value', f'shard of a picture of {width}x{height}, agreed were {size[1]}x{size[0]}')
    if coding > _DIFFERENCES or bound > MAX_BOUND or packings > (_MASK_BIT | _PIXELS_BIT):
        raise WireError('value', f'shard with coding {coding}, bound {bound}, packings {packings}')
    pixels_at = _HEAD.size + motion_bytes + mask_bytes
    if len(view) < pixels_at:
        raise WireError('length', 'the shard ends within its motion or mask')
    motion_data, body = view[_HEAD.size : _HEAD.size + motion_bytes], view[pixels_at:]
    packed = bool(packings & _PIXELS_BIT)
    if coding == _DENSE:
        if motion_bytes or mask_bytes or packings & _MASK_BIT:
            raise WireError('value', 'a dense frame with motion or a mask')
        raw = np.frombuffer(_expanded(body, height * width * 3, packed), np.uint8)
        symbols = _correlated(_integral(raw.reshape(height, width, 3)))
        return Shard((height, width), bound, None, None, coding, symbols)
    motion = _read_motion(bytes(motion_data), (height, width))
    cells = _read_mask(view[_HEAD.size + motion_bytes : pixels_at], (height, width), bool(packings & _MASK_BIT))
    count = int(cells.sum())
    raw = np.frombuffer(_expanded(body, count * 12, packed), np.uint8)
    symbols = _correlated(raw.reshape(3, CELL * CELL, count).transpose(2, 1, 0))
    return Shard((height, width), bound, motion, cells, coding, symbols)


def _checked(picture: np.ndarray, bound: int) -> tuple[int, int]:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise WireError('value', f'picture is {picture.dtype} {list(picture.shape)}, expected uint8 [H, W, 3]')
    if not 0 <= bound <= MAX_BOUND:
        raise WireError('value', f'a bound of {bound}, expected 0 to {MAX_BOUND}')
    return picture.shape[0], picture.shape[1]


def _record(
    coding: int, bound: int, packings: int, size: tuple[int, int], motion: bytes, mask: bytes, body: bytes
) -> bytes:
    try:
        head = _HEAD.pack(_VERSION, coding, bound, packings, *size, len(motion), len(mask))
    except struct.error:
        raise WireError('value', f'a picture of {size[1]}x{size[0]} is larger than a shard can be') from None
    data = head + motion + mask + body
    if len(data) > MAX_RECORD_BYTES:
        raise WireError('too_large', f'shard of {len(data)} bytes, at most {MAX_RECORD_BYTES} are allowed')
    return data


def _read_motion(data: bytes, size: tuple[int, int]) -> MotionField:
    # Its size first: what it states decides how much memory it takes.
    if len(data) < 8 or struct.unpack_from('<HH', data, 4) != size:
        raise WireError('value', f'the motion of a shard is not that of a picture of {size[1]}x{size[0]}')
    try:
        return MotionField.from_bytes(data)
    except InputError as error:
        raise WireError('value', f'the motion of a shard cannot be read: {error}') from None


def _read_mask(data: memoryview, size: tuple[int, int], packed: bool) -> np.ndarray:
    grid = -(-size[0] // CELL), -(-size[1] // CELL)
    count = grid[0] * grid[1]
    bits = np.frombuffer(_expanded(data, -(-count // 8), packed), np.uint8)
    unpacked = np.unpackbits(bits)
    if unpacked[count:].any():
        raise WireError('value', 'bits are set behind the end of the mask')
    return unpacked[:count].reshape(grid).astype(bool)


def _in_cells(picture: np.ndarray, cells: np.ndarray) -> np.ndarray:  # uint8 [n, 4, 3]
    """The pixels of the cells that are set; outside of an odd picture its border is repeated."""
    height, width = picture.shape[:2]
    if height % CELL or width % CELL:
        picture = np.pad(picture, ((0, height % CELL), (0, width % CELL), (0, 0)), 'edge')
    rows, columns = cells.shape
    blocks = picture.reshape(rows, CELL, columns, CELL, 3).transpose(0, 2, 1, 3, 4)
    return blocks[cells].reshape(-1, CELL * CELL, 3)


def _put_cells(picture: np.ndarray, cells: np.ndarray, inside: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    rows, columns = cells.shape
    whole = np.empty((rows * CELL, columns * CELL, 3), np.uint8)
    whole[:height, :width] = picture
    blocks = whole.reshape(rows, CELL, columns, CELL, 3).transpose(0, 2, 1, 3, 4)
    blocks[cells] = inside.reshape(-1, CELL, CELL, 3)
    return np.ascontiguousarray(whole[:height, :width])


def _levels(values: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """Values uint8 in steps of 2·bound + 1, and the values that come back."""
    levels = ((values.astype(np.uint16) + bound) // (2 * bound + 1)).astype(np.uint8)
    return levels, _from_levels(levels, bound)


def _from_levels(levels: np.ndarray, bound: int) -> np.ndarray:
    return np.minimum(levels.astype(np.uint16) * (2 * bound + 1), 255).astype(np.uint8)


def _differences(new: np.ndarray, old: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences in steps of 2·bound + 1, modulo 256, and the values that come back.

    A value that is within the bound of the old one comes back as the old one.
    """
    off = new.astype(np.int16) - old
    steps = (np.sign(off) * ((np.abs(off) + bound) // (2 * bound + 1))).astype(np.int16)
    symbols = (steps & 255).astype(np.uint8)
    return symbols, _from_differences(symbols, old, bound)


def _from_differences(symbols: np.ndarray, old: np.ndarray, bound: int) -> np.ndarray:
    if bound == 0:
        return old + symbols  # modulo 256
    steps = symbols.view(np.int8).astype(np.int16)
    return np.clip(old + steps * (2 * bound + 1), 0, 255).astype(np.uint8)


def _decorrelated(symbols: np.ndarray) -> np.ndarray:  # uint8 [..., 3]
    """Red and blue as their difference to green, modulo 256."""
    out = symbols.copy()
    out[..., 0] -= symbols[..., 1]
    out[..., 2] -= symbols[..., 1]
    return out


def _correlated(symbols: np.ndarray) -> np.ndarray:
    out = symbols.copy()
    out[..., 0] += symbols[..., 1]
    out[..., 2] += symbols[..., 1]
    return out


def _gradient(values: np.ndarray) -> np.ndarray:
    """Each value less (left + above - above left), modulo 256: zero on slopes."""
    out = values.copy()
    out[:, 1:] -= values[:, :-1]
    return np.concatenate([out[:1], out[1:] - out[:-1]])


def _integral(values: np.ndarray) -> np.ndarray:
    """The inverse of `_gradient`."""
    down = np.add.accumulate(values, axis=0, dtype=np.uint8)
    return np.add.accumulate(down, axis=1, dtype=np.uint8)


def _smaller(raw: bytes) -> tuple[int, bytes]:
    """(1, compressed) or (0, as it is)."""
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(raw)
    return (_PACKED, compressed) if len(compressed) < len(raw) else (_PLAIN, raw)


def _expanded(body: memoryview, size: int, packed: bool) -> bytes:
    if not packed:
        if len(body) != size:
            raise WireError('length', f'part of a shard of {len(body)} bytes, expected {size}')
        return bytes(body)
    return expand(body, size, 'a part of a shard')
