"""Which number format a model computes in."""

from __future__ import annotations

import torch

from dedelayed_ros.errors import InputError

_FORMATS = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def resolve_dtype(name: str) -> torch.dtype:
    """The format called ``name``; 'auto' is bfloat16 where the processor multiplies it natively, float32 elsewhere.

    Raises:
        InputError: another name.
    """
    if name == 'auto':
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if native else torch.float32
    if name not in _FORMATS:
        raise InputError(f"dtype is {name!r}; expected 'auto', 'float32' or 'bfloat16'")
    return _FORMATS[name]
