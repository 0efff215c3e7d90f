"""Operations that look at a window of the picture: convolution, pooling, resampling, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dedelayed_ros.sparse.layout import CELLS, COLS, ROWS, Layout
from dedelayed_ros.sparse.lowering.builder import Builder, Draft, Value, make_grid
from dedelayed_ros.sparse.lowering.views import Args, Lowered
from dedelayed_ros.sparse.ops import (
    AdaptivePool,
    AvgPool,
    Conv,
    MaxPool,
    Pad,
    Reduce,
    Resize,
    Shuffle,
    Sides,
    TransposedConv,
)

aten = torch.ops.aten


def pair(item: int | Sequence[int]) -> tuple[int, int]:
    """A number for rows and one for columns."""
    if isinstance(item, int):
        return item, item
    return (int(item[0]), int(item[0])) if len(item) == 1 else (int(item[0]), int(item[1]))


def conv2d(b: Builder, a: Args) -> Lowered:
    """Convolution; padding may be a number, a pair, 'same' or 'valid'."""
    value, weight = a['input'], a['weight']
    if isinstance(weight, Value) or weight.ndim != 4:
        return None
    stride, dilation = pair(a.get('stride', 1)), pair(a.get('dilation', 1))
    padding: Sides
    if a.get('padding') == 'same':
        total = [dilation[i] * (weight.shape[2 + i] - 1) for i in (0, 1)]
        padding = ((total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2))
    else:
        rows, cols = (0, 0) if a.get('padding') == 'valid' else pair(a.get('padding', 0))
        padding = ((rows, rows), (cols, cols))
    value, padding = _take_padding(b, value, padding)
    return b.conv(value, Conv(weight, a.get('bias'), stride, padding, dilation, a.get('groups', 1)))


def _take_padding(b: Builder, value: Value, padding: Sides) -> tuple[Value, Sides]:
    """Padding with zeros just before a convolution becomes a part of it (the padding of TensorFlow's 'same')."""
    draft = b.node(value)
    op = draft.op
    if not (value.sole and isinstance(op, Pad) and op.mode == 'constant' and op.value == 0 and not draft.epilogue):
        return value, padding
    if min(*op.padding[0], *op.padding[1]) < 0 or b.as_image(value) is None:
        return value, padding
    before = b.from_image(draft.inputs[0], sole=False)
    (top, bottom), (left, right) = op.padding
    return before, ((padding[0][0] + top, padding[0][1] + bottom), (padding[1][0] + left, padding[1][1] + right))


def conv_transpose2d(b: Builder, a: Args) -> Lowered:
    """Transposed convolution."""
    weight, node = a['weight'], b.as_image(a['input'])
    if isinstance(weight, Value) or weight.ndim != 4 or node is None:
        return None
    op = TransposedConv(
        weight,
        a.get('bias'),
        pair(a.get('stride', 1)),
        pair(a.get('padding', 0)),
        pair(a.get('output_padding', 0)),
        pair(a.get('dilation', 1)),
        a.get('groups', 1),
    )
    size = b.shapes[0][2:]
    grid = b.scaled(Value(node, None, ()), (size[0], size[1]), (Fraction(1, op.stride[0]), Fraction(1, op.stride[1])))
    return b.from_image(b.add(op, [node], grid, b.shapes[0][1]))


def convolution(b: Builder, a: Args) -> Lowered:
    """The form in which both kinds of convolution may be traced."""
    return conv_transpose2d(b, a) if a.get('transposed') else conv2d(b, a)


def linear(b: Builder, a: Args) -> Lowered:
    """A matrix over the last dimension. Over all channels it is a 1×1 convolution, whatever the layout."""
    value, weight, bias = a['input'], a['weight'], a.get('bias')
    if isinstance(weight, Value) or isinstance(bias, Value) or value.layout is None:
        return None
    return _matrix(b, value, weight, bias, torch.ops.aten.linear.default, [value, weight, bias])


def matmul(b: Builder, a: Args) -> Lowered:
    """A product with a constant matrix."""
    value, weight = a['self'], a['other'] if 'other' in a else a['mat2']
    if isinstance(weight, Value) or not isinstance(value, Value) or value.layout is None or weight.ndim != 2:
        return None
    return _matrix(b, value, weight.T.contiguous(), None, aten.matmul.default, [value, weight])


def addmm(b: Builder, a: Args) -> Lowered:
    """The same with a bias."""
    bias, value, weight = a['self'], a['mat1'], a['mat2']
    if isinstance(weight, Value) or isinstance(bias, Value) or not isinstance(value, Value) or value.layout is None:
        return None
    if a.get('beta', 1) != 1 or a.get('alpha', 1) != 1 or bias.ndim != 1:
        return None
    return _matrix(b, value, weight.T.contiguous(), bias, aten.linear.default, [value, weight.T.contiguous(), bias])


def _matrix(
    b: Builder, value: Value, weight: Tensor, bias: Tensor | None, target: Callable[..., Any], args: list[Any]
) -> Value | None:
    layout = value.layout
    assert layout is not None
    last = layout.dims[-1]
    outputs, inputs = weight.shape
    if inputs == 1 or not isinstance(last, int):
        return None
    shape = (*value.shape[:-1], outputs)
    factors = tuple(outputs if f == last else n for f, n in enumerate(layout.factors))
    result = Layout(layout.dims, factors)
    if layout.channels == inputs:
        op = Conv(weight[:, :, None, None], bias, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        node = b.add(op, [value.node], b.grid_of(value), outputs)
        return Value(node, result.normalised(b.grid_of(value).size), shape)
    cost = float(weight.numel() * layout.channels // inputs)
    return b.pointwise(target, args, {}, result, cost=cost)


def batch_norm(b: Builder, a: Args) -> Lowered:
    """y = x · scale + shift by channel; folded into the convolution before it where that has no other reader."""
    value = a['input']
    if value.layout is None or value.layout.dims[1:2] != (0,):
        return None
    mean, var = a['running_mean'].double(), a['running_var'].double()
    scale = 1 / torch.sqrt(var + a['eps'])
    if a.get('weight') is not None:
        scale = scale * a['weight'].double()
    shift = -mean * scale
    if a.get('bias') is not None:
        shift = shift + a['bias'].double()
    dtype = a['running_mean'].dtype
    draft = b.node(value)
    if value.sole and isinstance(draft.op, (Conv, TransposedConv)) and not draft.epilogue:
        _fold(draft, scale, shift)
        b.absorb(value)
    else:
        shape = (-1,) + (1,) * (len(value.shape) - 2)
        scaled = b.broadcast(aten.mul.Tensor, [value, scale.to(dtype).reshape(shape)], {})
        assert scaled is not None
        moved = b.broadcast(aten.add.Tensor, [scaled, shift.to(dtype).reshape(shape)], {})
        assert moved is not None
        value = moved
    return [value, None, None]


def _fold(draft: Draft, scale: Tensor, shift: Tensor) -> None:
    op = draft.op
    assert isinstance(op, (Conv, TransposedConv))
    weight = op.weight.double()
    if isinstance(op, Conv):
        weight = weight * scale[:, None, None, None]
    else:
        grouped = weight.reshape(op.groups, -1, *weight.shape[1:])
        weight = (grouped * scale.reshape(op.groups, 1, -1, 1, 1)).reshape(weight.shape)
    bias = shift if op.bias is None else shift + op.bias.double() * scale
    draft.op = replace(op, weight=weight.to(op.weight.dtype), bias=bias.to(op.weight.dtype))


def max_pool2d(b: Builder, a: Args) -> Lowered:
    """Maximum over windows."""
    node = b.as_image(a['self'])
    if node is None:
        return None
    kernel = pair(a['kernel_size'])
    stride = pair(a.get('stride') or kernel)
    op = MaxPool(kernel, stride, pair(a.get('padding', 0)), pair(a.get('dilation', 1)), bool(a.get('ceil_mode')))
    return _pooled(b, node, op, stride)


def avg_pool2d(b: Builder, a: Args) -> Lowered:
    """Mean over windows."""
    node = b.as_image(a['self'])
    if node is None:
        return None
    kernel = pair(a['kernel_size'])
    stride = pair(a.get('stride') or kernel)
    count, divisor = bool(a.get('count_include_pad', True)), a.get('divisor_override')
    op = AvgPool(kernel, stride, pair(a.get('padding', 0)), bool(a.get('ceil_mode')), count, divisor)
    return _pooled(b, node, op, stride)


def _pooled(b: Builder, node: int, op: MaxPool | AvgPool, stride: tuple[int, int]) -> Lowered:
    size = b.shapes[0][-2:]
    grid = b.scaled(Value(node, None, ()), (size[0], size[1]), stride)
    value = b.from_image(b.add(op, [node], grid, b.drafts[node].channels))
    # The indices of a maximum are not kept; a model that reads them meets an error where it does.
    return [value, None] if len(b.shapes) > 1 else value


def adaptive(kind: str) -> Callable[[Builder, Args], Lowered]:
    """Pooling to a given size."""

    def rule(b: Builder, a: Args) -> Lowered:
        node = b.as_image(a['self'])
        if node is None:
            return None
        size = b.shapes[0][-2], b.shapes[0][-1]
        draft = b.drafts[node]
        if draft.grid.size == size:
            value = b.from_image(node, sole=False)
        else:
            factor = tuple(Fraction(draft.grid.size[i], size[i]) for i in (0, 1))
            grid = b.scaled(Value(node, None, ()), size, (factor[0], factor[1]))
            value = b.from_image(b.add(AdaptivePool(size, kind), [node], grid, draft.channels))
        return [value, None] if len(b.shapes) > 1 else value

    return rule


def reduction(b: Builder, a: Args) -> Lowered:
    """mean, sum, amax, amin over channels, over rows, over columns or over the whole picture."""
    value, layout = a['self'], a['self'].layout
    if layout is None or a.get('dtype') is not None:
        return None
    n = len(value.shape)
    given = a.get('dim')
    dims = [d % n for d in ([given] if isinstance(given, int) else given or range(n))]
    labels = {layout.dims[d] for d in dims}
    spatial = {label for label in labels if label in (ROWS, COLS, CELLS)}
    channels = {label for label in labels if isinstance(label, int)}
    target, keep = a['target'], bool(a.get('keepdim'))
    if spatial and channels:
        return None
    if not spatial:
        kept = _without(layout, dims)
        done = b.pointwise(target, [value, dims, True], {}, kept)
    else:
        rows, cols = bool(spatial & {ROWS, CELLS}), bool(spatial & {COLS, CELLS})
        size = b.grid_of(value).size
        goal = (1 if rows else size[0], 1 if cols else size[1])
        grid = make_grid(goal, b.grid_of(value).stride)
        node = b.add(Reduce(target, rows, cols), [value.node], grid, b.node(value).channels)
        done = Value(node, layout.normalised(goal), tuple(1 if i in dims else s for i, s in enumerate(value.shape)))
    if keep:
        return done
    assert done.layout is not None
    left = tuple(d for i, d in enumerate(done.layout.dims) if i not in dims)
    return replace(done, layout=Layout(left, done.layout.factors), shape=tuple(b.shapes[0]))


def _without(layout: Layout, dims: list[int]) -> Layout:
    """The layout after reducing channel dimensions to size 1."""
    gone = {layout.dims[d] for d in dims}
    factors = tuple(1 if f in gone else n for f, n in enumerate(layout.factors))
    return Layout(tuple('1' if d in gone else d for d in layout.dims), factors)


def upsample(b: Builder, a: Args) -> Lowered:
    """Nearest, bilinear or bicubic resampling to any size."""
    node = b.as_image(a['input'] if 'input' in a else a['self'])
    if node is None:
        return None
    size = b.shapes[0][-2], b.shapes[0][-1]
    scales = a.get('scale_factors')
    if scales is None and ('scales_h' in a or 'scales_w' in a):
        return None
    flags = (bool(a['align_corners']),) if 'align_corners' in a else ()
    op = Resize(a['target'], size, flags, None if scales is None else (float(scales[0]), float(scales[1])))
    return b.from_image(b.add(op, [node], b.resized(Value(node, None, ()), size), b.drafts[node].channels))


def pad(b: Builder, a: Args) -> Lowered:
    """F.pad of rows and columns."""
    node, amounts = b.as_image(a['self']), list(a['pad'])
    if node is None or any(amounts[4:]):
        return None
    left, right, top, bottom = (amounts + [0, 0, 0, 0])[:4]
    mode = a.get('mode', 'constant')
    op = Pad(((top, bottom), (left, right)), mode, float(a.get('value') or 0))
    size = b.shapes[0][-2], b.shapes[0][-1]
    return b.from_image(b.add(op, [node], b.scaled(Value(node, None, ()), size, (1, 1)), b.drafts[node].channels))


def pixel_shuffle(b: Builder, a: Args) -> Lowered:
    """Channels to positions."""
    return _shuffled(b, a, int(a['upscale_factor']), True)


def pixel_unshuffle(b: Builder, a: Args) -> Lowered:
    """Positions to channels."""
    return _shuffled(b, a, int(a['downscale_factor']), False)


def _shuffled(b: Builder, a: Args, factor: int, up: bool) -> Lowered:
    node = b.as_image(a['self'])
    if node is None:
        return None
    size = b.shapes[0][-2], b.shapes[0][-1]
    scale = Fraction(1, factor) if up else Fraction(factor)
    grid = b.scaled(Value(node, None, ()), size, (scale, scale))
    return b.from_image(b.add(Shuffle(factor, up), [node], grid, b.shapes[0][1]))


RULES: dict[str, Callable[[Builder, Args], Lowered]] = {
    'conv2d': conv2d,
    'conv_transpose2d': conv_transpose2d,
    'convolution': convolution,
    'linear': linear,
    **dict.fromkeys(('matmul', 'mm'), matmul),
    'addmm': addmm,
    '_native_batch_norm_legit_no_training': batch_norm,
    **dict.fromkeys(('max_pool2d', 'max_pool2d_with_indices'), max_pool2d),
    'avg_pool2d': avg_pool2d,
    **dict.fromkeys(('adaptive_avg_pool2d', '_adaptive_avg_pool2d'), adaptive('avg')),
    'adaptive_max_pool2d': adaptive('max'),
    **dict.fromkeys(('mean', 'sum', 'amax', 'amin'), reduction),
    **dict.fromkeys(
        (
            'upsample_nearest2d',
            '_upsample_nearest_exact2d',
            'upsample_bilinear2d',
            'upsample_bicubic2d',
            '_upsample_bilinear2d_aa',
            '_upsample_bicubic2d_aa',
        ),
        upsample,
    ),
    **dict.fromkeys(('pad', 'constant_pad_nd'), pad),
    'pixel_shuffle': pixel_shuffle,
    'pixel_unshuffle': pixel_unshuffle,
}
