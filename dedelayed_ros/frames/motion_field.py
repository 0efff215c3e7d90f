"""MotionField: where the content of each block of a frame was in an earlier frame.

A field is read from a video bitstream (one frame's motion), composed over many frames (Eq. 15 of FluxShard), moved to
another picture size, asked at the stride of a layer, and used to carry a tensor from then to now.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import zstandard

from dedelayed_ros import native
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.vectors import block_vectors, round_div

if TYPE_CHECKING:
    import torch

BLOCK = 16  # pixels a side of an H.264 macroblock
MAX_SIDE = 8191  # pixels; a displacement inside such a frame fits int16 quarter pixels

_HEADER = struct.Struct('<2sBBHHBI')  # magic, version, flags, H, W, block, CRC-32 of everything else
_MAGIC, _VERSION = b'MF', 1
_HAS_INVALID, _STILL = 1, 2  # flags: a bitmap of valid blocks precedes the vectors; every vector is zero
_CRC_BYTES = 4


class StridedMotion(NamedTuple):
    """Motion on the grid of a layer with a cumulative stride (see MotionField.at_stride)."""

    qpel: np.ndarray  # int16 [ceil(H/s), ceil(W/s), 2], x then y, quarter *pixels of the frame*; 0 where not usable
    usable: np.ndarray  # bool [ceil(H/s), ceil(W/s)]


class MotionField:
    """Displacement of every block since an earlier frame: content that is now at pixel *p* was at *p − m*.

    size:   (H, W) of the frame in pixels, each 1…8191.
    block:  side of a block in pixels, 16 for H.264. The last row and column of blocks may be cut by the frame's edge.
    qpel:   int16 [ceil(H/block), ceil(W/block), 2], x (column) then y (row), in quarter pixels. Read-only.
    valid:  bool [ceil(H/block), ceil(W/block)]: the block's source is known and inside the frame. Read-only. The vector
            of an invalid block means nothing.

    A block whose centre came from outside of the frame is invalid, whatever ``valid`` says when the field is made;
    through ``compose`` it stays invalid. The centre of a block is pixel ``n // 2`` of the n pixels that are in the
    frame. Fractions are rounded half away from zero, and only to find a pixel, never in the vectors that are kept.

    Two fields are equal when they have the same size, block, valid blocks, and vectors in these.
    """

    __slots__ = ('block', 'qpel', 'size', 'valid')
    __hash__ = None  # type: ignore[assignment]

    size: tuple[int, int]
    block: int
    qpel: np.ndarray
    valid: np.ndarray

    def __init__(
        self, size: tuple[int, int], qpel: np.ndarray, valid: np.ndarray | None = None, block: int = BLOCK
    ) -> None:
        height, width = int(size[0]), int(size[1])
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and 1 <= block <= 255):
            raise ValueError(f'size {tuple(size)} or block {block} out of range: sides 1…{MAX_SIDE}, block 1…255')
        grid = (-(-height // block), -(-width // block))
        vectors = np.asarray(qpel)
        if vectors.shape != (*grid, 2) or not np.issubdtype(vectors.dtype, np.integer):
            raise ValueError(f'qpel must be integers [{grid[0]}, {grid[1]}, 2], got {vectors.dtype} {vectors.shape}')
        vectors = vectors.astype(np.int32)
        row, column = _sources(vectors, (height, width), block)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        if valid is not None:
            known = np.asarray(valid)
            if known.shape != grid or known.dtype != bool:
                raise ValueError(f'valid must be bool [{grid[0]}, {grid[1]}], got {known.dtype} {known.shape}')
            inside &= known
        # A vector beyond int16 leads out of any frame, so what the cast makes of it is never looked at.
        self._set((height, width), vectors.astype(np.int16, order='C'), np.ascontiguousarray(inside), int(block))

    def _set(self, size: tuple[int, int], qpel: np.ndarray, valid: np.ndarray, block: int) -> None:
        qpel.setflags(write=False)
        valid.setflags(write=False)
        for name, value in (('size', size), ('block', block), ('qpel', qpel), ('valid', valid)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f'MotionField is immutable: {name} cannot be set')

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f'MotionField is immutable: {name} cannot be deleted')

    def __reduce__(self) -> tuple[Any, ...]:
        return MotionField, (self.size, self.qpel, self.valid, self.block)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MotionField):
            return NotImplemented
        return (
            self.size == other.size
            and self.block == other.block
            and np.array_equal(self.valid, other.valid)
            and np.array_equal(self.qpel[self.valid], other.qpel[other.valid])
        )

    def __repr__(self) -> str:
        vectors = self.qpel[self.valid].astype(np.int32)
        moving = float((vectors != 0).any(-1).mean()) if len(vectors) else 0.0
        longest = float(np.hypot(vectors[:, 0], vectors[:, 1]).max()) / 4 if len(vectors) else 0.0
        return (
            f'MotionField(size={self.size}, block={self.block}, grid={self.valid.shape}, moving={moving:.0%}, '
            f'longest={longest:.2f} px, invalid={1 - float(self.valid.mean()):.0%})'
        )

    @classmethod
    def identity(cls, size: tuple[int, int], block: int = BLOCK) -> MotionField:
        """The field of a frame in which nothing moved. ``size`` is (H, W)."""
        return cls(size, np.zeros((-(-size[0] // block), -(-size[1] // block), 2), np.int16), block=block)

    @classmethod
    def of_checked(cls, size: tuple[int, int], qpel: np.ndarray, valid: np.ndarray, block: int) -> MotionField:
        """A field of contiguous arrays that are known to be what a field has, which they become parts of: int16, and
        bool where the source is inside the frame. Nothing is looked at, for kernels that did so themselves.
        """
        field = cls.__new__(cls)
        field._set(size, qpel, valid, block)
        return field

    @classmethod
    def from_codec(cls, side_data: Any, size: tuple[int, int]) -> MotionField:
        """The motion of one decoded frame, from the vectors that FFmpeg exports (``flags2=+export_mvs``).

        ``side_data`` is PyAV's ``frame.side_data.get('MOTION_VECTORS')`` or its array; None, a frame without vectors,
        gives the identity. A block without a vector (intra-coded) has m = 0 and is valid. Whether all vectors refer to
        the *previous* frame cannot be seen here (see ``h264_syntax``); B-frames can, and raise InputError.
        """
        qpel, _ = block_vectors(side_data, size)
        return cls(size, qpel)

    def compose(self, newer: MotionField) -> MotionField:
        """Motion over both steps: this field (older) followed by ``newer``; Eq. 15, by block centres.

        m(p) = m_old(p − m_new(p)) + m_new(p), where p is the centre of a block and the old field is read in the block
        that holds the point that the new vector leads to. The sum is kept in quarter pixels. A block is valid when its
        new vector is, the block that it leads to was, and the whole way ends inside the frame.
        """
        if (self.size, self.block) != (newer.size, newer.block):
            raise ValueError(
                f'cannot compose motion of {self.size} in blocks of {self.block} with motion of {newer.size} in blocks '
                f'of {newer.block}: bring one to the other with resized()'
            )
        library = native.library()
        return _composed(self, newer) if library is None else _composed_natively(library, self, newer)

    def resized(self, size: tuple[int, int], block: int | None = None) -> MotionField:
        """The same motion on the frame scaled to ``size`` (H, W), on blocks of ``block`` pixels (default: as now).

        A new block takes the vector of the old block under its centre, scaled per axis and rounded to quarter pixels
        half away from zero. Halving a picture with ``block=8`` therefore keeps every vector, with ``block=16`` one in
        four.
        """
        block = self.block if block is None else block
        if (tuple(size), block) == (self.size, self.block):
            return self
        row, column = _centres(size, block)
        # Centre of pixel c of the new frame, found in the old one: (c + ½)·old/new, in integers.
        row = (2 * row + 1) * self.size[0] // (2 * size[0]) // self.block
        column = (2 * column + 1) * self.size[1] // (2 * size[1]) // self.block
        vectors = self.qpel[row[:, None], column[None, :]].astype(np.int64)
        scale_new, scale_old = np.array([size[1], size[0]]), np.array([self.size[1], self.size[0]])
        return MotionField(
            size, round_div(vectors * scale_new, scale_old), self.valid[row[:, None], column[None, :]], block
        )

    def at_stride(self, stride: int) -> StridedMotion:
        """Motion of the cells of a layer with cumulative stride ``stride``: cell (i, j) covers that many pixels a side.

        A cell is usable only where all of its pixels that lie in the frame have the same vector and a valid source
        (block valid and p − m, rounded, inside the frame). A cell that covers several blocks, or parts of several, is
        usable where all of these agree. Vectors stay in quarter pixels of the frame: a layer moves by whole cells where
        they are divisible by 4·stride.
        """
        vectors, usable = self._cells(stride)
        for axis, length, shape in ((0, self.size[1], (1, -1)), (1, self.size[0], (-1, 1))):
            first = np.arange(usable.shape[1 - axis]).reshape(shape) * stride
            last = np.minimum(first + stride, length) - 1
            shift = round_div(vectors[..., axis], 4)
            usable = usable & (first - shift >= 0) & (last - shift < length)
        return StridedMotion(np.where(usable[..., None], vectors, 0).astype(np.int16), usable)

    def warp(
        self, tensor: torch.Tensor, stride: int = 1, mode: str = 'nearest', fill: float = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Carry a tensor from the earlier frame to now: ``out[..., p] = tensor[..., p − m(p)/stride]``.

        tensor: [..., ceil(H/stride), ceil(W/stride)], a map whose cells cover ``stride`` frame pixels a side.
        mode:   'nearest' rounds p − m to a cell, m half away from zero, for any dtype; 'bilinear' interpolates between
                cell centres, repeating the border, for floating point, and equals 'nearest' on whole-cell motion.
        fill:   value where there is no source.

        Returns ``(warped, valid)``; valid is bool [h, w]: all pixels of the cell have the same valid vector, and the
        source lies in the map ('nearest': the cell; 'bilinear': the point, up to half a cell beyond the last centre).
        Differentiable with respect to the tensor.
        """
        from dedelayed_ros.frames.warping import warp_cells

        vectors, agreed = self._cells(stride)
        return warp_cells(tensor, vectors, agreed, unit=4 * stride, mode=mode, fill=fill)

    def _cells(self, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """Vectors int32 [h, w, 2] on cells of ``stride`` pixels, and whether all blocks under a cell agree."""
        if stride < 1:
            raise ValueError(f'stride must be at least 1 pixel, got {stride}')
        rows, columns = (_covered(length, stride, self.block) for length in self.size)
        vectors = self.qpel[rows[0][:, None], columns[0][None, :]].astype(np.int32)
        if self.block % stride == 0:
            return vectors, self.valid[rows[0][:, None], columns[0][None, :]]
        # One number a block, so that blocks agree where the least and the greatest under the cell are the same.
        key = (self.qpel[..., 0].astype(np.int64) << 16) + self.qpel[..., 1]
        key[~self.valid] = np.iinfo(np.int64).min
        least, greatest = (_reduce(_reduce(key, rows, 0, f), columns, 1, f) for f in (np.minimum, np.maximum))
        return vectors, (least == greatest) & (least != np.iinfo(np.int64).min)

    def to_bytes(self) -> bytes:
        """The field as a small versioned record with a checksum, for a topic or the wire.

        Little-endian: magic ``MF``, version u8, flags u8, H u16, W u16, block u8, CRC-32 u32 of everything else; then,
        compressed with zstd, the bitmap of valid blocks (if any is not) and the vectors, zigzag-coded to u16: the low
        bytes of all x, then of all y, then the high bytes.
        """
        flags = (0 if self.valid.all() else _HAS_INVALID) | (0 if self.qpel.any() else _STILL)
        body = np.packbits(self.valid).tobytes() if flags & _HAS_INVALID else b''
        if not flags & _STILL:
            # Sign into the lowest bit, so that small vectors of either sign have an empty high byte.
            folded = ((self.qpel << 1) ^ (self.qpel >> 15)).transpose(2, 0, 1).astype('<u2', order='C')
            body += folded.view(np.uint8).reshape(-1, 2).T.tobytes()
        payload = zstandard.ZstdCompressor(level=1).compress(body) if body else b''
        fields = (_MAGIC, _VERSION, flags, *self.size, self.block)
        checksum = zlib.crc32(payload, zlib.crc32(_HEADER.pack(*fields, 0)[:-_CRC_BYTES]))
        return _HEADER.pack(*fields, checksum) + payload

    @classmethod
    def from_bytes(cls, data: bytes) -> MotionField:
        """Read a record of ``to_bytes``. Raises InputError for anything truncated, changed or of another version."""
        data = bytes(data)
        if len(data) < _HEADER.size or data[:2] != _MAGIC:
            raise _malformed(f'{len(data)} bytes that do not begin with a header of {_HEADER.size} bytes')
        _, version, flags, height, width, block, checksum = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise _malformed(f'version {version} where this program reads version {_VERSION}')
        payload = data[_HEADER.size :]
        if checksum != zlib.crc32(payload, zlib.crc32(data[: _HEADER.size - _CRC_BYTES])):
            raise _malformed('a wrong checksum')
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and block) or flags & ~(_HAS_INVALID | _STILL):
            raise _malformed(f'size {width}x{height}, block {block}, flags {flags}')
        grid = (-(-height // block), -(-width // block))
        blocks = grid[0] * grid[1]
        bitmap = (blocks + 7) // 8 if flags & _HAS_INVALID else 0
        body = _decompress(payload, bitmap + (0 if flags & _STILL else 4 * blocks))
        bits = np.unpackbits(np.frombuffer(body, np.uint8, bitmap), count=blocks) if bitmap else np.ones(blocks)
        qpel = np.zeros((*grid, 2), np.int16)
        if not flags & _STILL:
            low, high = np.frombuffer(body, np.uint8, offset=bitmap).reshape(2, 2, *grid).astype(np.int32)
            folded = low | high << 8
            qpel[:] = ((folded >> 1) ^ -(folded & 1)).transpose(1, 2, 0)
        return cls((height, width), qpel, bits.reshape(grid).astype(bool), block)


def _composed(older: MotionField, newer: MotionField) -> MotionField:
    vectors = newer.qpel.astype(np.int32)
    row, column = _sources(vectors, older.size, older.block)
    # Clipping touches only sources outside of the frame, and those blocks are invalid already.
    row = np.clip(row, 0, older.size[0] - 1) // older.block
    column = np.clip(column, 0, older.size[1] - 1) // older.block
    valid = newer.valid & older.valid[row, column]
    total = np.where(valid[..., None], older.qpel[row, column] + vectors, 0)
    return MotionField(older.size, total, valid, older.block)


def _composed_natively(library: ctypes.CDLL, older: MotionField, newer: MotionField) -> MotionField:
    qpel, valid = np.empty_like(newer.qpel), np.empty_like(newer.valid)
    fields = [ctypes.c_void_p(part.ctypes.data) for field in (older, newer) for part in (field.qpel, field.valid)]
    outs = [ctypes.c_void_p(part.ctypes.data) for part in (qpel, valid)]
    status = library.dedelayed_compose(*fields, *older.size, older.block, *outs)
    native.check(status, 'dedelayed_compose')
    return MotionField.of_checked(older.size, qpel, valid, older.block)


def _centres(size: tuple[int, int], block: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the centre pixel of each block row and column, of the part that is in the frame."""
    rows, columns = (np.arange(0, length, block) for length in size)
    return (
        rows + np.minimum(block, size[0] - rows) // 2,
        columns + np.minimum(block, size[1] - columns) // 2,
    )


def _sources(vectors: np.ndarray, size: tuple[int, int], block: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel (row, column) that each block's centre came from; may lie outside of the frame."""
    rows, columns = _centres(size, block)
    shift = round_div(vectors, 4)
    return rows[:, None] - shift[..., 1], columns[None, :] - shift[..., 0]


def _covered(length: int, stride: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last block under each cell of ``stride`` pixels along an axis of ``length`` pixels."""
    first = np.arange(0, length, stride)
    return first // block, (np.minimum(first + stride, length) - 1) // block


def _reduce(key: np.ndarray, blocks: tuple[np.ndarray, np.ndarray], axis: int, function: np.ufunc) -> np.ndarray:
    """Reduce over the blocks first…last of each cell; ranges may overlap."""
    padded = np.concatenate([key, key.take([-1], axis)], axis)  # reduceat needs an end inside of the array
    bounds = np.stack([blocks[0], blocks[1] + 1], -1).reshape(-1)
    return function.reduceat(padded, bounds, axis).take(np.arange(0, len(bounds), 2), axis)


def _decompress(payload: bytes, length: int) -> bytes:
    """Decompress to exactly ``length`` bytes; the announced size is checked before any memory is taken."""
    if not length:
        if payload:
            raise _malformed(f'{len(payload)} bytes where none were expected')
        return b''
    try:
        announced = zstandard.get_frame_parameters(payload).content_size
        if announced != length:
            raise _malformed(f'{announced} bytes of vectors where the header needs {length}')
        return zstandard.ZstdDecompressor().decompress(payload, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _malformed(f'vectors that do not decompress ({error})') from error


def _malformed(what: str) -> InputError:
    return InputError(
        f'This is not a motion field: {what}. Expected an undamaged record of MotionField.to_bytes() of the same '
        'version; check that both sides run the same version of this package.'
    )
