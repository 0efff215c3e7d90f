"""What follows an operation value by value, as the kernels have it: a number of its own and up to three parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dedelayed_ros.sparse.ops import Addend, Unary

Function = tuple[int, list[float]]  # number in kernels/cpu/sparse/plan.h, parameters

_NAMES = (
    'clamp leaky_relu hardswish hardsigmoid sigmoid silu tanh gelu gelu_tanh elu exp log sqrt abs neg floor ceil round '
    'add mul div subtract_from square addend'
).split()
_NUMBER = {name: number for number, name in enumerate(_NAMES)}


class Lacking(Exception):
    """Something that the kernels do not have; the text says what."""


def name_of(target: Any) -> str:
    """The plain name of a traced function, such as 'relu'."""
    schema = getattr(target, '_schema', None)
    return type(target).__name__ if schema is None else schema.name.split('::')[-1].rstrip('_')


def describe_step(step: Unary | Addend) -> list[Function]:
    """The functions that do what a step of an epilogue says. Raises Lacking."""
    if isinstance(step, Addend):
        return [(_NUMBER['addend'], [float(step.number), 0.0, 0.0])]
    return describe_unary(step)


def describe_unary(unary: Unary) -> list[Function]:
    """The functions that do what a Unary says. Raises Lacking."""
    name = name_of(unary.target)
    rule = _RULES.get(name)
    numbers = [*unary.args, *unary.kwargs.values()]
    if rule is None or not all(isinstance(n, (int, float, str)) or n is None for n in numbers):
        raise Lacking(name)
    try:
        code, parameters = rule(*unary.args, **unary.kwargs)
    except TypeError as error:  # arguments that the rule does not know
        raise Lacking(f'{name} with {list(unary.args)} {unary.kwargs}') from error
    return [(_NUMBER[code], [*map(float, parameters), 0.0, 0.0, 0.0][:3])]


def _clamp(low: float | None = None, high: float | None = None) -> tuple[str, list[float]]:
    return 'clamp', [-math.inf if low is None else low, math.inf if high is None else high]


def _gelu(approximate: str = 'none') -> tuple[str, list[float]]:
    return 'gelu_tanh' if approximate == 'tanh' else 'gelu', []


def _plain(name: str) -> Callable[..., tuple[str, list[float]]]:
    return lambda: (name, [])


_RULES: dict[str, Callable[..., tuple[str, list[float]]]] = {
    **{name: _plain(name) for name in 'hardswish hardsigmoid sigmoid silu tanh exp log sqrt abs neg'.split()},
    **{name: _plain(name) for name in 'floor ceil round square'.split()},
    'relu': lambda: _clamp(0.0),
    'relu6': lambda: _clamp(0.0, 6.0),
    'hardtanh': lambda min_val=-1.0, max_val=1.0: _clamp(min_val, max_val),
    'clamp': lambda min=None, max=None: _clamp(min, max),
    'clamp_min': lambda min: _clamp(min),
    'clamp_max': lambda max: _clamp(None, max),
    'leaky_relu': lambda negative_slope=0.01: ('leaky_relu', [negative_slope]),
    'elu': lambda alpha=1.0, scale=1.0, input_scale=1.0: ('elu', [alpha, scale, input_scale]),
    'gelu': _gelu,
    'add': lambda other, alpha=1: ('add', [other * alpha]),
    'sub': lambda other, alpha=1: ('add', [-other * alpha]),
    'mul': lambda other: ('mul', [other]),
    'div': lambda other: ('div', [other]),
    'rsub': lambda other, alpha=1: _subtract_from(other, alpha),
}


def _subtract_from(other: float, alpha: float) -> tuple[str, list[float]]:
    if alpha != 1:
        raise TypeError('alpha')
    return 'subtract_from', [other]
