"""Views, permutations, splits and concatenations: mostly nothing to do, only another way to read the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from dedelayed_ros.sparse.layout import CELLS, COLS, ONE, ROWS, Layout, image, viewed
from dedelayed_ros.sparse.lowering.builder import Builder, Value, bind, make_grid
from dedelayed_ros.sparse.ops import Crop, Pointwise

aten = torch.ops.aten
Args = dict[str, Any]
Lowered = Any  # Value, list[Value] or None (this form is not known)


def same(b: Builder, a: Args) -> Lowered:
    """clone, contiguous, detach, dropout in eval mode, casts between floating formats (all run in the plan's own)."""
    return a.get('self', a.get('input'))


def cast(b: Builder, a: Args) -> Lowered:
    """A cast to a floating format: the plan has one for everything."""
    dtype = a.get('dtype')
    return a['self'] if dtype is None or dtype.is_floating_point else None


def view(b: Builder, a: Args) -> Lowered:
    """view, reshape, flatten, squeeze, unsqueeze."""
    return to_shape(b, a['self'], b.shapes[0])


def to_shape(b: Builder, value: Value, shape: tuple[int, ...]) -> Value | None:
    """A value viewed in another shape; None where that mixes channels and positions."""
    if value.layout is None:
        return None
    try:
        layout = viewed(value.layout, b.grid_of(value).size, shape)
    except ValueError:
        value = b.ordered(value)
        assert value.layout is not None
        layout = viewed(value.layout, b.grid_of(value).size, shape)
    return None if layout is None else replace(value, layout=layout, shape=tuple(shape))


def permute(b: Builder, a: Args) -> Lowered:
    """Dimensions in another order."""
    return _permuted(a['self'], [d % len(a['self'].shape) for d in a['dims']])


def transpose(b: Builder, a: Args) -> Lowered:
    """Two dimensions exchanged."""
    n = len(a['self'].shape)
    order = list(range(n))
    i, j = a.get('dim0', 0) % n, a.get('dim1', 1) % n
    order[i], order[j] = j, i
    return _permuted(a['self'], order)


def _permuted(value: Value, order: list[int]) -> Value | None:
    if value.layout is None:
        return None
    layout = Layout(tuple(value.layout.dims[d] for d in order), value.layout.factors)
    return replace(value, layout=layout, shape=tuple(value.shape[d] for d in order))


def expand(b: Builder, a: Args) -> Lowered:
    """Broadcasting made explicit: new channels, or a vector spread over a grid."""
    value, shape = a['self'], b.shapes[0]
    if value.layout is None:
        return None
    missing = len(shape) - len(value.shape)
    dims = (ONE,) * missing + value.layout.dims
    if tuple(shape) == (1,) * missing + value.shape:
        return replace(value, layout=Layout(dims, value.layout.factors), shape=tuple(shape))
    grown = [i for i, n in enumerate(shape) if dims[i] == ONE and n > 1]
    if len(shape) == 4 and shape[0] == 1 and set(grown) <= {2, 3} and b.as_image(value) is not None:
        size = (shape[2], shape[3])
        strides = [b.known_stride(axis, size[axis]) for axis in (0, 1)]
        layout = image(value.layout.channels, size)
        op = Pointwise(aten.expand.default, (bind(value, []), list(shape)), {}, layout)
        return b.from_image(b.add(op, [value.node], make_grid(size, strides), layout.channels))
    if any(d in (ROWS, COLS, CELLS) for d in dims):
        used = [d for d in dims if isinstance(d, int)]
        labels: list[str | int] = []
        factors: list[int] = []
        for i, n in enumerate(shape):
            if isinstance(dims[i], int) or i in grown:
                labels.append(len(factors))
                factors.append(n)
            else:
                labels.append(dims[i])
        assert len(used) + len(grown) == len(factors)
        return b.pointwise(aten.expand.default, [value, list(shape)], {}, Layout(tuple(labels), tuple(factors) or (1,)))
    return None


def select(b: Builder, a: Args) -> Lowered:
    """One entry of a channel dimension, or of one of size 1."""
    value = a['self']
    if value.layout is None:
        return None
    dim = a['dim'] % len(value.shape)
    label = value.layout.dims[dim]
    if label == ONE:
        dims = value.layout.dims[:dim] + value.layout.dims[dim + 1 :]
        return replace(value, layout=Layout(dims, value.layout.factors), shape=tuple(b.shapes[0]))
    if isinstance(label, int):
        return b.pick(value, dim, torch.tensor([a['index'] % value.shape[dim]]), keep=False)
    return None


def unbind(b: Builder, a: Args) -> Lowered:
    """All entries of a channel dimension."""
    value = a['self']
    if value.layout is None:
        return None
    dim = a.get('dim', 0) % len(value.shape)
    if isinstance(value.layout.dims[dim], int):
        return [b.pick(value, dim, torch.tensor([i]), keep=False) for i in range(value.shape[dim])]
    return None


def slice_(b: Builder, a: Args) -> Lowered:
    """A range of channels, rows or columns."""
    value, step = a['self'], a.get('step', 1)
    dim = a.get('dim', 0) % len(value.shape)
    start, stop, _ = slice(a.get('start'), a.get('end'), step).indices(value.shape[dim])
    return _cut(b, value, dim, start, stop, step)


def _cut(b: Builder, value: Value, dim: int, start: int, stop: int, step: int = 1) -> Value | None:
    if value.layout is None:
        return None
    count = len(range(start, stop, step))
    if count == value.shape[dim]:
        return value
    label = value.layout.dims[dim]
    if isinstance(label, int):
        return b.pick(value, dim, torch.arange(start, stop, step))
    if label not in (ROWS, COLS):
        return None
    axis = 0 if label == ROWS else 1
    size = list(b.grid_of(value).size)
    size[axis] = count
    first, steps = [0, 0], [1, 1]
    first[axis], steps[axis] = start, step
    op = Crop((first[0], first[1]), (steps[0], steps[1]), (size[0], size[1]))
    node = b.add(op, [value.node], b.scaled(value, (size[0], size[1]), (steps[0], steps[1])), b.node(value).channels)
    shape = tuple(count if i == dim else n for i, n in enumerate(value.shape))
    return Value(node, value.layout.normalised((size[0], size[1])), shape)


def split(b: Builder, a: Args) -> Lowered:
    """split, split_with_sizes and chunk."""
    value = a['self']
    dim = a.get('dim', 0) % len(value.shape)
    parts, start = [], 0
    for shape in b.shapes:
        parts.append(_cut(b, value, dim, start, start + shape[dim]))
        start += shape[dim]
    return None if None in parts else parts


def index_select(b: Builder, a: Args) -> Lowered:
    """Channels by a constant list."""
    value, index = a['self'], a['index']
    if value.layout is None or isinstance(index, Value):
        return None
    dim = a['dim'] % len(value.shape)
    return b.pick(value, dim, index.cpu()) if isinstance(value.layout.dims[dim], int) else None


def flip(b: Builder, a: Args) -> Lowered:
    """Channels in reverse; of positions it is a Global operation."""
    value = a['self']
    for dim in (d % len(value.shape) for d in a['dims']):
        if value.layout is None or not isinstance(value.layout.dims[dim], int):
            return None
        value = b.pick(value, dim, torch.arange(value.shape[dim] - 1, -1, -1))
    return value


def cat(b: Builder, a: Args) -> Lowered:
    """Tensors joined along channels."""
    values = a['tensors']
    if not all(isinstance(v, Value) for v in values):
        return None
    dim = a.get('dim', 0) % len(values[0].shape)
    if dim == 1 and len(values[0].shape) == 4:
        return b.concat(values)
    return _joined(b, aten.cat.default, values, dim, dim)


def stack(b: Builder, a: Args) -> Lowered:
    """Tensors joined along a new dimension of channels."""
    values = a['tensors']
    if not all(isinstance(v, Value) for v in values):
        return None
    dim = a.get('dim', 0) % (len(values[0].shape) + 1)
    return _joined(b, aten.stack.default, values, dim, None)


def _joined(b: Builder, target: Callable[..., Any], values: list[Value], dim: int, old: int | None) -> Value | None:
    """Tensors in the same layout joined along a channel dimension (``old``), or along a new one."""
    layouts = [v.layout for v in values]
    first = layouts[0]
    if first is None or any(x is None or x.dims != first.dims for x in layouts):
        return None
    dims = list(first.dims)
    if old is None:
        dims.insert(dim, 0)
    elif dims[dim] in (ROWS, COLS, CELLS):
        return None
    labels: list[str | int] = []
    factors: list[int] = []
    for i, n in enumerate(b.shapes[0]):
        if (isinstance(dims[i], int) or i == dim) and n > 1:
            labels.append(len(factors))
            factors.append(n)
        else:
            labels.append(ONE if isinstance(dims[i], int) else dims[i])
    return b.pointwise(target, [values, dim], {}, Layout(tuple(labels), tuple(factors) or (1,)))


RULES: dict[str, Callable[[Builder, Args], Lowered]] = {
    **dict.fromkeys(
        ('clone', 'contiguous', 'detach', 'alias', 'lift_fresh_copy', 'dropout', 'dropout2d', 'feature_dropout'), same
    ),
    **dict.fromkeys(('_to_copy', 'to', 'type_as'), cast),
    **dict.fromkeys(
        ('view', 'reshape', '_unsafe_view', 'flatten', 'unflatten', 'squeeze', 'unsqueeze', '_reshape_alias'), view
    ),
    'permute': permute,
    **dict.fromkeys(('transpose', 'swapaxes', 't'), transpose),
    **dict.fromkeys(('expand', 'expand_as'), expand),
    'select': select,
    'unbind': unbind,
    'slice': slice_,
    **dict.fromkeys(('split', 'split_with_sizes', 'chunk', 'unsafe_chunk', 'unsafe_split'), split),
    'index_select': index_select,
    'flip': flip,
    'cat': cat,
    'stack': stack,
}
