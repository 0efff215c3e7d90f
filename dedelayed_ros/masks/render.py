"""The public mask functions: they check what they get and hand it to a backend."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np

from dedelayed_ros import native
from dedelayed_ros.errors import InputError
from dedelayed_ros.masks import cpu, reference
from dedelayed_ros.masks.reference import UNLABELLED

if TYPE_CHECKING:
    import torch

Backend = Literal['auto', 'reference', 'cpu']


def backend_name() -> str:
    """Which backend 'auto' is, and why: 'cpu (avx512)', or 'reference' with the reason."""
    if native.library() is None:
        return f'reference ({native.why_missing()})'
    return f'cpu ({native.instruction_set()})'


def _is_native(backend: Backend) -> bool:
    if backend not in ('auto', 'reference', 'cpu'):
        raise InputError(f"unknown mask backend {backend!r}: choose 'auto', 'reference' or 'cpu'")
    if backend == 'cpu' and native.library() is None:
        raise InputError(f"mask backend 'cpu' cannot be used: {native.why_missing()}")
    return backend != 'reference' and native.library() is not None


def _painter(backend: Backend) -> ModuleType:
    return cpu if _is_native(backend) else reference


def _bytes(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """*array* as contiguous uint8 of *shape* (None: any length)."""
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != np.uint8 or not fits:
        wanted = ', '.join('any' if length is None else str(length) for length in shape)
        raise InputError(f'{name} is {array.dtype} {list(array.shape)}, it has to be uint8 [{wanted}]')
    return np.ascontiguousarray(array)


def render(
    logits: torch.Tensor | np.ndarray, size: tuple[int, int], backend: Backend = 'auto', *, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Class and confidence of every pixel of a picture of *size* (H, W), from logits [C, h, w] of any other size.

    The logits are up-sampled bilinearly (half-pixel centres, as torch's ``interpolate`` with ``align_corners=False``);
    the class is that of the largest, the lowest of equal ones; the confidence is 255 · softmax of it, rounded. A pixel
    for which any class is not a finite number is UNLABELLED with confidence 0.

    :param logits: float [C, h, w], 1 ≤ C ≤ 255; a torch tensor of any device or an array.
    :param threads: that the 'cpu' backend may use; the reference uses torch's own.
    :return: mask uint8 [H, W] and confidence uint8 [H, W].
    :raises InputError: for logits of another shape, an empty size or an unknown backend.
    """
    import torch

    tensor = torch.as_tensor(logits).detach()
    if tensor.ndim != 3 or not 1 <= tensor.shape[0] <= 255 or 0 in tensor.shape or not tensor.is_floating_point():
        raise InputError(
            f'logits are {tensor.dtype} {list(tensor.shape)}, they have to be floating-point [classes, height, width] '
            'with 1 to 255 classes'
        )
    if len(size) != 2 or min(size) < 1:
        raise InputError(f'mask size {tuple(size)} is not a (height, width) of at least one pixel')
    if _is_native(backend):
        tensor = tensor.cpu() if tensor.dtype in (torch.float32, torch.bfloat16) else tensor.to('cpu', torch.float32)
        return cpu.render(tensor, size, threads=max(1, threads))
    return reference.render(tensor.to('cpu', torch.float32).contiguous(), size)


def colorize(mask: np.ndarray, palette: np.ndarray, backend: Backend = 'auto') -> np.ndarray:
    """Colours uint8 [H, W, 3] of a mask uint8 [H, W] by a palette uint8 [256, 3].

    :raises InputError: for arrays of another type or shape.
    """
    return _painter(backend).colorize(_bytes('mask', mask, (None, None)), _bytes('palette', palette, (256, 3)))


def overlay(
    image: np.ndarray, mask: np.ndarray, palette: np.ndarray, alpha: float = 0.5, backend: Backend = 'auto'
) -> np.ndarray:
    """The image with a share *alpha* (0..1, in steps of 1/256) of the mask's colours. Unlabelled pixels stay.

    :param image: uint8 [H, W, 3].
    :param mask: uint8 [H, W], class of each pixel.
    :param palette: uint8 [256, 3], colour of each class.
    :return: uint8 [H, W, 3].
    :raises InputError: for arrays of another type or shape, or an alpha outside 0..1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f'alpha is {alpha}, it has to be in 0..1')
    pixels = _bytes('mask', mask, (None, None))
    picture = _bytes('image', image, (*pixels.shape, 3))
    return _painter(backend).overlay(picture, pixels, _bytes('palette', palette, (256, 3)), round(alpha * 256))


__all__ = ['UNLABELLED', 'backend_name', 'colorize', 'overlay', 'render']
