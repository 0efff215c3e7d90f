"""At which sizes a camera's frames are segmented."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dedelayed_ros.errors import InputError

FEATURE_CHANNELS = 32
"""Channels of the remote features, unless a pair has been trained for another number."""

FEATURE_STRIDE = 8
"""Pixels of the local input that a cell of the features covers, on each axis."""

MOST_PIXELS = 458_752
"""Of the remote input: 896x512."""

_MULTIPLE = 64  # stride 32 of the remote encoder, and an even local size at its own stride 32
_SMALLEST = 128


@dataclass(frozen=True)
class ModelSizes:
    """``local`` and ``remote`` inputs as (H, W) pixels, and the (h, w) cells of the features' ``grid``."""

    local: tuple[int, int]
    remote: tuple[int, int]
    grid: tuple[int, int]


def model_sizes(camera_size: tuple[int, int], pixels: int = MOST_PIXELS) -> ModelSizes:
    """Sizes of both models' inputs for a camera of (H, W) pixels; frames are stretched to them.

    The camera's frame is scaled, never up, to at most ``pixels``; each side of the remote input is the nearest multiple
    of 64 (at least 128), and the local input is half of it.

    Raises:
        InputError: a side without pixels.
    """
    height, width = camera_size
    if height < 1 or width < 1:
        raise InputError(f'a camera of {width}x{height} pixels has no picture; both sides must be at least 1')
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    remote_h, remote_w = (
        max(_SMALLEST, math.floor(side * scale / _MULTIPLE + 0.5) * _MULTIPLE) for side in (height, width)
    )
    local = (remote_h // 2, remote_w // 2)
    return ModelSizes(local, (remote_h, remote_w), (local[0] // FEATURE_STRIDE, local[1] // FEATURE_STRIDE))
