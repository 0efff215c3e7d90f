"""Between codec frames and RGB arrays: colour matrices and ranges, orientation, size."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from dedelayed_ros.errors import InputError

_FLAGS = Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same pixels on every processor
_MATRICES = {1, 4, 5, 6, 7, 9}  # AVColorSpace values that say which matrix was used; others are guessed
_HD_ROWS = 720  # untagged video of so many rows or more uses BT.709, as players assume


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """A decoded frame of any pixel format as uint8 [H, W, 3] RGB, contiguous, by the frame's own matrix and range."""
    matrix = frame.colorspace
    if matrix not in _MATRICES:
        matrix = Colorspace.ITU709 if frame.height >= _HD_ROWS else Colorspace.ITU601
    # swscale knows by itself that RGB, gray and yuvj formats are of full range.
    full = frame.color_range == ColorRange.JPEG
    converted = reformatter.reformat(
        frame,
        format='rgb24',
        src_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BILINEAR,  # asking for accurate rounding as well darkens by 2 grey levels
        threads=1,
    )
    return np.ascontiguousarray(converted.to_ndarray())


def to_yuv(image: np.ndarray, reformatter: VideoReformatter, pixel_format: str) -> av.VideoFrame:
    """uint8 [H, W, 3] RGB as a BT.601 limited-range frame; odd sides grow by repeating the last row or column."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    return reformatter.reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24'),
        format=pixel_format,
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BILINEAR,
        threads=1,
    )


def as_rgb(image: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Check a picture and give it as contiguous uint8 [H, W, 3]; gray [H, W] or [H, W, 1] is repeated.

    Raises InputError if it is not a picture, or not of ``size`` (H, W).
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise InputError(
            f'Expected a picture uint8 [H, W, 3] in RGB or gray [H, W], got {image.dtype} {list(image.shape)}. '
            'Convert it first.'
        )
    if size is not None and image.shape[:2] != tuple(size):
        raise InputError(
            f'A picture of {image.shape[1]}x{image.shape[0]} came where {size[1]}x{size[0]} was agreed. '
            'Resize it, or open a new stream for the new size.'
        )
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image)


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn and mirror a picture as its display matrix says (phones record sideways), in steps of 90°."""
    side_data: Any = frame.side_data.get('DISPLAYMATRIX')
    if side_data is None:
        return image
    # Nine 16.16 numbers: x' = a·x + c·y, y' = b·x + d·y with a, b, c, d at 0, 1, 3, 4.
    matrix = np.frombuffer(bytes(side_data), np.int32)
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale uint8 [H, W, 3] RGB to ``size`` (H, W), the sides independently.

    Averages over the area of each new pixel where it shrinks and interpolates linearly where it grows. The same input
    gives the same pixels on every machine.
    """
    image = as_rgb(image)
    if image.shape[:2] == tuple(size):
        return image
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    scaled = av.VideoFrame.from_ndarray(image, format='rgb24').reformat(
        width=size[1],
        height=size[0],
        interpolation=(Interpolation.AREA if shrinks else Interpolation.BILINEAR) | _FLAGS,
        threads=1,
    )
    return np.ascontiguousarray(scaled.to_ndarray())
