"""ROS parameters from a settings dataclass and back: described, ranged and checked with clear messages.

A field made by :func:`parameter` becomes a declared parameter; :func:`declare` returns the frozen dataclass that the
node works with. This module has no idea of a particular node.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

Settings = TypeVar('Settings')
Change = Literal['any', 'unconfigured', 'never']

_KIND_NAMES = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}
# What rclpy and rmw declare by themselves on any node.
_ROS_OWN = ('use_sim_time', 'start_type_description_service')
_ROS_PREFIXES = ('qos_overrides.',)


@dataclass(frozen=True)
class Spec:
    """One parameter. ``low`` and ``high`` are inclusive; ``choices`` are all allowed values when there are any.

    ``change``: whether it can be set at run time: at 'any' time, while the node is 'unconfigured', or 'never'.
    """

    name: str
    kind: type
    default: Any
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    change: Change

    def accept(self, value: Any) -> Any:
        """The value in the parameter's own type.

        Raises:
            InputError: another type, or out of range; the message says what is expected.
        """
        if self.kind is float and type(value) is int:
            value = float(value)  # rate:=30 is meant as 30.0
        if self.kind not in (type(value),):  # not isinstance: true is no number
            hint = f'. Quote it twice: -p {self.name}:=\'"{value}"\'' if self.kind is str else ''
            raise InputError(f'the parameter {self.name} is {value!r}; expected {self.expected}{hint}')
        too_low = self.low is not None and value < self.low
        too_high = self.high is not None and value > self.high
        if too_low or too_high or (self.choices and value not in self.choices):
            raise InputError(f'the parameter {self.name} is {value!r}; expected {self.expected}')
        return value

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return ' or '.join(repr(choice) for choice in self.choices)
        text = _KIND_NAMES[self.kind]
        if self.low is not None or self.high is not None:
            text += f' from {self.low:g} to {self.high:g}'
        return text

    def descriptor(self) -> ParameterDescriptor:
        """For `ros2 param describe`."""
        from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

        descriptor = ParameterDescriptor(name=self.name, description=self.description, read_only=self.change == 'never')
        constraints = []
        if self.choices:
            constraints.append(f'one of {", ".join(self.choices)}')
        if self.change == 'unconfigured':
            constraints.append('settable while the node is unconfigured')
        descriptor.additional_constraints = '; '.join(constraints)
        if self.low is not None and self.high is not None:
            if self.kind is int:
                descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=0)]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=self.low, to_value=self.high, step=0.0)
                ]
        return descriptor


def parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    change: Change = 'unconfigured',
) -> Any:
    """A dataclass field that is a ROS parameter; a ``Literal`` annotation gives its choices."""
    metadata = {'description': description, 'low': low, 'high': high, 'change': change}
    return field(default=default, metadata=metadata)


def specs(settings: type) -> dict[str, Spec]:
    """The parameters of a settings dataclass, by name."""
    hints = get_type_hints(settings)
    found = {}
    for item in fields(settings):
        hint = hints[item.name]
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        found[item.name] = Spec(item.name, str if choices else hint, item.default, choices=choices, **item.metadata)
    return found


def declare(node: Node, settings: type[Settings]) -> tuple[Settings, list[str]]:
    """Declare all parameters on ``node``; return their values, and the names of those that were given but do not exist.

    Raises:
        InputError: a value of a wrong type or out of range.
    """
    wanted = specs(settings)
    # There is no public way to ask for overrides of parameters that are not declared.
    overrides: Mapping[str, Any] = node._parameter_overrides
    values = {}
    for name, spec in wanted.items():
        value = spec.accept(overrides[name].value) if name in overrides else spec.default
        node.declare_parameter(name, value, spec.descriptor(), ignore_override=True)
        values[name] = value
    own = {*wanted, *_ROS_OWN}
    strangers = [name for name in overrides if name not in own and not name.startswith(_ROS_PREFIXES)]
    return settings(**values), strangers


def unknown(name: str, known: Iterable[str]) -> str:
    """What to tell about a parameter that does not exist."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    advice = f'did you mean {near[0]!r}?' if near else f'known are {", ".join(known)}'
    return f'there is no parameter {name!r}, it is ignored: {advice}'


def table(nodes: Mapping[str, type]) -> str:
    """All parameters of the nodes as a Markdown table; 'live' ones can be set while the node is active."""
    lines = ['| node | parameter | default | values | meaning |', '|---|---|---|---|---|']
    common: dict[str, list[str]] = {}
    for node, settings in nodes.items():
        for name in specs(settings):
            common.setdefault(name, []).append(node)
    seen = set()
    for settings in nodes.values():
        for name, spec in specs(settings).items():
            if name in seen:
                continue
            seen.add(name)
            owners = 'all' if len(common[name]) == len(nodes) else ', '.join(common[name])
            live = ', live' if spec.change == 'any' else ''
            default = str(spec.default).lower() if spec.kind is bool else spec.default
            shown = f'`{default}`' if default != '' else 'empty'
            values = ', '.join(f'`{choice}`' for choice in spec.choices) or spec.expected
            lines.append(f'| {owners} | `{name}` | {shown} | {values}{live} | {spec.description} |')
    return '\n'.join(lines) + '\n'
