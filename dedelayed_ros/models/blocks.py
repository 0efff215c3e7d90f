"""The pieces that the networks are built of: plain convolutions that a CPU runs well and that fold for inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Activation = Callable[[Tensor], Tensor]
Model = TypeVar('Model', bound=nn.Module)


class ConvUnit(nn.Module):
    """Convolution, batch-norm, activation: [B, C, h, w] -> [B, out, ceil(h/stride), ceil(w/stride)].

    ``activation`` is any elementwise function, or None. :meth:`fold` merges the batch-norm into the convolution.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: Activation | None = F.relu,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.BatchNorm2d | None = nn.BatchNorm2d(out, eps=eps)
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self._activation is None else self._activation(x)

    def fold(self) -> None:
        """Merge the batch-norm's running statistics into the convolution (computed in its own dtype; done once)."""
        norm = self.norm
        if norm is None:
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            self.conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        # Contiguous rows, so that a folded model saves the same bytes whatever memory format it was trained in.
        self.conv.weight = nn.Parameter(weight.detach().contiguous())
        self.conv.bias = nn.Parameter(bias.detach())
        self.norm = None


class ResidualConv(nn.Module):
    """x + unit(x): one 3x3 convolution around a skip; [B, C, h, w] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unit = ConvUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.unit(x)


class GlobalMixing(nn.Module):
    """Every cell sees all others: attention and a two-layer perceptron around skips; [B, C, h, w] -> the same.

    Where a cell is, it knows by a depthwise convolution that reaches the border, so any size will do. Untrained, the
    block changes nothing.
    """

    def __init__(self, channels: int, *, heads: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self._heads = heads
        self.place = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.queries = nn.Linear(channels, 3 * channels)
        self.gather = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.rise = nn.Linear(channels, expansion * channels)
        self.fall = nn.Linear(expansion * channels, channels)
        for last in (self.place, self.gather, self.fall):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, h, w = x.shape
        tokens = (x + self.place(x)).flatten(2).transpose(1, 2)  # [B, h·w, C]
        shape = (batch, h * w, 3, self._heads, channels // self._heads)
        q, k, v = self.queries(self.norm(tokens)).view(shape).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, h * w, channels)
        tokens = tokens + self.gather(seen)
        tokens = tokens + self.fall(F.gelu(self.rise(self.norm2(tokens))))
        return tokens.transpose(1, 2).reshape(batch, channels, h, w).contiguous(memory_format=torch.channels_last)


class ScalarEmbedding(nn.Module):
    """A time in milliseconds as a vector: any shape [...] -> [..., channels].

    The time is clamped to 0–10 s and seen on a linear and a logarithmic scale, so that 10 ms and 500 ms are both told
    apart from their neighbours.
    """

    _LONGEST_MS = 10_000.0

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.rise = nn.Linear(2, hidden)
        self.out = nn.Linear(hidden, channels)

    def forward(self, time_ms: Tensor) -> Tensor:
        time_ms = time_ms.float().nan_to_num(nan=self._LONGEST_MS).clamp(0.0, self._LONGEST_MS)
        scales = torch.stack((time_ms / 1000.0, torch.log1p(time_ms / 50.0) / 3.0), dim=-1)
        return self.out(F.relu(self.rise(scales.to(self.rise.weight.dtype))))


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear up-sampling of [B, C, h, w] to the height and width of ``like`` (half-pixel centres)."""
    return F.interpolate(x, size=like.shape[-2:], mode='bilinear', align_corners=False)


def fold_batchnorm(model: Model) -> Model:
    """Fold every :class:`ConvUnit` of ``model`` in place, and return it."""
    for module in model.modules():
        if isinstance(module, ConvUnit):
            module.fold()
    return model


def channels_last(model: Model) -> Model:
    """``model`` with its weights in the memory format that a CPU's convolutions are fastest in."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
