"""The cloud's model: twice the robot's resolution, a memory of four frames, and told how late its answer will be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.blocks import ConvUnit, GlobalMixing, ResidualConv, ScalarEmbedding, upsample
from dedelayed_ros.models.efficientnet import EfficientNetLite0
from dedelayed_ros.models.sizes import FEATURE_CHANNELS

HISTORY = 4
"""How many frames the model sees (K in the paper)."""

PARTS = 2
"""Parts of a cell, on each axis, that a fine model describes one by one."""

_MULTIPLE = 64


@dataclass(frozen=True)
class Depth:
    """How long a fine encoder works: residual blocks at strides 4, 8 and 16, and how often every cell at stride 32 sees
    all others (``mixing``).
    """

    blocks4: int = 0
    blocks8: int = 4
    blocks16: int = 0
    mixing: int = 0


DEPTHS = (Depth(), Depth(blocks8=8, blocks16=2, mixing=2), Depth(blocks4=3, blocks8=16, blocks16=6, mixing=4))
"""The depths that a remote model comes in, by their number."""


class _Pyramid(nn.Module):
    """What both frame encoders begin with: the backbone, its context at stride 16, and detail at stride 4."""

    def __init__(self, context: int, detail: int, depth: Depth) -> None:
        """``context`` and ``detail``: channels of the two."""
        super().__init__()
        self.backbone = EfficientNetLite0()
        c2, c4, _, c16, c32 = self.backbone.channels
        self.lateral32 = ConvUnit(c32, context, 1, activation=None)
        self.lateral16 = ConvUnit(c16, context, 1, activation=None)
        self.mix32 = nn.Sequential(*(GlobalMixing(c32) for _ in range(depth.mixing)))
        self.merge16 = ConvUnit(context, context)
        self.refine16 = nn.Sequential(*(ResidualConv(context) for _ in range(depth.blocks16)))
        self.detail2 = ConvUnit(c2, 16, stride=2)
        self.detail4 = ConvUnit(c4 + 16, detail)
        self.refine4 = nn.Sequential(*(ResidualConv(detail) for _ in range(depth.blocks4)))

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detail at stride 4, the backbone's map at stride 8, and context at stride 16."""
        s2, s4, s8, s16, s32 = self.backbone(image)
        context = self.refine16(self.merge16(self.lateral16(s16) + upsample(self.lateral32(self.mix32(s32)), s16)))
        return self.refine4(self.detail4(torch.cat((s4, self.detail2(s2)), dim=1))), s8, context


