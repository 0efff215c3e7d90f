"""What each operation computes, in torch: the specification that every backend answers to."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros.sparse.lowering.builder import mapped
from dedelayed_ros.sparse.ops import (
    AdaptivePool,
    Addend,
    AvgPool,
    Concat,
    Conv,
    Crop,
    Gather,
    Global,
    MaxPool,
    Op,
    Pad,
    Pointwise,
    Reduce,
    Resize,
    Shuffle,
    Slot,
    Spread,
    TransposedConv,
)
from dedelayed_ros.sparse.plan import Node


def evaluate(node: Node, inputs: list[Tensor]) -> Tensor:
    """The whole output of a node: [1, C, h, w], or a tensor of its own shape for a Global operation."""
    if isinstance(node.op, (Pointwise, Global)):
        result = _aten(node.op, node, inputs)
    elif isinstance(node.op, Spread):
        result = node.op.layout.from_raw(inputs[0], node.grid.size)
    else:
        result = compute(node.op, inputs[: len(node.operands)])
    for step in node.epilogue:
        if isinstance(step, Addend):
            result = result + inputs[step.number]
        else:
            result = step.target(result, *step.args, **step.kwargs)
    return result


def _aten(op: Pointwise | Global, node: Node, inputs: list[Tensor]) -> Tensor:
    def read(leaf: Any) -> Any:
        if not isinstance(leaf, Slot):
            return leaf
        tensor = inputs[leaf.number]
        return tensor if leaf.layout is None else leaf.layout.to_raw(tensor)

    result = op.target(*mapped(op.args, read), **mapped(op.kwargs, read))
    if isinstance(op, Pointwise):
        return op.result.from_raw(result, node.grid.size)
    return result if op.item is None else result[op.item]


@singledispatch
def compute(op: Op, inputs: list[Tensor]) -> Tensor:
    """[1, C, h, w] of every input → [1, C', h', w']."""
    raise TypeError(f'{type(op).__name__} has no definition')


@compute.register
def _(op: Conv, inputs: list[Tensor]) -> Tensor:
    (x,) = inputs
    (top, bottom), (left, right) = op.padding
    if (top, left) == (bottom, right):
        return F.conv2d(x, op.weight, op.bias, op.stride, (top, left), op.dilation, op.groups)
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, op.weight, op.bias, op.stride, 0, op.dilation, op.groups)


@compute.register
def _(op: TransposedConv, inputs: list[Tensor]) -> Tensor:
    return F.conv_transpose2d(
        inputs[0], op.weight, op.bias, op.stride, op.padding, op.output_padding, op.groups, op.dilation
    )


@compute.register
def _(op: MaxPool, inputs: list[Tensor]) -> Tensor:
    return F.max_pool2d(inputs[0], op.kernel, op.stride, op.padding, op.dilation, op.ceil)


@compute.register
def _(op: AvgPool, inputs: list[Tensor]) -> Tensor:
    return F.avg_pool2d(inputs[0], op.kernel, op.stride, op.padding, op.ceil, op.count_padding, op.divisor)


@compute.register
def _(op: AdaptivePool, inputs: list[Tensor]) -> Tensor:
    pool = F.adaptive_avg_pool2d if op.kind == 'avg' else F.adaptive_max_pool2d
    return pool(inputs[0], op.size)


@compute.register
def _(op: Reduce, inputs: list[Tensor]) -> Tensor:
    return op.target(inputs[0], op.dims, True)


@compute.register
def _(op: Resize, inputs: list[Tensor]) -> Tensor:
    return op.apply(inputs[0], op.size, op.scales)


@compute.register
def _(op: Pad, inputs: list[Tensor]) -> Tensor:
    amounts = (*op.padding[1], *op.padding[0])
    return F.pad(inputs[0], amounts, op.mode, op.value if op.mode == 'constant' else None)


@compute.register
def _(op: Crop, inputs: list[Tensor]) -> Tensor:
    rows, cols = (slice(op.start[a], op.start[a] + op.step[a] * (op.size[a] - 1) + 1, op.step[a]) for a in (0, 1))
    return inputs[0][..., rows, cols]


@compute.register
def _(op: Shuffle, inputs: list[Tensor]) -> Tensor:
    return F.pixel_shuffle(inputs[0], op.factor) if op.up else F.pixel_unshuffle(inputs[0], op.factor)


@compute.register
def _(op: Concat, inputs: list[Tensor]) -> Tensor:
    return torch.cat(inputs, 1)


@compute.register
def _(op: Gather, inputs: list[Tensor]) -> Tensor:
    return inputs[0][:, op.index]
