"""Operations that look at one position: activations, arithmetic of feature maps, norms and softmax over channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dedelayed_ros.sparse.layout import ONE, Layout
from dedelayed_ros.sparse.lowering.builder import Builder, Value
from dedelayed_ros.sparse.lowering.views import Args, Lowered

# Functions of one number. Each is applied in the epilogue of the operation before it where that is possible.
UNARY = (
    'relu relu6 leaky_relu elu selu celu silu gelu mish softplus hardtanh hardswish hardsigmoid sigmoid tanh clamp '
    'clamp_min clamp_max abs neg exp log sqrt rsqrt square reciprocal floor ceil round sign logical_not hardshrink '
    'softshrink threshold log_sigmoid erf sin cos nan_to_num log1p expm1'
).split()
BINARY = (
    'add sub mul div rsub maximum minimum pow where eq ne lt le gt ge logical_and logical_or prelu _prelu_kernel '
    'remainder atan2 lerp addcmul'
).split()


def unary(b: Builder, a: Args) -> Lowered:
    """An activation, or another function of one number."""
    value, *rest = a['args']
    if any(isinstance(r, (Value, Tensor)) for r in [*rest, *a['kwargs'].values()]):
        return arithmetic(b, a)
    return b.unary(value, a['target'], *rest, **a['kwargs'])


def arithmetic(b: Builder, a: Args) -> Lowered:
    """A function of several tensors that broadcast; with only numbers beside one tensor it is one of a number."""
    args = [_number(x) for x in a['args']]
    if isinstance(args[0], Value) and not any(isinstance(x, (Value, Tensor)) for x in args[1:]):
        return b.unary(args[0], a['target'], *args[1:], **a['kwargs'])
    if a['target'] is torch.ops.aten.add.Tensor and all(isinstance(x, Value) for x in args) and not a['kwargs']:
        folded = b.plus(*args)
        if folded is not None:
            return folded
    return b.broadcast(a['target'], args, a['kwargs'])


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) and x.ndim == 0 else x


def prelu(b: Builder, a: Args) -> Lowered:
    """One slope for each channel, along dimension 1 whatever the number of dimensions."""
    value, weight = a['self'], a['weight']
    if isinstance(weight, Value):
        return None
    shape = (-1,) + (1,) * (len(value.shape) - 2) if weight.numel() > 1 else (1,)
    return b.broadcast(torch.ops.aten._prelu_kernel.default, [value, weight.reshape(shape)], {})


def layer_norm(b: Builder, a: Args) -> Lowered:
    """A norm over channels; over positions too it is a Global operation."""
    value, n = a['input'], len(a['normalized_shape'])
    if value.layout is None or not _all_channels(value.layout, value.layout.dims[-n:]):
        return None
    return b.pointwise(a['target'], a['args'], a['kwargs'], value.layout)


def softmax(b: Builder, a: Args) -> Lowered:
    """A softmax over channels; over positions it is a Global operation."""
    value = a['self']
    if value.layout is None or not isinstance(value.layout.dims[a['dim'] % len(value.shape)], int):
        return None
    return b.pointwise(a['target'], a['args'], a['kwargs'], value.layout)


def normalize(b: Builder, a: Args) -> Lowered:
    """A norm over channels (``linalg_vector_norm`` in F.normalize)."""
    value, layout = a['self'], a['self'].layout
    dims = a.get('dim')
    if layout is None or dims is None or not a.get('keepdim'):
        return None
    dims = [d % len(value.shape) for d in ([dims] if isinstance(dims, int) else dims)]
    if not all(isinstance(layout.dims[d], int) for d in dims):
        return None
    gone = {layout.dims[d] for d in dims}
    kept = Layout(
        tuple(ONE if d in gone else d for d in layout.dims),
        tuple(1 if f in gone else n for f, n in enumerate(layout.factors)),
    )
    return b.pointwise(a['target'], a['args'], a['kwargs'], kept)


def argmax(b: Builder, a: Args) -> Lowered:
    """The winning class of each position."""
    value, layout, dim = a['self'], a['self'].layout, a.get('dim')
    if layout is None or dim is None or not isinstance(layout.dims[dim % len(value.shape)], int):
        return None
    dim %= len(value.shape)
    gone = layout.dims[dim]
    factors = tuple(1 if f == gone else n for f, n in enumerate(layout.factors))
    dims = tuple(ONE if d == gone else d for i, d in enumerate(layout.dims) if a.get('keepdim') or i != dim)
    return b.pointwise(a['target'], a['args'], a['kwargs'], Layout(dims, factors))


def _all_channels(layout: Layout, dims: tuple[Any, ...]) -> bool:
    return all(isinstance(d, int) or d == ONE for d in dims) and any(isinstance(d, int) for d in dims)


RULES: dict[str, Callable[[Builder, Args], Lowered]] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, arithmetic),
    'prelu': prelu,
    **dict.fromkeys(('layer_norm', 'native_layer_norm'), layer_norm),
    **dict.fromkeys(('softmax', '_softmax', 'log_softmax', '_log_softmax'), softmax),
    'linalg_vector_norm': normalize,
    'argmax': argmax,
}
