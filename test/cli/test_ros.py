from __future__ import annotations

import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dedelayed_ros.cli import ros
from dedelayed_ros.cli.ros import RosInstall, find_ros, free_domain, free_port


def test_a_node_gets_an_environment_of_its_own() -> None:
    parent = {'PATH': '/bin', '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1', 'AMENT_PREFIX_PATH': '/opt/ros/x:/ws/install/p'}
    env = RosInstall(Path('/ws/install/p'), Path('/venv')).environment(42, base=parent)
    assert env['ROS_DOMAIN_ID'] == '42'
    assert env['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert env['AMENT_PREFIX_PATH'].split(':') == ['/ws/install/p', '/venv', '/opt/ros/x']
    assert env['LD_LIBRARY_PATH'] == '/ws/install/p/lib'
    # A child that inherits it would never find the libraries of the wheels.
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in env
    assert env['PATH'] == '/bin'


def test_the_executables_run_with_this_interpreter() -> None:
    command = RosInstall(Path('/ws/install/p'), None).command('camera')
    assert command == [sys.executable, '/ws/install/p/lib/dedelayed_ros/camera']


def test_an_installation_is_found_and_complete() -> None:
    install, reason = find_ros()
    if install is None:
        assert reason
        pytest.skip(reason)
    for name in ('camera', 'perception', 'bridge', 'edge', 'recorder'):
        assert Path(install.command(name)[1]).exists()


def test_without_ros_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros, 'find_spec', lambda name: None if name == 'rclpy' else find_spec(name))
    install, reason = find_ros()
    assert install is None
    assert 'rclpy is not installed' in reason


def test_a_domain_that_is_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros, '_DOMAINS', range(97, 99))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('127.0.0.1', 7400 + 250 * 97 + 10))
        assert {free_domain() for _ in range(10)} == {98}


def test_a_free_port_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', free_port()))
