"""Networks to test with: random ones, and small ones built like those that people use.

All have small integer weights, and values that stay small integers (or few binary digits), so that float32 is exact and
reuse must equal a dense pass bit for bit.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import nn

BOUND = 8


def examples(lean: int) -> settings:
    """So many random examples; DEDELAYED_EXAMPLES multiplies them. Failures are not shrunk: tracing takes too long."""
    return settings(
        max_examples=lean * int(os.environ.get('DEDELAYED_EXAMPLES', '1')),
        deadline=None,
        derandomize='DEDELAYED_EXAMPLES' not in os.environ,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def integers(module: nn.Module, seed: int = 0, low: int = -2, high: int = 3, step: int = 1) -> nn.Module:
    """Give a module integer weights (multiples of ``step``), and batch norms that are powers of two; eval mode."""
    g = torch.Generator().manual_seed(seed)
    for m in module.modules():
        for _, p in m.named_parameters(recurse=False):
            p.data = torch.randint(low, high, p.shape, generator=g).float() * step
            p.requires_grad_(False)
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 0.0
            m.running_mean.copy_(torch.randint(-2, 3, m.running_mean.shape, generator=g) * step)
            m.running_var.copy_(4.0 ** -torch.randint(0, 2, m.running_var.shape, generator=g).float())
    return module.eval()


class RandomNet(nn.Module):
    """Interprets a list of steps. Each takes one of the feature maps so far and adds one."""

    def __init__(self, steps, seed: int) -> None:
        super().__init__()
        self.steps = steps
        self.seed = seed
        self.layers = nn.ModuleDict()
        self.channels = [2]

    def build(self, x):
        """Make the layers by running once on an example."""
        self.forward(x, build=True)
        return integers(self, self.seed, -1, 2)

    def layer(self, i, build, make):
        if build:
            self.layers[f'l{i}'] = make()
        return self.layers[f'l{i}']

    def forward(self, x, build=False):
        maps = [x]
        for i, (kind, source, p, q, r) in enumerate(self.steps):
            x = maps[-1 - source % len(maps)]
            y = self.step(i, kind, x, maps, p, q, r, build)
            if y is not None and min(y.shape[-2:]) >= 1 and max(y.shape[-2:]) <= 80 and y.shape[1] <= 16:
                maps.append(y)
        return maps[-1], maps[len(maps) // 2]

    def step(self, i, kind, x, maps, p, q, r, build):
        c, (h, w) = x.shape[1], x.shape[-2:]
        if kind == 'conv':
            k, s, d = (1, 3, 5, 7)[p % 4], 1 + q % 3, 1 + r % 2
            groups = c if q % 5 == 4 else 1
            pad = (0, k // 2 * d, 1, k)[(p + q + r) % 4]
            if min(h, w) + 2 * pad < d * (k - 1) + 1:
                return None
            conv = self.layer(i, build, lambda: nn.Conv2d(c, c if groups > 1 else 3, k, s, pad, d, groups))
            return conv(x).clamp(-BOUND, BOUND)
        if kind == 'oblong':
            conv = self.layer(i, build, lambda: nn.Conv2d(c, 2, (3, 1), (1, 2), (1, 0)))
            return conv(x).clamp(0, BOUND)
        if kind == 'same':
            pad = (p % 3, q % 3, r % 3, (p + r) % 3)
            conv = self.layer(i, build, lambda: nn.Conv2d(c, 3, 3, 1 + p % 2))
            return None if min(h, w) < 3 else conv(F.pad(x, pad)).clamp(-BOUND, BOUND)
        if kind == 'deconv':
            k, s = 2 + p % 3, 1 + q % 3
            pad = min(r % 2, k - 1)
            conv = self.layer(
                i, build, lambda: nn.ConvTranspose2d(c, 2, k, s, pad, output_padding=(s - 1) * (r % 3 == 2))
            )
            return conv(x).clamp(-BOUND, BOUND)
        if kind == 'maxpool':
            k = 2 + p % 2
            if min(h, w) < k:
                return None
            return F.max_pool2d(x, k, 1 + q % 3, r % 2, ceil_mode=bool(p // 2 % 2))
        if kind == 'avgpool':
            k = 2 + p % 2
            if min(h, w) < k:
                return None
            y = F.avg_pool2d(x, k, 1 + q % 3, r % 2, ceil_mode=bool(p // 2 % 2), count_include_pad=bool(q % 2))
            return y.round()
        if kind == 'adaptive':
            pool = F.adaptive_avg_pool2d if r % 2 else F.adaptive_max_pool2d
            return pool(x, (1 + p % 6, 1 + q % 6)).round()
        if kind == 'nearest':
            return F.interpolate(x, scale_factor=2) if p % 2 else F.interpolate(x, size=maps[0].shape[-2:])
        if kind == 'bilinear':
            size = None if p % 2 else (h + q % 7, w + r % 9)
            corners = bool(r % 2)
            y = F.interpolate(x, size, 2 if size is None else None, 'bilinear', align_corners=corners)
            return y.round()
        if kind == 'pad':
            mode = ('constant', 'reflect', 'replicate', 'circular')[p % 4]
            if min(h, w) < 4:
                return None
            return F.pad(x, (q % 3, r % 3, (q + r) % 3, p % 3), mode, 1.0 if mode == 'constant' else None)
        if kind == 'crop':
            return x[:, :, p % 2 :: 1 + q % 2, r % 3 :] if min(h, w) > 4 else None
        if kind == 'shuffle':
            return F.pixel_shuffle(torch.cat([x, x, x, x], 1), 2) if p % 2 else self.unshuffled(x)
        if kind == 'scale':
            return (x * 2 - 1).clamp(-BOUND, BOUND)
        if kind == 'position':
            table = torch.arange(h * w).reshape(1, 1, h, w) % 3
            return x + (table if p % 2 else table[:, :, :1])
        if kind == 'gate':
            return (x * (x.mean((2, 3), keepdim=True) + 1).round().clamp(0, 2)).clamp(-BOUND, BOUND)
        if kind == 'strips':
            return x + x.amax(2 + p % 2, keepdim=True)
        if kind == 'split':
            a, b = x.chunk(2, 1) if c % 2 == 0 else (x, x.flip(1))
            return torch.cat([b, a, x[:, :1]], 1)
        if kind == 'tokens':
            t = x.permute(0, 2, 3, 1).reshape(1, h * w, c)
            linear = self.layer(i, build, lambda: nn.Linear(c, 4))
            return linear(t).transpose(1, 2).view(1, 4, h, w).clamp(-BOUND, BOUND)
        other = next((m for m in maps if m is not x and m.shape[-2:] == x.shape[-2:]), None)
        if other is None:
            return None
        if kind == 'add' and other.shape[1] == c:
            return (x + other).clamp(-BOUND, BOUND)
        if kind == 'mul' and other.shape[1] == c:
            return (x * other).clamp(-BOUND, BOUND)
        return torch.cat([x, other], 1)

    @staticmethod
    def unshuffled(x):
        return F.pixel_unshuffle(x, 2) if x.shape[-1] % 2 == 0 and x.shape[-2] % 2 == 0 else None


KINDS = (
    'conv conv conv conv oblong same deconv maxpool avgpool adaptive nearest bilinear pad crop shuffle scale position '
    'gate strips split tokens add mul cat'
).split()


def random_nets():
    """Strategy: steps for a RandomNet."""
    number = st.integers(0, 11)
    step = st.tuples(st.sampled_from(KINDS), st.integers(0, 3), number, number, number)
    return st.lists(step, min_size=2, max_size=9)


def conv_bn(i, o, k=3, s=1, d=1, g=1, act=nn.ReLU):
    pad = (k - 1) // 2 * d
    return nn.Sequential(nn.Conv2d(i, o, k, s, pad, d, g, bias=False), nn.BatchNorm2d(o), act())


class Block(nn.Module):
    """A residual block."""

    def __init__(self, i, o, s=1, d=1):
        super().__init__()
        self.a = conv_bn(i, o, 3, s, d, act=nn.ReLU6)
        self.b = nn.Sequential(nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))
        self.down = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o)) if s > 1 or i != o else None
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x):
        return self.act(self.b(self.a(x)) + (x if self.down is None else self.down(x)))


class ResNetFPN(nn.Module):
    """A ResNet with a feature pyramid: max-pool with padding, strided 1×1, nearest up-sampling to ragged sizes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 4, 7, 2, act=nn.ReLU6), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList([Block(4, 4), Block(4, 6, 2), Block(6, 8, 2)])
        self.lateral = nn.ModuleList([nn.Conv2d(c, 4, 1) for c in (4, 6, 8)])
        self.smooth = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])

    def forward(self, x):
        x = self.stem(x - torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        top, out = None, []
        for level, lateral, smooth in reversed(list(zip(levels, self.lateral, self.smooth, strict=True))):
            y = lateral(level)
            if top is not None:
                y = y + F.interpolate(top, size=y.shape[-2:], mode='nearest')
            top = y.clamp(-16, 16)
            out.append(smooth(top))
        return {'fine': out[-1], 'levels': out}


class Sums(nn.Module):
    """Sums that are folded into what computes their later part, of every kind that may; for even sizes."""

    folded = 6

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 1)
        self.block = nn.Conv2d(32, 32, 3, padding=1)
        self.apart = nn.ConvTranspose2d(32, 32, 2, stride=2)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)

    def forward(self, x):
        x = self.first(x).clamp(-8, 8)
        x = (x + self.block(x).relu()).clamp(-8, 8)
        x = (self.apart(x[..., ::2, ::2]) + x).clamp(-8, 8)
        x = F.relu6(x + self.depthwise(x))
        x = x + F.max_pool2d(x, 3, 1, 1)
        x = x + F.interpolate(x[..., ::2, 1::2], scale_factor=2, mode='bilinear') * 16
        return torch.cat([x[:, 7:], x[:, :7]], 1) + x


