"""The feature codec: remote features as a few small integers a cell, and back (DR-AE).

The networks are here; how the integers become bytes is :mod:`dedelayed_ros.link.latents`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dedelayed_ros.models.sizes import FEATURE_CHANNELS

LATENT_LIMIT = 31
"""Largest magnitude of a latent."""


class FeatureCodec(nn.Module):
    """Features [B, F, h, w] ⇄ latents [B, L, h, w], whole numbers from −31 to 31.

    Both directions look at a cell and its eight neighbours. The bottleneck decides by training what is worth its bits
    to the robot; a unit of a latent is its quantisation step.
    """

    def __init__(self, *, feature_channels: int = FEATURE_CHANNELS, latents: int = 12, inner: int = 64) -> None:
        super().__init__()
        self.latents, self.feature_channels = latents, feature_channels
        self.analysis = nn.Sequential(
            nn.Conv2d(feature_channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, latents, 1)
        )
        self.synthesis = nn.Sequential(
            nn.Conv2d(latents, inner, 1), nn.ReLU(), nn.Conv2d(inner, feature_channels, 3, padding=1)
        )

    def analyse(self, features: Tensor) -> Tensor:
        """Features [B, F, h, w] -> latents before rounding, float [B, L, h, w]."""
        return self.analysis(features)

    def encode(self, features: Tensor) -> Tensor:
        """Features [B, F, h, w] -> whole latents, float [B, L, h, w]."""
        return self.analyse(features).round().clamp(-LATENT_LIMIT, LATENT_LIMIT)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, L, h, w] -> features [B, F, h, w]."""
        return self.synthesis(latents)

    def forward(self, features: Tensor) -> Tensor:
        """Features as they arrive: [B, F, h, w] -> the same."""
        return self.decode(self.encode(features))


class LatentRate(nn.Module):
    """Bits that latents take, as a smooth function of them; only training needs it.

    Cells are coded in the three passes of :mod:`dedelayed_ros.link.latents`, each from the mean of the neighbours that
    earlier passes gave; what is left is taken to follow a logistic distribution of a width of its own for each channel
    and pass. No latent takes less than one bit, as in any Huffman code.
    """

    def __init__(self, latents: int = 12) -> None:
        super().__init__()
        self.log_width = nn.Parameter(torch.zeros(3, latents))
        diagonal = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 0, 1]])
        cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
        self.register_buffer('_kernels', torch.stack((diagonal, cross))[:, None, None], persistent=False)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents with noise of one step in place of rounding, [B, L, h, w] -> mean bits a cell, scalar."""
        batch, _, h, w = latents.shape
        flat = latents.reshape(-1, 1, h, w)
        ones = torch.ones(1, 1, h, w)
        diagonal, cross = (
            (F.conv2d(flat, k, padding=1) / F.conv2d(ones, k, padding=1).clamp(min=1.0)).view_as(latents)
            for k in self._kernels  # type: ignore[union-attr]
        )
        row, column = torch.arange(h)[:, None] % 2, torch.arange(w)[None, :] % 2
        number = torch.where(row == column, row, 2)  # which pass: 0 (even, even), 1 (odd, odd), 2 the rest
        expected = torch.where(number == 2, cross, diagonal) * (number > 0)
        width = self.log_width.exp()[number].permute(2, 0, 1)  # [L, h, w]
        off = (latents - expected).abs()
        # The logistic's mass of one step around `off`, written for the tail where it does not cancel.
        mass = torch.sigmoid((0.5 - off) / width) - torch.sigmoid((-0.5 - off) / width)
        return -mass.clamp(min=1e-9, max=0.5).log2().sum() / (batch * h * w)
