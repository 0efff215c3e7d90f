"""The mask kernels of the shared library (kernels/cpu/masks), through ctypes; :mod:`.render` checks the arguments.

All instruction sets give the same bits. The classes are those of the reference; the confidence may differ from it by
one level, since the exponential is a polynomial here.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros import native

if TYPE_CHECKING:
    import torch


def _library() -> ctypes.CDLL:
    library = native.library()
    if library is None:
        raise RuntimeError(native.why_missing())
    return library


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def render(
    logits: torch.Tensor, size: tuple[int, int], *, threads: int = 1, instruction_set: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mask and confidence, uint8 [H, W] each, of CPU logits [C, h, w], float32 or bfloat16 of any strides.

    *instruction_set* is one of native.INSTRUCTION_SETS, None the best of this processor.
    """
    height, width = size
    mask = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.uint8)
    chosen = -1 if instruction_set is None else native.INSTRUCTION_SETS.index(instruction_set)
    strides = (ctypes.c_int64(stride) for stride in logits.stride())
    status = _library().dedelayed_render_mask(
        ctypes.c_void_p(logits.data_ptr()), logits.element_size() == 2, *strides, *logits.shape, height, width,
        _pointer(mask), _pointer(confidence), chosen, threads,
    )  # fmt: skip
    native.check(status, 'dedelayed_render_mask')
    return mask, confidence


def colorize(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours uint8 [H, W, 3] of a contiguous mask uint8 [H, W] by a contiguous palette uint8 [256, 3]."""
    colours = np.empty((*mask.shape, 3), np.uint8)
    status = _library().dedelayed_colorize(
        _pointer(mask), ctypes.c_int64(mask.size), _pointer(palette), _pointer(colours)
    )
    native.check(status, 'dedelayed_colorize')
    return colours


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, weight: int) -> np.ndarray:
    """Contiguous image uint8 [H, W, 3] mixed with the mask's colours, weight 0..256 of them; unlabelled pixels stay."""
    mixed = np.empty_like(image)
    status = _library().dedelayed_overlay(
        _pointer(image), _pointer(mask), ctypes.c_int64(mask.size), _pointer(palette), weight, _pointer(mixed)
    )
    native.check(status, 'dedelayed_overlay')
    return mixed
