"""The launch files and what they start; where `launch_ros` is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')

from dedelayed_ros.models import zoo
from dedelayed_ros.nodes.parameters import specs
from dedelayed_ros.nodes.settings import NODES

ROOT = Path(__file__).resolve().parents[2]


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name.replace('.', '_'), ROOT / 'launch' / f'{name}.launch.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_parameter_file_has_every_parameter_at_its_default() -> None:
    sections = yaml.safe_load((ROOT / 'config' / 'edge.yaml').read_text())
    assert sections == {
        f'/**/{node}': {'ros__parameters': {name: spec.default for name, spec in specs(settings).items()}}
        for node, settings in NODES.items()
    }


def test_rviz_shows_topics_that_exist() -> None:
    layout = yaml.safe_load((ROOT / 'config' / 'rviz' / 'dedelayed.rviz').read_text())
    topics = {display['Topic']['Value'] for display in layout['Visualization Manager']['Displays']}
    assert topics == {'segmentation/overlay', 'segmentation/color_mask', 'image_raw'}


def test_what_both_ends_of_a_link_need_is_told_to_both(launch_module: Any) -> None:
    assert launch_module('edge').OVERRIDES['endpoint'][0] == ('perception', 'bridge')
    assert launch_module('edge').OVERRIDES['mode'][0] == ('perception', 'bridge')
    assert launch_module('edge').OVERRIDES['model'][0] == ('perception', 'bridge')


def test_what_is_told_to_a_node_is_a_parameter_of_it(launch_module: Any) -> None:
    for name, (nodes, _) in launch_module('edge').OVERRIDES.items():
        assert all(name in specs(NODES[node]) for node in nodes)


@pytest.fixture
def launch_module() -> Any:
    """Loads a launch file."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    pytest.importorskip('launch', reason='launch is not installed')
    return _load


@pytest.fixture
def started() -> Any:
    """Visits a launch description and returns the processes that it would start, as (executable, name, parameters)."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    pytest.importorskip('launch', reason='launch is not installed')
    from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node

    from launch import LaunchContext

    def visit(name: str, **arguments: str) -> list[str]:
        context = LaunchContext()
        context.launch_configurations.update(arguments)
        found: list[str] = []

        def walk(entities: Any) -> None:
            for entity in entities:
                if isinstance(entity, Node):
                    found.append(entity.node_executable)
                elif isinstance(entity, ExecuteProcess):
                    found.append(' '.join(perform_substitutions(context, list(word)) for word in entity.cmd))
                elif isinstance(entity, (DeclareLaunchArgument, OpaqueFunction)):
                    walk(entity.execute(context) or [])
                elif isinstance(entity, IncludeLaunchDescription):
                    found.append(Path(str(entity.launch_description_source.location or '')).name)

        walk(_load(name).generate_launch_description().entities)
        return found

    return visit


def test_the_robot_is_one_process_or_three(started: Any) -> None:
    assert started('edge', composed='true') == ['edge']
    assert started('edge', composed='false', input='ros', image_topic='/cam/image') == [
        'camera',
        'perception',
        'bridge',
    ]
    assert started('edge', rviz='true') == ['edge', 'rviz2']


def test_the_cloud_is_the_command_line(started: Any) -> None:
    assert started('cloud', listen='tcp/0.0.0.0:9', offload_model='mine.json') == [
        f'dedelayed cloud --listen tcp/0.0.0.0:9 --model {zoo.DEFAULT} --offload-model mine.json'
    ]
