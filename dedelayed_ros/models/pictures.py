"""Pictures at the size that a model takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros.errors import InputError


def scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale uint8 [H, W, 3] to ``size`` (h, w), the sides independently, as the models were trained to see pictures.

    Each new pixel is a mean over a triangle of twice its width where the picture shrinks, and lies between its
    neighbours where it grows (torch's antialiased bilinear interpolation, in whole numbers). Of ``size`` already: the
    picture itself.
    """
    if image.shape[:2] == tuple(size):
        return image
    with _one_thread():
        small = F.interpolate(as_levels(image), size=tuple(size), mode='bilinear', antialias=True)
        return small[0].permute(1, 2, 0).contiguous().numpy()


def as_levels(picture: np.ndarray) -> Tensor:
    """uint8 [1, 3, h, w] of uint8 [h, w, 3], the same memory where it may be written to: what the sparse engine takes.

    Raises:
        InputError: it is something else.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f'the picture is {picture.dtype} {list(picture.shape)}; expected uint8 [height, width, 3]')
    # torch takes no array that must not be written to, which ROS images are.
    return torch.from_numpy(np.require(picture, requirements=['C', 'W'])).permute(2, 0, 1)[None]


@contextmanager
def _one_thread() -> Iterator[None]:
    """For this thread's calls of torch: to wake its helpers takes longer than a picture, and they spin afterwards."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
