"""What a picture is expected to be, from an earlier one and the motion since: in integers, so that both ends agree.

It only decides how many bytes a frame takes, never what comes out: pixels that differ from it are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField


def predict(picture: np.ndarray, motion: MotionField) -> np.ndarray:
    """``picture`` uint8 [H, W, 3] carried along ``motion``, interpolated bilinearly in quarter pixels.

    Pixel p of a block with the vector m is picture(p − m), the picture's border repeated outside of it; of the four
    pixels around that point each counts by 0–16 sixteenths, and the sum is rounded half up. In a block without a valid
    vector m is 0. Where a vector is whole pixels the value is exactly that of its source.
    """
    height, width = motion.size
    if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
        raise ValueError(f'picture is {picture.dtype} {list(picture.shape)}; expected uint8 [{height}, {width}, 3]')
    block = motion.block
    vectors = np.where(motion.valid[..., None], motion.qpel, 0).astype(np.int32)
    if not vectors.any():
        return picture.copy()
    (x_whole, x_part), (y_whole, y_part) = (np.divmod(-vectors[..., axis], 4) for axis in (0, 1))
    rows, columns = vectors.shape[:2]
    # One patch a block, one pixel larger than it: rows and columns of the picture, by block.
    reach = np.arange(block + 1)
    row = np.clip((np.arange(rows) * block)[:, None, None] + y_whole[..., None] + reach, 0, height - 1)
    column = np.clip((np.arange(columns) * block)[None, :, None] + x_whole[..., None] + reach, 0, width - 1)
    words = np.zeros((height * width, 4), np.uint8)  # a pixel is gathered as one word
    words[:, :3] = picture.reshape(-1, 3)
    index = row[..., :, None] * width + column[..., None, :]
    patches = words.view(np.uint32)[:, 0][index].view(np.uint8).reshape(*index.shape, 4)[..., :3].astype(np.uint16)
    right, down = (part.astype(np.uint16)[..., None, None, None] for part in (x_part, y_part))
    mixed = patches[..., :-1, :] * (4 - right) + patches[..., 1:, :] * right
    mixed = mixed[..., :-1, :, :] * (4 - down) + mixed[..., 1:, :, :] * down
    carried = ((mixed + 8) >> 4).astype(np.uint8).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(carried.reshape(rows * block, columns * block, 3)[:height, :width])
