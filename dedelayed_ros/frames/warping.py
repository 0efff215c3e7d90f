"""Gathering a map's cells along motion vectors, in torch."""

from __future__ import annotations

import numpy as np
import torch

from dedelayed_ros.frames.vectors import round_div


def warp_cells(
    tensor: torch.Tensor, vectors: np.ndarray, agreed: np.ndarray, *, unit: int, mode: str, fill: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take each cell of ``tensor`` [..., h, w] from where it was; see MotionField.warp.

    vectors: int32 [h, w, 2], x then y, in 1/unit of a cell; agreed: bool [h, w], where they can be used.
    """
    height, width = agreed.shape
    if tuple(tensor.shape[-2:]) != (height, width):
        raise ValueError(
            f'expected a tensor [..., {height}, {width}] for this size and stride, got {tuple(tensor.shape)}'
        )
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    if mode == 'nearest':
        row = rows - round_div(vectors[..., 1], unit)
        column = columns - round_div(vectors[..., 0], unit)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        warped = _gather(tensor, row, column)
    elif mode == 'bilinear':
        if not tensor.is_floating_point():
            raise ValueError(f"mode='bilinear' needs a floating-point tensor, got {tensor.dtype}; use mode='nearest'")
        # Positions in integers of 1/unit of a cell: weights of whole-cell motion are then exactly 0 and 1.
        y, x = rows * unit - vectors[..., 1], columns * unit - vectors[..., 0]
        half = unit // 2
        inside = (y >= -half) & (y < height * unit - half) & (x >= -half) & (x < width * unit - half)
        (row, y_part), (column, x_part) = np.divmod(y, unit), np.divmod(x, unit)
        down, right = (
            torch.from_numpy(part.astype(np.float32) / unit).to(tensor.device, tensor.dtype)
            for part in (y_part, x_part)
        )
        top = torch.lerp(_gather(tensor, row, column), _gather(tensor, row, column + 1), right)
        bottom = torch.lerp(_gather(tensor, row + 1, column), _gather(tensor, row + 1, column + 1), right)
        warped = torch.lerp(top, bottom, down)
    else:
        raise ValueError(f"mode must be 'nearest' or 'bilinear', got {mode!r}")
    valid = torch.from_numpy(agreed & inside).to(tensor.device)
    return torch.where(valid, warped, torch.full((), fill, dtype=tensor.dtype, device=tensor.device)), valid


def _gather(tensor: torch.Tensor, row: np.ndarray, column: np.ndarray) -> torch.Tensor:
    """``tensor[..., row, column]``, repeating the border outside."""
    height, width = tensor.shape[-2:]
    index = np.clip(row, 0, height - 1).astype(np.int64) * width + np.clip(column, 0, width - 1)
    flat = torch.from_numpy(index.reshape(-1)).to(tensor.device)
    return tensor.flatten(-2).index_select(-1, flat).unflatten(-1, (height, width))
