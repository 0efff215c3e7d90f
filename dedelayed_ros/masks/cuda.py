"""The mask kernels on a CUDA device (kernels/cuda/masks.cu): class, confidence, colours and overlay in one launch.

The class is that of the reference; the confidence may differ from it by one level.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dedelayed_ros.sparse.backends.cuda.device import Device, Memory

_THREADS = 256  # kThreads of kernels/cuda/device.h
_NOTHING = np.uint64(0)


class CudaRenderer:
    """``masks.render`` on a device: of logits and masks of any size, with memory for those that it had last."""

    def __init__(self, device: Device, palette: np.ndarray) -> None:
        """``palette`` is uint8 [256, 3]."""
        self._device, self._palette = device, palette
        self._sizes: tuple[tuple[int, ...], tuple[int, int]] | None = None
        self._masks: CudaMasks | None = None

    def __call__(self, logits: Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Mask and confidence, uint8 [H, W] each, of float logits [C, h, w]. Raises InputError for another shape."""
        if self._masks is None or self._sizes != (tuple(logits.shape), size):
            self._masks = CudaMasks(self._device, tuple(logits.shape), size, self._palette)
            self._sizes = tuple(logits.shape), size
        return self._masks.render(logits.detach().float().cpu().numpy())


class CudaMasks:
    """Makes masks of one size from logits of one shape, in memory that it keeps. One stream's; not thread-safe."""

    def __init__(self, device: Device, logits: tuple[int, ...], size: tuple[int, int], palette: np.ndarray) -> None:
        """``logits`` is their shape [C, h, w], 1 ≤ C ≤ 255; ``size`` (H, W) of the mask; ``palette`` uint8 [256, 3].

        Raises InputError for another shape or palette.
        """
        if len(logits) != 3 or not 1 <= logits[0] <= 255 or min(*logits, *size) < 1:
            raise InputError(
                f'logits {logits} for a mask {size}: expected [classes, height, width] with 1 to 255 classes'
            )
        if palette.shape != (256, 3) or palette.dtype != np.uint8:
            raise InputError(f'palette is {palette.dtype} {list(palette.shape)}, it has to be uint8 [256, 3]')
        self._device, self._logits, self._size = device, logits, size
        pixels = size[0] * size[1]
        self._memory: dict[str, Memory] = {
            'logits': device.allocate(4 * math.prod(logits)),
            'palette': device.allocate(palette.nbytes),
            **{name: device.allocate(pixels) for name in ('mask', 'confidence')},
            **{name: device.allocate(3 * pixels) for name in ('image', 'overlay')},
        }
        device.upload(int(self._memory['palette']), np.ascontiguousarray(palette))

    def render(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mask and confidence, uint8 [H, W] each, of float32 logits [C, h, w]. Raises InputError for another shape."""
        self._launch(logits, None, 0)
        return self._fetched('mask', ()), self._fetched('confidence', ())

    def overlay(self, logits: np.ndarray, image: np.ndarray, weight: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mask, confidence, and the image uint8 [H, W, 3] with ``weight`` / 256 of the mask's colours."""
        if image.shape != (*self._size, 3) or image.dtype != np.uint8 or not 0 <= weight <= 256:
            raise InputError(
                f'image is {image.dtype} {list(image.shape)} and weight {weight}, they have to be uint8 '
                f'{[*self._size, 3]} and 0 to 256'
            )
        self._launch(logits, image, weight)
        return self._fetched('mask', ()), self._fetched('confidence', ()), self._fetched('overlay', (3,))

    def _launch(self, logits: np.ndarray, image: np.ndarray | None, weight: int) -> None:
        if tuple(logits.shape) != tuple(self._logits):
            raise InputError(f'logits are {list(logits.shape)}, this was made for {list(self._logits)}')
        place = {name: np.uint64(int(memory)) for name, memory in self._memory.items()}
        self._device.upload(int(place['logits']), np.ascontiguousarray(logits, np.float32))
        if image is not None:
            self._device.upload(int(place['image']), np.ascontiguousarray(image))
        classes, h, w = self._logits
        numbers = map(np.int32, (classes, h * w, w, 1, h, w, *self._size))
        pixels = self._size[0] * self._size[1]
        drawn = (place['image'], place['overlay']) if image is not None else (_NOTHING, _NOTHING)
        self._device.launch(
            'render',
            (max(1, min(-(-pixels // _THREADS), 8 * self._device.multiprocessors)), 1),
            *(place['logits'], *numbers, place['mask'], place['confidence'], place['palette'], _NOTHING, *drawn),
            np.uint32(weight),
        )

    def _fetched(self, name: str, channels: tuple[int, ...]) -> np.ndarray:
        array = np.empty((*self._size, *channels), np.uint8)
        self._device.download(array, int(self._memory[name]))
        return array