class FrameEncoder(_Pyramid):
    """One frame as a map at stride 16 that also holds what strides 4 and 8 saw: [B, 3, H, W] -> [B, C, H/16, W/16].

    Fine detail enters by space-to-depth, so thin things (poles, signs, far pedestrians) survive the coarse grid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 16, Depth())
        self.detail8 = ConvUnit(self.backbone.channels[2], 32, 1)
        self.pack = ConvUnit(channels + 16 * 16 + 32 * 4, channels, 1)
        self.refine = ResidualConv(channels)

    def forward(self, image: Tensor) -> Tensor:
        detail4, s8, context = self.levels(image)
        detail8 = self.detail8(s8)
        packed = torch.cat((context, F.pixel_unshuffle(detail4, 4), F.pixel_unshuffle(detail8, 2)), dim=1)
        return self.refine(self.pack(packed))


class FineFrameEncoder(_Pyramid):
    """One frame as a map at stride 8, laid out as four parts of the cells at stride 16: [B, 3, H, W] -> [B, C, H/16,
    W/16], C/4 channels a part as in ``pixel_unshuffle``.

    What :class:`FrameEncoder` has to squeeze into one description of 16x16 pixels is here refined where it is seen.
    """

    def __init__(self, channels: int, depth: Depth, *, context: int = 128, width: int = 96) -> None:
        super().__init__(context, 32, depth)
        self.lateral8 = ConvUnit(self.backbone.channels[2] + 32 * 4, width, 1, activation=None)
        self.context8 = ConvUnit(context, width, 1, activation=None)
        self.merge8 = ConvUnit(width, width)
        self.refine8 = nn.Sequential(*(ResidualConv(width) for _ in range(depth.blocks8)))
        self.pack8 = ConvUnit(width, channels // PARTS**2, 1)

    def forward(self, image: Tensor) -> Tensor:
        detail4, s8, context = self.levels(image)
        seen = self.lateral8(torch.cat((s8, F.pixel_unshuffle(detail4, 2)), dim=1))
        seen = seen + upsample(self.context8(context), s8)
        return F.pixel_unshuffle(self.pack8(self.refine8(self.merge8(seen))), PARTS)


class TemporalBlock(nn.Module):
    """Mixing in space, then across the frames, around skips: [B, K, C, h, w] -> the same."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.space = ConvUnit(channels, channels)
        self.time = ConvUnit(frames * channels, frames * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, channels, h, w = x.shape
        x = x + self.space(x.reshape(-1, channels, h, w)).view_as(x)
        return x + self.time(x.reshape(batch, -1, h, w)).view_as(x)


class SegmentationHead(nn.Module):
    """Logits at stride 4 of the remote input from a map at stride 16: [B, C, h, w] -> [B, classes, 4h, 4w].

    ``parts``: the map's channels describe parts × parts pieces of a cell, as in ``pixel_shuffle``.
    """

    def __init__(self, channels: int, classes: int, inner: int = 128, parts: int = 1) -> None:
        super().__init__()
        self._parts, self._scale = parts, 4 // parts
        self.conv = ConvUnit(channels // parts**2, inner)
        self.out = nn.Conv2d(inner, classes * self._scale**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.out(self.conv(F.pixel_shuffle(x, self._parts))), self._scale).float()


class RemoteModel(nn.Module):
    """The predictive model in the cloud (DeDelayed's remote model).

    :meth:`encode` is the expensive part and runs once a frame; :meth:`predict` turns the maps of the last four frames
    and the delay into the features that go down to the robot.
    """

    def __init__(
        self,
        classes: int = 19,
        *,
        temporal_channels: int = 64,
        feature_channels: int = FEATURE_CHANNELS,
        arrival: bool = False,
        parts: int = 1,
        fine: bool = False,
        deep: int = 0,
    ) -> None:
        """``arrival``: whether it also knows to describe a moment after the newest frame, its answer's arrival.

        ``parts``: its features describe parts × parts pieces of a cell (1, 2 or 4), each by channels of its own, so
        that they can be carried piece by piece. ``fine``: so do the maps of its encoder, whose details are worked out
        at stride 8; ``parts`` is 2 then. ``deep``: how long a fine model works at each stride, a number of
        :data:`DEPTHS`; from 1 on every cell at stride 32 sees all others.

        Raises:
            InputError: a fine model of other parts, a deep one that is not fine, or a depth that there is not.
        """
        super().__init__()
        if fine and parts != PARTS:
            raise InputError(
                f'a fine remote model describes {PARTS} parts a cell, on each axis; {parts} were asked for'
            )
        if deep and not fine:
            raise InputError(f'a deep remote model is a fine one too; expected fine=True with deep={deep}')
        if not 0 <= deep < len(DEPTHS):
            raise InputError(f'a remote model of depth {deep} was asked for; expected 0 to {len(DEPTHS) - 1}')
        self.parts, self.fine, self.deep, self.feature_channels = parts, fine, deep, feature_channels
        channels = 256 if fine else 128
        self._inner = PARTS if fine else 1  # parts that the last layers before the features see one by one
        self.encoder: FineFrameEncoder | FrameEncoder = (
            FineFrameEncoder(channels, DEPTHS[deep]) if fine else FrameEncoder(channels)
        )
        self.image_head = (
            SegmentationHead(channels, classes, 96, PARTS) if fine else SegmentationHead(channels, classes)
        )
        self.age = ScalarEmbedding(temporal_channels)
        self.delay = ScalarEmbedding(temporal_channels)
        self.ahead = ScalarEmbedding(temporal_channels) if arrival else None
        if self.ahead is not None:
            # Untrained, it changes nothing: a model that learns it begins from one that does not know it.
            nn.init.zeros_(self.ahead.out.weight)
            nn.init.zeros_(self.ahead.out.bias)
        self.reduce = ConvUnit(channels, temporal_channels, 1)
        self.temporal = nn.ModuleList(TemporalBlock(temporal_channels, HISTORY) for _ in range(2))
        self.newest = ConvUnit(channels, channels, 1, activation=None)
        self.join = ConvUnit(HISTORY * temporal_channels, channels, 1, activation=None)
        inner = channels // self._inner**2
        self.mix = nn.Sequential(ResidualConv(inner), ResidualConv(inner))
        self.bottleneck = nn.Conv2d(inner, feature_channels // self._inner**2, 1)
        self.feature_head = SegmentationHead(feature_channels, classes, 128 // parts, parts)

    def encode(self, image: Tensor) -> Tensor:
        """One frame's map: float [B, 3, H, W] RGB in 0–1, sides multiples of 64 -> [B, C, H/16, W/16], model's dtype.

        Raises:
            InputError: a size that the network cannot take.
        """
        h, w = image.shape[-2:]
        if h % _MULTIPLE or w % _MULTIPLE:
            raise InputError(f'the remote input is {w}x{h}; both sides must be multiples of {_MULTIPLE}')
        return self.encoder(image.to(self.bottleneck.weight.dtype))

    def predict(self, history: Tensor, ages_ms: Tensor, delay_ms: Tensor, ahead_ms: Tensor | None = None) -> Tensor:
        """Features for the robot.

        Args:
            history: [B, K, C, h, w], maps of :meth:`encode`, oldest first; the last is the newest frame. A stream that
                has seen fewer than K frames repeats its oldest.
            ages_ms: float [B, K], milliseconds of each before the newest (which is 0); any spacing.
            delay_ms: float [B], from the newest frame's capture to the moment the features will be used.
            ahead_ms: float [B], from the newest frame's capture to the moment in whose coordinates the features are.
                0 or None: those of the newest frame, and the robot carries them to its present by the codec's motion.
                Equal to ``delay_ms``: the model predicts where everything will be (as DeDelayed does), and nothing is
                left to carry but the error of the delay.

        Returns:
            [B, F, h, w] in the model's dtype.

        Raises:
            InputError: another number of frames than K, or ``ahead_ms`` for a model that was not made for it.
        """
        if history.shape[1] != HISTORY or ages_ms.shape != history.shape[:2]:
            raise InputError(
                f'history is {list(history.shape)} with ages {list(ages_ms.shape)}; expected [B, {HISTORY}, C, h, w] '
                f'and [B, {HISTORY}]'
            )
        batch, frames, _, h, w = history.shape
        history = history.to(self.bottleneck.weight.dtype)
        times = self.age(ages_ms) + self.delay(delay_ms)[:, None]
        if self.ahead is not None:
            times = times + self.ahead(torch.zeros_like(delay_ms) if ahead_ms is None else ahead_ms)[:, None]
        elif ahead_ms is not None and bool(ahead_ms.any()):
            raise InputError(
                'this remote model describes the newest frame only; use ahead_ms=None, or weights that know'
            )
        x = self.reduce(history.reshape(batch * frames, -1, h, w)).view(batch, frames, -1, h, w)
        x = x + times[..., None, None]
        for block in self.temporal:
            x = block(x)
        x = self.newest(history[:, -1]) + self.join(x.reshape(batch, -1, h, w))
        return F.pixel_unshuffle(self.bottleneck(self.mix(F.pixel_shuffle(x, self._inner))), self._inner)

    def logits(self, features: Tensor) -> Tensor:
        """Segmentation by the cloud alone: features [B, F, h, w] -> float32 [B, classes, 4h, 4w]."""
        return self.feature_head(features.to(self.bottleneck.weight.dtype))

    def image_logits(self, encoded: Tensor) -> Tensor:
        """Segmentation of one encoded frame: [B, C, h, w] -> float32 [B, classes, 4h, 4w]."""
        return self.image_head(encoded.to(self.bottleneck.weight.dtype))

    def predict_still(self, encoded: Tensor) -> Tensor:
        """Features of a frame that nothing came before, to be used at once: [B, C, h, w] -> [B, F, h, w]."""
        times = torch.zeros(encoded.shape[0], HISTORY, device=encoded.device)
        return self.predict(encoded[:, None].expand(-1, HISTORY, -1, -1, -1), times, times[:, 0])
