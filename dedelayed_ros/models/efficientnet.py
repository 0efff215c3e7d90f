"""EfficientNet-Lite0 without its classifier (Tan and Le, 2019; Lite: no squeeze-excite, and ReLU6)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dedelayed_ros.errors import WeightsError
from dedelayed_ros.models.blocks import ConvUnit

_EPS = 1e-3
_STAGES = (  # expansion, channels, kernel, stride, blocks
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
)


class MobileBlock(nn.Module):
    """Inverted bottleneck: expand 1x1, depthwise, project 1x1, with a skip where the shape stays."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = ConvUnit(channels, inner, 1, activation=F.relu6, eps=_EPS) if expansion > 1 else None
        self.depthwise = ConvUnit(inner, inner, kernel, stride, groups=inner, activation=F.relu6, eps=_EPS)
        self.project = ConvUnit(inner, out, 1, activation=None, eps=_EPS)
        self._skip = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self._skip else y


class EfficientNetLite0(nn.Module):
    """Feature maps of an image at strides 2, 4, 8, 16 and 32."""

    channels = (16, 24, 40, 112, 192)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvUnit(3, 32, stride=2, activation=F.relu6, eps=_EPS)
        blocks: list[MobileBlock] = []
        channels = 32
        for expansion, out, kernel, stride, count in _STAGES:
            for index in range(count):
                blocks.append(MobileBlock(channels, out, kernel, stride if index == 0 else 1, expansion))
                channels = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Float [B, 3, H, W] in 0–1 -> five maps [B, C, H/s, W/s] for s = 2, 4, 8, 16, 32."""
        # The range that the ImageNet weights were trained on.
        x = self.stem(image * (255.0 / 128.0) - (127.0 / 128.0))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                maps.append(x)
        return maps


_TAPS = (0, 2, 4, 10, 14)  # the last block at each stride


def from_classifier(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published classifier's state dict in the names of :class:`EfficientNetLite0`; its last stage is left out.

    Raises:
        WeightsError: it is not a state dict of EfficientNet-Lite0.
    """
    renamed = {'_conv_stem.': 'stem.conv.', '_bn0.': 'stem.norm.'}
    blocks = _TAPS[-1] + 1
    for index in range(blocks):
        parts = [('_depthwise_conv', '_bn1', 'depthwise'), ('_project_conv', '_bn2', 'project')]
        if index > 0:
            parts.append(('_expand_conv', '_bn0', 'expand'))
        for conv, norm, unit in parts:
            renamed[f'_blocks.{index}.{conv}.'] = f'blocks.{index}.{unit}.conv.'
            renamed[f'_blocks.{index}.{norm}.'] = f'blocks.{index}.{unit}.norm.'
    state = {}
    for key, value in published.items():
        prefix, _, name = key.rpartition('.')
        if f'{prefix}.' in renamed:
            state[renamed[f'{prefix}.'] + name] = value
    expected = EfficientNetLite0().state_dict()
    wrong = [key for key in expected if key not in state or state[key].shape != expected[key].shape]
    if wrong:
        raise WeightsError(
            f'the state dict is not that of EfficientNet-Lite0: {len(wrong)} of {len(expected)} tensors are missing or '
            f'have another shape (first: {wrong[0]})'
        )
    return state