class SqueezeExcite(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.pool, self.act, self.gate = nn.AdaptiveAvgPool2d(1), nn.ReLU(inplace=True), nn.Hardsigmoid()
        self.reduce, self.expand = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)

    def forward(self, x):
        return x * self.gate(self.expand(self.act(self.reduce(self.pool(x).round() * 3))))


class Inverted(nn.Module):
    """MobileNet-V3's block: expand, depthwise, squeeze-excite, project."""

    def __init__(self, i, hidden, o, k, s, se):
        super().__init__()
        self.expand = conv_bn(i, hidden, 1, act=nn.Hardswish)
        self.depth = conv_bn(hidden, hidden, k, s, g=hidden, act=nn.Hardswish)
        self.se = SqueezeExcite(hidden) if se else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(hidden, o, 1, bias=False), nn.BatchNorm2d(o))
        self.skip = s == 1 and i == o

    def forward(self, x):
        y = self.project(self.se(self.depth(self.expand(x))))
        return (x + y if self.skip else y).clamp(-12, 12).round()


class MobileNetV3(nn.Module):
    """MobileNet-V3 with the LR-ASPP head: hardswish, squeeze-excite, bilinear up-sampling, a gate from global pooling.

    With weights that are multiples of 6, hard swish and hard sigmoid meet multiples of 3 only, where they are exact.
    """

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 4, 3, 2, act=nn.Hardswish)
        self.low = Inverted(4, 6, 4, 3, 2, False)
        self.high = nn.Sequential(Inverted(4, 8, 6, 5, 2, True), Inverted(6, 8, 6, 5, 1, True))
        self.cbr = conv_bn(6, 4, 1)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1, bias=False), nn.Sigmoid())
        self.low_head, self.high_head = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x):
        size = x.shape[-2:]
        low = self.low(self.stem(x))
        high = self.high(low)
        y = self.cbr(high).clamp(0, 12) * self.scale(high).round()
        y = F.interpolate(y, size=low.shape[-2:], mode='bilinear', align_corners=False)
        y = self.low_head(low) + self.high_head(y)
        return {'out': F.interpolate(y, size=size, mode='bilinear', align_corners=False)}


