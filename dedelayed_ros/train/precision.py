"""The number format that stages compute in."""

from __future__ import annotations

import torch

from dedelayed_ros.models.dtypes import resolve_dtype


def autocast() -> torch.autocast:
    """bfloat16 where the processor multiplies it natively; elsewhere, emulated, it takes ten times as long as
    float32, which is what is computed in then.
    """
    return torch.autocast('cpu', torch.bfloat16, enabled=resolve_dtype('auto') is torch.bfloat16)
