from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')

from rclpy.node import Node
from rclpy.parameter import Parameter

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import zoo
from dedelayed_ros.nodes.parameters import declare, parameter, specs, table, unknown
from dedelayed_ros.nodes.settings import NODES


@dataclass(frozen=True)
class Settings:
    """Of every kind."""

    switch: bool = parameter(True, 'a switch', change='never')
    count: int = parameter(3, 'a count', low=1, high=5)
    rate: float = parameter(2.5, 'a rate (Hz)', low=0.0, high=10.0, change='any')
    name: str = parameter('x', 'a name')
    pace: Literal['own', 'fast'] = parameter('own', 'a choice')


@pytest.fixture
def node(ros: None) -> Iterator[Node]:
    node = Node('parameters_test')
    yield node
    node.destroy_node()


def given(**values: object) -> Node:
    return Node('parameters_test', parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


def test_defaults_and_overrides_become_the_dataclass(ros: None) -> None:
    node = given(count=5, rate=3, pace='fast')
    settings, strangers = declare(node, Settings)
    assert settings == Settings(count=5, rate=3.0, pace='fast')
    assert isinstance(settings.rate, float)
    assert strangers == []
    node.destroy_node()


def test_descriptors_tell_what_ros2_param_describe_shows(node: Node) -> None:
    declare(node, Settings)
    count, rate, pace, switch = node.describe_parameters(['count', 'rate', 'pace', 'switch'])
    assert count.description == 'a count'
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 5)
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 10.0)
    assert 'own, fast' in pace.additional_constraints
    assert switch.read_only


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'count': 9}, 'count is 9; expected a whole number from 1 to 5'),
        ({'count': 2.5}, 'count is 2.5; expected a whole number'),
        ({'count': True}, 'count is True; expected a whole number'),
        ({'rate': -1.0}, 'rate is -1.0; expected a number from 0 to 10'),
        ({'rate': 'fast'}, "rate is 'fast'; expected a number"),
        ({'name': 7}, 'name is 7; expected a text. Quote it twice'),
        ({'pace': 'slow'}, "pace is 'slow'; expected 'own' or 'fast'"),
        ({'switch': 'yes'}, "switch is 'yes'; expected true or false"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(ros: None, values: dict[str, object], message: str) -> None:
    node = given(**values)
    with pytest.raises(InputError, match=message):
        declare(node, Settings)
    node.destroy_node()


def test_an_unknown_parameter_names_the_nearest_known(ros: None) -> None:
    node = given(cuont=3, use_sim_time=False)
    _, strangers = declare(node, Settings)
    assert strangers == ['cuont']
    assert unknown('cuont', specs(Settings)) == "there is no parameter 'cuont', it is ignored: did you mean 'count'?"
    assert unknown('zzz', ['a', 'b']).endswith('known are a, b')
    node.destroy_node()


def test_the_table_has_every_parameter_once() -> None:
    lines = table(NODES).splitlines()
    names = {name for settings in NODES.values() for name in specs(settings)}
    assert len(lines) == 2 + len(names)
    assert '| all | `autostart` | `true` | true or false |' in '\n'.join(lines)
    assert any(line.startswith(f'| perception, bridge | `model` | `{zoo.DEFAULT}` |') for line in lines)
    for line in lines:
        assert line.count('|') == 6


@pytest.mark.parametrize('settings', NODES.values())
def test_every_default_is_a_value_that_is_accepted(settings: type) -> None:
    for spec in specs(settings).values():
        assert spec.accept(spec.default) == spec.default
        assert spec.description
        assert spec.low is None or spec.high is not None
