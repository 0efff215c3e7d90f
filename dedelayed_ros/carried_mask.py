"""The mask of a picture that nobody has time to segment: the mask before it, moved by the codec's motion."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros import native
from dedelayed_ros.frames.vectors import round_div

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField


class CarriedMask:
    """The newest mask of a stream, brought from picture to picture until there is another.

    Each pixel takes the class and the confidence of where it was in the picture before, by whole pixels; its confidence
    is 0 where that is not known: at what came into the frame, and everywhere where a picture has no motion, whose mask
    stays as it is. ``limit_s``: a mask is carried for at most as long (seconds), by the pictures' stamps.
    """

    def __init__(self, limit_s: float = 0.5) -> None:
        self._limit_ns = round(limit_s * 1e9)
        self._newest: tuple[np.ndarray, np.ndarray] | None = None  # mask and confidence
        self._stamp_ns = 0

    def put(self, mask: np.ndarray, confidence: np.ndarray, stamp_ns: int) -> None:
        """A mask that was made of its own picture: both uint8 [h, w]. They are never written to."""
        self._newest, self._stamp_ns = (mask, confidence), stamp_ns

    def move(self, motion: MotionField | None, stamp_ns: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Mask and confidence, uint8 [h, w], of the next picture; None where there is no mask that is young enough.

        ``motion``: from the picture before to this one; None: not known.
        """
        if not 0 <= stamp_ns - self._stamp_ns <= self._limit_ns:
            self._newest = None
        if self._newest is not None:
            mask, confidence = self._newest
            self._newest = (mask, np.zeros_like(confidence)) if motion is None else moved(mask, confidence, motion)
        return self._newest


def moved(mask: np.ndarray, confidence: np.ndarray, motion: MotionField) -> tuple[np.ndarray, np.ndarray]:
    """``MotionField.warp`` of both (uint8 [h, w]), by whole pixels; without a source, the nearest pixel there is with
    confidence 0. ``motion`` may be of another size.
    """
    motion = motion.resized(mask.shape)
    library = native.library()
    return _moved(mask, confidence, motion) if library is None else _moved_natively(library, mask, confidence, motion)


def _moved_natively(
    library: ctypes.CDLL, mask: np.ndarray, confidence: np.ndarray, motion: MotionField
) -> tuple[np.ndarray, np.ndarray]:
    planes = [np.ascontiguousarray(plane, np.uint8) for plane in (mask, confidence)]
    out = np.empty_like(planes[0]), np.empty_like(planes[0])
    given, fields, taken = (
        [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        for arrays in (planes, (motion.qpel, motion.valid), out)
    )
    status = library.dedelayed_carry_mask(*given, *mask.shape, motion.block, *fields, *taken)
    native.check(status, 'dedelayed_carry_mask')
    return out


def _moved(mask: np.ndarray, confidence: np.ndarray, motion: MotionField) -> tuple[np.ndarray, np.ndarray]:
    """The same in NumPy, for motion of the mask's size."""
    h, w = mask.shape
    shift = round_div(motion.qpel.astype(np.int32), 4)
    y, x = (_by_pixel(part, motion.block, (h, w)) for part in (shift[..., 1], shift[..., 0]))
    row, column = np.arange(h, dtype=np.int32)[:, None] - y, np.arange(w, dtype=np.int32)[None, :] - x
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w) & _by_pixel(motion.valid, motion.block, (h, w))
    source = np.clip(row, 0, h - 1) * w + np.clip(column, 0, w - 1)
    return mask.reshape(-1)[source], np.where(inside, confidence.reshape(-1)[source], 0).astype(np.uint8)


def _by_pixel(blocks: np.ndarray, block: int, size: tuple[int, int]) -> np.ndarray:
    """One value a block, as one a pixel of (H, W)."""
    return np.repeat(np.repeat(blocks, block, axis=0), block, axis=1)[: size[0], : size[1]]