class DeepLab(nn.Module):
    """Atrous spatial pyramid pooling: dilated branches, and one of global pooling that is up-sampled from one cell."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 4, 3, 2, act=nn.ReLU6), Block(4, 6, 2), Block(6, 6, 1, 2))
        self.branches = nn.ModuleList([conv_bn(6, 3, 1)] + [conv_bn(6, 3, 3, 1, d) for d in (2, 3)])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(6, 3, 1))
        self.project, self.classify = conv_bn(12, 4, 1, act=nn.ReLU6), nn.Conv2d(4, 5, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = self.stem(x)
        parts = [branch(x).clamp(0, 8) for branch in self.branches]
        pooled = self.pool(x).round().clamp(0, 8)
        # From one cell torch weighs the same value twice, and the weights need not add up to 1 exactly.
        parts.append(F.interpolate(pooled, size=x.shape[-2:], mode='bilinear', align_corners=False).round())
        x = self.classify(self.project(torch.cat(parts, 1)))
        return F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class Attention(nn.Module):
    """A vision transformer's block over a convolutional stem, with tokens, heads and a feature map again."""

    def __init__(self, c=4):
        super().__init__()
        self.stem = nn.Conv2d(3, c, 4, 4)
        self.norm = nn.LayerNorm(c)
        self.qkv, self.out, self.mlp = nn.Linear(c, 3 * c), nn.Linear(c, c), nn.Linear(c, c)
        self.head = nn.Conv2d(c, 2, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.shape
        t = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(t)).reshape(b, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        t = t + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c))
        t = t + self.mlp(t).relu()
        return self.head(t.transpose(1, 2).reshape(b, c, h, w)).softmax(1)


