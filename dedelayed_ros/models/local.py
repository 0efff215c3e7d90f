"""The robot's own model: a light convolutional network into which remote features are added when there are any."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.blocks import ConvUnit, ResidualConv, ScalarEmbedding, upsample
from dedelayed_ros.models.sizes import FEATURE_CHANNELS, FEATURE_STRIDE

_MULTIPLE = 32


class FeatureFusion(nn.Module):
    """x + gate(age) · expand(features), the place where the cloud enters.

    ``expand`` has no bias and the gate multiplies, so features of zero add exactly zero: they are the same as none, bit
    for bit, whatever the age.
    """

    def __init__(self, channels: int, feature_channels: int, *, fine: bool = False) -> None:
        """``fine``: x has twice the features' resolution, and gets something of its own in each quarter of a cell."""
        super().__init__()
        self.expand = (
            nn.ConvTranspose2d(feature_channels, channels, 2, stride=2, bias=False)
            if fine
            else nn.Conv2d(feature_channels, channels, 3, padding=1, bias=False)
        )
        # Untrained, any features count as none: fusion begins from the local model, not from noise added to it.
        nn.init.zeros_(self.expand.weight)
        self.gate = ScalarEmbedding(channels)

    def forward(self, x: Tensor, features: Tensor, age_ms: Tensor) -> Tensor:
        """x [B, C, h, w] (``fine``: [B, C, 2h, 2w]), features [B, F, h, w], age_ms [B] -> as x."""
        gate = 2.0 * torch.sigmoid(self.gate(age_ms))
        return x + gate[:, :, None, None] * self.expand(features.to(self.expand.weight.dtype))


class LocalModel(nn.Module):
    """Segmentation of the current frame on the robot, better with remote features (DeDelayed's f_local).

    Plain 3x3 convolutions at strides 2 to 32, and a top-down path to stride 4 whose skips keep thin things. Nothing in
    it is global, so sparse execution can reuse every layer.
    """

    def __init__(
        self, classes: int = 19, *, width: int = 32, feature_channels: int = FEATURE_CHANNELS, fine: bool = False
    ) -> None:
        """``width``: channels at stride 4; the other stages scale with it. ``fine``: logits at stride 2 instead of 4,
        and remote features that enter at stride 4 as well as at 8, so that neither loses thin things.
        """
        super().__init__()
        self.fine, self.feature_channels = fine, feature_channels
        half, c4, c8, c16, c32 = width // 2, width, 2 * width, 3 * width, 5 * width
        self.stem = nn.Sequential(ConvUnit(3, half, stride=2), ConvUnit(half, c4, stride=2), ResidualConv(c4))
        self.t1 = nn.Sequential(ConvUnit(c4, c8, stride=2), ResidualConv(c8))
        self.fusion = FeatureFusion(c8, feature_channels)
        self.t2 = nn.Sequential(ResidualConv(c8), ResidualConv(c8))
        self.t3 = nn.Sequential(ConvUnit(c8, c16, stride=2), ResidualConv(c16), ResidualConv(c16))
        self.t4 = nn.Sequential(ConvUnit(c16, c32, stride=2), ResidualConv(c32))
        self.lateral32 = ConvUnit(c32, c8, 1, activation=None)
        self.lateral16 = ConvUnit(c16, c8, 1, activation=None)
        self.merge16 = ConvUnit(c8, c8)
        self.merge8 = ConvUnit(c8, c8)
        self.lateral8 = ConvUnit(c8, c4, 1, activation=None)
        self.lateral4 = ConvUnit(c4, c4, 1, activation=None)
        self.merge4 = ConvUnit(c4, c4)
        self.fusion4 = FeatureFusion(c4, feature_channels, fine=True) if fine else None
        self.head = nn.ConvTranspose2d(c4, classes, 2, stride=2) if fine else nn.Conv2d(c4, classes, 1)

    def forward(self, image: Tensor, features: Tensor | None = None, age_ms: Tensor | None = None) -> Tensor:
        """Logits of the current frame.

        Args:
            image: float [B, 3, h, w] RGB in 0–1; sides are multiples of 32 (:func:`~dedelayed_ros.models.model_sizes`).
            features: float [B, F, h/8, w/8] from the remote model, already carried to this frame; None or zeros: none.
            age_ms: float [B], from the frame that the features describe to this one; None: they are of this very frame.

        Returns:
            float32 [B, classes, h/4, w/4]; of a fine model [B, classes, h/2, w/2].

        Raises:
            InputError: sizes that do not fit the network or each other.
        """
        h, w = image.shape[-2:]
        if h % _MULTIPLE or w % _MULTIPLE:
            raise InputError(f'the local input is {w}x{h}; both sides must be multiples of {_MULTIPLE}')
        s4 = self.stem(image.to(self.head.weight.dtype) * 2.0 - 1.0)
        s8 = self.t1(s4)
        if features is not None:
            if features.shape[-2:] != s8.shape[-2:]:
                raise InputError(
                    f'remote features have a grid of {list(features.shape[-2:])} cells; this input needs '
                    f'{[h // FEATURE_STRIDE, w // FEATURE_STRIDE]}'
                )
            if age_ms is None:
                age_ms = features.new_zeros(features.shape[0])
            s8 = self.fusion(s8, features, age_ms)
        s8 = self.t2(s8)
        s16 = self.t3(s8)
        s32 = self.lateral32(self.t4(s16))
        s16 = self.merge16(self.lateral16(s16) + upsample(s32, s16))
        s8 = self.merge8(s8 + upsample(s16, s8))
        s4 = self.lateral4(s4) + upsample(self.lateral8(s8), s4)
        if features is not None and self.fusion4 is not None:
            assert age_ms is not None
            s4 = self.fusion4(s4, features, age_ms)
        return self.head(self.merge4(s4)).float()

    def expanded(self, features: Tensor) -> list[Tensor]:
        """What features [B, F, h, w] would add at each place where they enter, before the gates."""
        fusions = (self.fusion,) if self.fusion4 is None else (self.fusion, self.fusion4)
        return [fusion.expand(features) for fusion in fusions]
