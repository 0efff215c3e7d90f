"""From aten operations of a traced model to the operations of a plan.

``views`` reads the same numbers in another layout, ``windows`` looks at neighbourhoods, ``elementwise`` at single
positions; what mixes the whole picture is a Global operation: any dirty → all dirty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.lowering import elementwise, views, windows
from dedelayed_ros.sparse.lowering.builder import Builder, Value, flat

RULES: dict[str, Callable[[Builder, dict[str, Any]], Any]] = {**views.RULES, **windows.RULES, **elementwise.RULES}

# What may mix the whole picture: attention and its parts, and norms over positions.
GLOBAL = frozenset(
    'matmul mm bmm addmm baddbmm einsum scaled_dot_product_attention softmax _softmax log_softmax _log_softmax '
    'layer_norm native_layer_norm group_norm native_group_norm instance_norm mean sum amax amin linalg_vector_norm '
    'linear cumsum var std var_mean'.split()
)
# Read before or after a Global operation, these only arrange its operands (windows of attention, heads).
ARRANGING = frozenset('view reshape _unsafe_view permute transpose expand cat stack flatten roll flip'.split())

UNSUPPORTED = ('error', 'dense')


def lower(b: Builder, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], unsupported: str) -> Any:
    """Add the nodes of one traced operation. Returns its Value, or a list where it has several results.

    Raises InputError for an operation that is not known, unless ``unsupported`` is 'dense'.
    """
    schema = target._schema
    name = schema.name.split('::')[-1].rstrip('_') if not schema.name.endswith('__') else schema.name
    named = {a.name: v for a, v in zip(schema.arguments, args, strict=False)}
    named.update(kwargs)
    drops = named.get('dropout_p', named.get('p', 0)) if named.get('train', True) else 0
    if torch.Tag.nondeterministic_seeded in target.tags and (drops or name not in {*RULES, *GLOBAL}):
        raise InputError(
            f"layer '{b.layer}' uses {schema.name}, which is random: only deterministic models can be reused"
        )
    values = [v for v in flat([list(args), kwargs]) if isinstance(v, Value)]
    result = None
    if name in RULES and not (all(v.layout is None for v in values) and name not in windows.RULES):
        result = RULES[name](b, {**named, 'target': target, 'args': list(args), 'kwargs': dict(kwargs)})
    if result is not None:
        return result
    known = name in GLOBAL or name in ARRANGING or all(v.layout is None for v in values)
    if not known and unsupported != 'dense':
        shapes = ', '.join(str(list(v.shape)) for v in values)
        raise InputError(
            f"layer '{b.layer}' uses {target} on {shapes}, which the sparse engine cannot run sparsely; change it, "
            "or compile with unsupported='dense' to recompute it and what follows it in full whenever anything changed"
        )
    if name in ('view', '_unsafe_view'):
        target = torch.ops.aten.reshape.default  # strides are not those of the traced tensors
    return b.all_of(target, list(args), kwargs, _cost(name, values, b))


def _cost(name: str, values: list[Value], b: Builder) -> float:
    """Multiply-accumulates of a Global matrix product."""
    shapes = [v.shape for v in values]
    out = math.prod(b.shapes[0])
    if name in ('matmul', 'mm', 'bmm', 'addmm', 'baddbmm') and shapes:
        return float(out * shapes[-2 if len(shapes) > 1 else -1][-1])
    if name == 'linear':
        return float(out * shapes[0][-1])
    if name == 'scaled_dot_product_attention':
        return float(2 * out * shapes[1][-2])
    return 0.0


def is_constant(item: Any) -> bool:
    """Whether no argument depends on the model's inputs."""
    return not any(isinstance(leaf, Value) for leaf in flat(item))


__all__ = ['GLOBAL', 'RULES', 'UNSUPPORTED', 'Builder', 'Tensor', 'Value', 'is_constant', 'lower']
