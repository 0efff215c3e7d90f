"""From an ordinary torch module to a plan: export, fold, lower, and work out every footprint."""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.geometry import POINT, Stride, Window, identity
from dedelayed_ros.sparse.layout import image
from dedelayed_ros.sparse.lowering import UNSUPPORTED, Builder, Value, is_constant, lower
from dedelayed_ros.sparse.lowering.builder import Draft, make_grid
from dedelayed_ros.sparse.ops import Input, Spread, addend_of
from dedelayed_ros.sparse.plan import Motion, Node, Plan, Result

_EXPORTING = threading.Lock()  # torch.export fails in two threads at a time, as of a robot and a cloud in one process


def trace(
    model: nn.Module, example_inputs: Sequence[Any], *, dtype: torch.dtype = torch.float32, unsupported: str = 'error'
) -> Plan:
    """Trace an eval-mode module into a plan, for inputs of the shapes of ``example_inputs``.

    The first input is the frame, [1, C, H, W]: motion fields are given for its H and W. Where it is uint8, frames are
    given as levels 0–255, and the model sees a 255th of them. Others may lie on coarser grids (remote features) or have
    no positions (a vector). An argument of None stays None.

    Raises InputError for a module in training mode, one that cannot be exported (control flow that depends on values),
    a batch, and an operation that is not known (see ``unsupported``, 'error' or 'dense').
    """
    if unsupported not in UNSUPPORTED:
        raise InputError(f'unsupported={unsupported!r}: expected one of {UNSUPPORTED}')
    if model.training:
        raise InputError('the model is in training mode; call model.eval() before compiling it')
    examples = tuple(example_inputs)
    tensors = [x for x in examples if x is not None]
    if not tensors or not isinstance(tensors[0], Tensor) or tensors[0].ndim != 4 or tensors[0].shape[0] != 1:
        shape = list(tensors[0].shape) if tensors and isinstance(tensors[0], Tensor) else 'none'
        raise InputError(f'the first example input is the frame and has to be [1, C, H, W]; got {shape}')
    frame = tensors[0].shape[2], tensors[0].shape[3]
    levels = tensors[0].dtype == torch.uint8
    if levels:
        examples = tuple(x.float() / 255 if x is tensors[0] else x for x in examples)
    program = _export(model, examples)
    b = Builder((int(frame[0]), int(frame[1])))
    inputs: list[int] = []
    shapes: list[tuple[int, ...]] = []
    env: dict[torch.fx.Node, Any] = {}
    constants = _constants(program, dtype)
    for fx in program.graph.nodes:
        if fx.op == 'placeholder':
            if fx.name in constants:
                env[fx] = constants[fx.name]
            elif isinstance(fx.meta.get('val'), torch.Tensor):
                env[fx] = _input(b, fx, first=not inputs, levels=levels and not inputs)
                inputs.append(env[fx].node)
                shapes.append(env[fx].shape)
            else:
                env[fx] = None
        elif fx.op == 'call_function':
            env[fx] = _call(b, fx, env, dtype, unsupported)
        elif fx.op == 'output':
            results = _results(b, program, fx, env)
    nodes, order = _finish(b.drafts, [r.node for r in results], inputs)
    return Plan(
        frame=b.frame,
        dtype=dtype,
        nodes=nodes,
        inputs=tuple(order[i] for i in inputs),
        shapes=tuple(shapes),
        results=tuple(r if r.node is None else replace(r, node=order[r.node]) for r in results),
        structure=program.call_spec.out_spec,
    )


