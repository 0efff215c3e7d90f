"""The specification of the mask functions, in torch and NumPy. Arguments are already checked (:mod:`.render`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

UNLABELLED = 255


def axis(length: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where *wanted* samples of an axis of *length* lie: index below, index above, fraction 0..1; [wanted] each.

    Half-pixel centres, as torch's ``interpolate`` with ``align_corners=False`` has them, in single precision too.
    """
    import torch

    scale = torch.tensor(length, dtype=torch.float32) / wanted
    at = (scale * (torch.arange(wanted, dtype=torch.float32) + 0.5) - 0.5).clamp(min=0)
    low = at.long().clamp(max=length - 1)
    return low, (low + 1).clamp(max=length - 1), (at - low).clamp(0, 1)


def upsample(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear up-sampling of [C, h, w] to [C, H, W], first along the columns of pixels, then along the rows.

    Not torch's ``interpolate``, whose rounding depends on the shape: equal planes of logits would not stay equal,
    and a tie would go to either class.
    """
    low, high, fraction = axis(logits.shape[1], size[0])
    rows = logits[:, low] + (logits[:, high] - logits[:, low]) * fraction[:, None]  # [C, H, w]
    low, high, fraction = axis(logits.shape[2], size[1])
    return rows[:, :, low] + (rows[:, :, high] - rows[:, :, low]) * fraction


def render(logits: torch.Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mask and confidence, uint8 [H, W] each, of float32 logits [C, h, w]; see :func:`dedelayed_ros.masks.render`."""
    import torch

    with torch.inference_mode():
        values = upsample(logits, size)
        usable = torch.isfinite(values).all(dim=0)  # [H, W]
        best, winner = values.max(dim=0)  # a tie goes to the lower class
        confidence = 1 / (values - best).exp().sum(dim=0)
        mask = torch.where(usable, winner, UNLABELLED)
        level = torch.where(usable, confidence * 255 + 0.5, 0.0)
        return mask.to(torch.uint8).numpy(), level.to(torch.uint8).numpy()


def colorize(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours uint8 [H, W, 3] of a mask uint8 [H, W] by a palette uint8 [256, 3]."""
    return palette[mask]


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, weight: int) -> np.ndarray:
    """Image uint8 [H, W, 3] mixed with the mask's colours, weight 0..256 of them; unlabelled pixels stay."""
    weights = np.where(mask == UNLABELLED, 0, weight).astype(np.uint32)[..., None]  # [H, W, 1]
    mixed = image * (256 - weights) + palette[mask] * weights + 128
    return (mixed >> 8).astype(np.uint8)