class Fused(nn.Module):
    """An image and remote features at stride 8, weighted by the age that they have."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(3, 4, 3, 2, act=nn.ReLU6), conv_bn(4, 4, 3, 2), conv_bn(4, 4, 3, 2, act=nn.ReLU6)
        )
        self.expand = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.gate = nn.Linear(1, 4)
        self.head = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, image, features=None, age=None):
        x = self.stem(image)
        if features is not None:
            gate = 1.0 if age is None else self.gate(age.reshape(-1, 1)).clamp(0, 2)[:, :, None, None]
            x = x + gate * self.expand(features)
        return self.head(x.clamp(-8, 8))


class FineFused(nn.Module):
    """Remote features at stride 8 that enter there and, in quarters of a cell, at stride 4; logits at stride 2."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 4, 3, 2, act=nn.ReLU6), conv_bn(4, 4, 3, 2, act=nn.ReLU6))
        self.down = conv_bn(4, 4, 3, 2, act=nn.ReLU6)
        self.expand = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.expand_fine = nn.ConvTranspose2d(2, 4, 2, stride=2, bias=False)
        self.gate, self.gate_fine = nn.Linear(1, 4), nn.Linear(1, 4)
        self.lateral = nn.Conv2d(4, 4, 1)
        self.merge = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.ConvTranspose2d(4, 3, 2, stride=2)

    def forward(self, image, features, age):
        x = self.stem(image)
        gate, fine = (g(age.reshape(-1, 1)).clamp(0, 2)[:, :, None, None] for g in (self.gate, self.gate_fine))
        y = (self.down(x) + gate * self.expand(features)).clamp(-8, 8)
        x = self.lateral(x) + F.interpolate(y, size=x.shape[-2:], mode='nearest')
        return self.head(self.merge((x + fine * self.expand_fine(features)).clamp(-8, 8)).clamp(-8, 8))