def _export(model: nn.Module, examples: tuple[Any, ...]) -> torch.export.ExportedProgram:
    try:
        with _EXPORTING, torch.no_grad():
            # No decomposition: operations stay whole (hardswish, layer norm, …), but become free of side effects.
            program = torch.export.export(model, examples).run_decompositions({})
    except Exception as error:  # export raises many kinds; each is the model's, and its text says which line
        raise InputError(f'torch.export cannot trace this model: {str(error).strip()[:2000]}') from error
    changed = list(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise InputError(f'the model changes its own state while it runs ({", ".join(changed)}): it cannot be reused')
    return program


def _constants(program: torch.export.ExportedProgram, dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters, buffers and literal tensors, by the name of their placeholder."""
    signature = program.graph_signature
    result: dict[str, Tensor] = {}
    for name, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
        found = program.state_dict.get(target)
        result[name] = _as(program.constants[target] if found is None else found, dtype)
    for name, target in signature.inputs_to_lifted_tensor_constants.items():
        result[name] = _as(program.constants[target], dtype)
    return result


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in the plan's number format: training the model further does not change the plan."""
    kept = tensor.dtype if not tensor.is_floating_point() else dtype
    return tensor.detach().to(device='cpu', dtype=kept, copy=True, memory_format=torch.contiguous_format)


def _input(b: Builder, fx: torch.fx.Node, *, first: bool, levels: bool) -> Value:
    shape = tuple(int(n) for n in fx.meta['val'].shape)
    b.layer = fx.name
    if len(shape) != 4:
        return Value(b.add(Input(), (), POINT, 0, 'none'), None, shape, len(fx.users) == 1)
    if shape[0] != 1:
        raise InputError(f"input '{fx.name}' is {list(shape)}: one stream at a time, [1, C, h, w]")
    size = shape[2], shape[3]
    motion: Motion = 'frame' if first else 'carried'
    grid = make_grid(size, [_input_stride(b.frame[a], size[a]) for a in (0, 1)])
    node = b.add(Input(levels), (), grid, shape[1], motion)
    return Value(node, image(shape[1], size), shape, len(fx.users) == 1)


def _input_stride(pixels: int, cells: int) -> Stride:
    """Frame pixels a cell: a whole number where one fits, with the last cell over the border if need be."""
    whole = -(-pixels // cells)
    return Fraction(whole) if -(-pixels // whole) == cells else Fraction(pixels, cells)


def _call(b: Builder, fx: torch.fx.Node, env: dict[torch.fx.Node, Any], dtype: torch.dtype, unsupported: str) -> Any:
    args = torch.fx.node.map_arg(fx.args, lambda n: env[n])
    kwargs = torch.fx.node.map_arg(fx.kwargs, lambda n: env[n])
    if fx.target is operator.getitem:
        several, item = args
        chosen = several[item]  # type: ignore[index]
        if chosen is None and fx.users:
            raise InputError(f"layer '{_layer(fx)}': this result of {fx.args[0]} is not available in the sparse engine")
        return _used(fx, chosen)
    args, kwargs = tuple(_lists(args)), dict(kwargs)
    if is_constant([list(args), kwargs]):
        done = fx.target(*args, **kwargs)  # type: ignore[operator]
        return pytree.tree_map(lambda t: _as(t, dtype) if isinstance(t, Tensor) else t, done)
    if fx.target is torch.ops.aten._assert_tensor_metadata.default:
        return None  # a check of the trace on itself, beside casts
    b.layer = _layer(fx)
    values = fx.meta['val']
    b.shapes = [tuple(int(n) for n in v.shape) for v in (values if isinstance(values, (list, tuple)) else [values])]
    kwargs = {k: dtype if k == 'dtype' and getattr(v, 'is_floating_point', False) else v for k, v in kwargs.items()}
    return _used(fx, lower(b, fx.target, args, kwargs, unsupported))


def _lists(item: Any) -> Any:
    if isinstance(item, (list, tuple)):
        return [_lists(part) for part in item]
    return item


def _used(fx: torch.fx.Node, value: Any) -> Any:
    """Note whether a traced value has a single reader, all the way from the node that makes it."""
    if isinstance(value, list):
        return value
    return replace(value, sole=value.sole and len(fx.users) == 1) if isinstance(value, Value) else value


def _layer(fx: torch.fx.Node) -> str:
    """Where an operation comes from: the path of its module, with the operation's own name if that has several."""
    stack = list((fx.meta.get('nn_module_stack') or {}).values())
    path, kind = stack[-1] if stack else ('', '')
    kind = kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__qualname__}'
    if path and kind.startswith('torch.nn.modules'):
        return path
    return f'{path}.{fx.name}' if path else fx.name


def _results(
    b: Builder, program: torch.export.ExportedProgram, fx: torch.fx.Node, env: dict[torch.fx.Node, Any]
) -> list[Result]:
    results = []
    for item in fx.args[0]:  # type: ignore[union-attr]
        value = env[item] if isinstance(item, torch.fx.Node) else item
        if isinstance(value, Value):
            results.append(Result(value.node, value.layout))
        else:
            results.append(Result(None, None, value))
    return results


def _finish(
    drafts: list[Draft], results: list[int | None], inputs: list[int]
) -> tuple[tuple[Node, ...], dict[int, int]]:
    """Drop what nothing reads, number the rest, and work out the footprints."""
    needed = set(inputs)
    stack = [r for r in results if r is not None]
    while stack:
        i = stack.pop()
        if i not in needed or i in inputs:
            needed.add(i)
            stack += [j for j in drafts[i].inputs if j not in needed]
    order = {old: new for new, old in enumerate(sorted(needed))}
    nodes = []
    for old, index in order.items():
        d = drafts[old]
        sizes = [drafts[i].grid.size for i in d.inputs]
        nodes.append(
            Node(
                index=index,
                name=d.name,
                aliases=tuple(dict.fromkeys(a for a in d.aliases if a != d.name)),
                op=d.op,
                inputs=tuple(order[i] for i in d.inputs),
                windows=_footprint(d, sizes),
                grid=d.grid,
                channels=d.channels,
                epilogue=tuple(d.epilogue),
                macs=d.op.macs(),
                motion=d.motion,
            )
        )
    return tuple(nodes), order


def _footprint(draft: Draft, sizes: list[tuple[int, int]]) -> tuple[Window, ...]:
    op, out = draft.op, draft.grid.size
    if addend_of(draft.epilogue) is None:
        windows = op.windows(sizes, out)
    else:
        windows = (*op.windows(sizes[:-1], out), Window(identity(out[0]), identity(out[1])))
    if not isinstance(op, (Input, Spread)):
        for window in windows:
            got = (window.rows.size_out, window.cols.size_out)
            assert got == out, f'{type(op).__name__}: footprint of {got}, output of {out}'
    return windows
