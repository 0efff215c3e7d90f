"""A codec's motion vectors as arrays: one displacement a block, and which blocks had one."""

from __future__ import annotations

from typing import Any

import numpy as np

from dedelayed_ros.errors import InputError

_SUB = 4  # the smallest H.264 partition is 4×4 pixels


def round_div(value: np.ndarray, divisor: int | np.ndarray) -> np.ndarray:
    """Integer division rounded to nearest, halves away from zero, so that −m moves as far as m."""
    return np.sign(value) * ((2 * np.abs(value) + divisor) // (2 * divisor))


def block_vectors(side_data: Any, size: tuple[int, int], block: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Read FFmpeg's exported motion vectors of one P-frame.

    ``side_data`` is PyAV's ``frame.side_data.get('MOTION_VECTORS')``, the structured array of its ``to_ndarray()``, or
    None (a frame without vectors). ``size`` is (H, W) in pixels.

    Returns ``(qpel, covered)``: ``qpel`` int32 [ceil(H/block), ceil(W/block), 2], x then y, in quarter pixels, zero
    where the block has no vector (intra-coded); ``covered`` bool of the same grid, True where it has one. A block that
    the codec split into partitions gets the vector of the largest part of it.

    Raises InputError for vectors that point into the future (B-frames) or outside of a picture of this size.
    """
    grid = (-(-size[0] // block), -(-size[1] // block))
    qpel = np.zeros((*grid, 2), np.int32)
    covered = np.zeros(grid, bool)
    if side_data is None:
        return qpel, covered
    vectors = side_data if isinstance(side_data, np.ndarray) else side_data.to_ndarray()
    if not len(vectors):
        return qpel, covered
    if (vectors['source'] != -1).any():
        raise InputError(
            'The video has B-frames: some of its motion vectors point to a later picture, but a displacement from the '
            'previous picture to this one is needed. Encode it with P-frames and one reference only '
            '(ffmpeg: -bf 0 -refs 1), or let it be re-encoded.'
        )
    left = vectors['dst_x'].astype(np.int32) - vectors['w'] // 2
    top = vectors['dst_y'].astype(np.int32) - vectors['h'] // 2
    row, column = top // block, left // block
    if row.min() < 0 or column.min() < 0 or row.max() >= grid[0] or column.max() >= grid[1]:
        raise InputError(
            f'The motion vectors reach beyond a picture of {size[1]}x{size[0]} pixels: they belong to another size. '
            'Give the size of the picture that they were decoded with.'
        )
    # m = −motion/scale: the codec says where the content came from, a displacement says where it went.
    motion = np.stack([vectors['motion_x'], vectors['motion_y']], -1).astype(np.int32)
    scale = np.maximum(vectors['motion_scale'].astype(np.int32), 1)[:, None]
    displacement = round_div(-4 * motion, scale)
    if block == 16 and (vectors['w'] == 16).all() and (vectors['h'] == 16).all():
        qpel[row, column] = displacement
        covered[row, column] = True
        return qpel, covered
    return _largest_part(vectors, left, top, displacement, grid, block)


def _largest_part(
    vectors: np.ndarray, left: np.ndarray, top: np.ndarray, displacement: np.ndarray, grid: tuple[int, int], block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Paint partitions on a 4×4-pixel grid and take the vector that covers most of each block."""
    if block % _SUB:
        raise ValueError(f'partitioned vectors need blocks of a multiple of {_SUB} pixels, not {block}')
    side = block // _SUB
    rows, columns = grid[0] * side, grid[1] * side
    owner = np.full((rows, columns), -1, np.int64)  # index of the vector that covers each 4×4 cell
    for width, height in {(int(w), int(h)) for w, h in zip(vectors['w'], vectors['h'], strict=True)}:
        index = np.flatnonzero((vectors['w'] == width) & (vectors['h'] == height))
        for y in range(0, height, _SUB):
            for x in range(0, width, _SUB):
                cell_y, cell_x = (top[index] + y) // _SUB, (left[index] + x) // _SUB
                inside = (cell_y < rows) & (cell_x < columns)
                owner[cell_y[inside], cell_x[inside]] = index[inside]
    parts = owner.reshape(grid[0], side, grid[1], side).swapaxes(1, 2).reshape(*grid, side * side)
    keys = np.where(parts >= 0, (displacement[parts, 0] << 16) + displacement[parts, 1], np.iinfo(np.int32).min)
    votes = ((keys[..., :, None] == keys[..., None, :]) & (parts >= 0)[..., None]).sum(-1)
    winner = np.take_along_axis(parts, votes.argmax(-1)[..., None], -1)[..., 0]
    covered = winner >= 0
    return np.where(covered[..., None], displacement[winner], 0).astype(np.int32), covered
