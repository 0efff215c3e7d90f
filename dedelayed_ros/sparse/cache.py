"""What one stream remembers between frames, and how it follows the motion (section IV-D2, Eqs. 13 and 14)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dedelayed_ros.sparse.motion import Displacement


@dataclass
class State:
    """Memory of one stream; a plan and its weights have none.

    values:     output of every node for the last frame, in that frame's coordinates; empty before the first one.
    remainders: by node, int64 [2, h, w], how far cached values are behind where they belong (quarter pixels).
    sets:       recompute set of every node in the last frame, bool [h, w].
    debts:      'tiles': float32 [units], what motion has left unexplained since each was computed (backends/tiled.py).
    doubts:     'tiles': float32 [units], by how much of it what differs counts there (backends/doubt.py).
    picture:    'tiles': the last frame as levels, uint8 [1, C, H, W], where it was given so.
    """

    values: list[Tensor] = field(default_factory=list)
    remainders: dict[int, Tensor] = field(default_factory=dict)
    sets: list[Tensor] = field(default_factory=list)
    debts: Tensor | None = None
    doubts: Tensor | None = None
    picture: Tensor | None = None

    @property
    def ready(self) -> bool:
        return bool(self.values)

    @property
    def bytes(self) -> int:
        """Bytes of all that is remembered."""
        units = [held for held in (self.debts, self.doubts, self.picture) if held is not None]
        tensors = [*self.values, *self.remainders.values(), *self.sets, *units]
        return sum(t.element_size() * t.nelement() for t in tensors)


def remapped(value: Tensor, moved: Displacement) -> Tensor:
    """The cached value of each position, read backwards so that no two positions write to one place (Eq. 13).

    A position without a source gets NaN: it has to be recomputed, and if it is not, everybody sees it.
    """
    if moved.still or value.ndim != 4 or value.shape[-2:] != moved.valid.shape:
        return value
    channels, (rows, cols) = value.shape[1], value.shape[-2:]
    gathered = value.reshape(channels, rows * cols)[:, moved.sources.reshape(-1)].reshape(value.shape)
    if value.is_floating_point():
        return torch.where(moved.valid, gathered, torch.nan)
    return gathered


def agrees(fresh: Tensor, cached: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:  # bool [h, w]
    """Positions of a grid where all channels of the cached value are within ``threshold`` of the fresh one.

    NaN never agrees. On a grid of one cell, the whole tensor counts.
    """
    same = fresh == cached if threshold == 0 else (fresh - cached).abs() <= threshold
    return same.all().reshape(1, 1) if size == (1, 1) else same[0].all(0)


def merged(recompute: Tensor, fresh: Tensor, cached: Tensor) -> Tensor:
    """Fresh values in the recompute set, cached ones elsewhere (Eq. 14): the layer's output and its new cache."""
    return torch.where(recompute, fresh, cached)
