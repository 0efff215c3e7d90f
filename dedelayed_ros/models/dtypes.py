"""Which number format a model computes in, and where."""

from __future__ import annotations

import torch

from dedelayed_ros.errors import InputError

_CPU = torch.device('cpu')
_FORMATS = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def resolve_device(name: str) -> torch.device:
    """The device called ``name``, 'cpu' or 'cuda'; 'auto' is a GPU where torch finds one.

    Raises:
        InputError: another name, or a GPU that is not there.
    """
    if name not in ('auto', 'cpu', 'cuda'):
        raise InputError(f"device is {name!r}; expected 'auto', 'cpu' or 'cuda'")
    found = torch.cuda.is_available()
    if name == 'cuda' and not found:
        built = 'without CUDA' if torch.version.cuda is None else f'for CUDA {torch.version.cuda}'
        raise InputError(
            f"device is 'cuda', and torch {torch.__version__}, built {built}, finds no GPU. Install a build of torch "
            "for your driver, or use 'cpu'"
        )
    return torch.device('cuda' if found and name != 'cpu' else 'cpu')


def resolve_dtype(name: str, device: torch.device = _CPU) -> torch.dtype:
    """The format called ``name``; 'auto' is bfloat16 where ``device`` multiplies it natively, float32 elsewhere.

    Raises:
        InputError: another name.
    """
    if name == 'auto':
        if device.type == 'cuda':
            native = torch.cuda.is_bf16_supported()
        else:
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if native else torch.float32
    if name not in _FORMATS:
        raise InputError(f"dtype is {name!r}; expected 'auto', 'float32' or 'bfloat16'")
    return _FORMATS[name]


def resolve_engine_dtype(name: str, device: str) -> torch.dtype:
    """The same for the sparse engine on ``device``: 'cpu', 'cuda', 'reference', or 'auto' for a GPU where there is one.

    Its CUDA kernels have no bfloat16: where they are to run, 'auto' is float32. Raises as :func:`resolve_dtype`.
    """
    on_gpu = device == 'cuda' or (device == 'auto' and torch.cuda.is_available())
    return resolve_dtype('float32' if on_gpu and name == 'auto' else name)
