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
    # torch takes no array that must not be written to, which ROS images are.
    pixels = np.require(image, requirements=['C', 'W'])
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with _one_thread():
        small = F.interpolate(picture, size=tuple(size), mode='bilinear', antialias=True)
        return small[0].permute(1, 2, 0).contiguous().numpy()


class InputPicture:
    """The picture as a network takes it, in memory that stays: to ask for new memory takes longer than to fill it."""

    def __init__(self, size: tuple[int, int]) -> None:
        """``size``: (h, w) of the pictures."""
        self._values = torch.empty(*size, 3)

    def __call__(self, picture: np.ndarray) -> Tensor:
        """float32 [1, 3, h, w] in 0–1, channels-last in memory, of uint8 [h, w, 3]; until the next call."""
        levels = torch.from_numpy(np.require(picture, requirements=['C', 'W']))
        if levels.shape != self._values.shape or levels.dtype != torch.uint8:
            raise InputError(
                f'the picture is {picture.dtype} {list(picture.shape)}; expected uint8 {list(self._values.shape)}'
            )
        with _one_thread():
            self._values.copy_(levels).div_(255)
        return self._values.permute(2, 0, 1)[None]


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
