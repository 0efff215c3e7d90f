"""Nodes in processes of their own, and a node of the test's that talks to them over real DDS."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data

import dedelayed_ros.nodes
from dedelayed_ros.nodes.lifecycle import let_images_fit, make_executor

let_images_fit()  # before anything here starts DDS
_numbers = itertools.count()
START_S = 60.0  # on a machine that trains models at the same time
EXECUTABLES = Path(dedelayed_ros.nodes.__file__).parents[4] / 'dedelayed_ros'


class Running:
    """A node executable in a namespace; its output is in ``log``."""

    def __init__(self, name: str, namespace: str, parameters: dict[str, Any], log: Path, env: dict[str, str]) -> None:
        executable = EXECUTABLES / name
        if not executable.exists():
            pytest.skip(f'{executable} is not installed: run `make build`')
        command = [str(executable), '--ros-args', '-r', f'__ns:={namespace}']
        for key, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ['-r' if ':=' in text else '-p', text if ':=' in text else f'{key}:={text}']
        self.log = log
        self._file = log.open('wb')
        self.process = subprocess.Popen(command, stdout=self._file, stderr=subprocess.STDOUT, env=env)

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')

    def stop(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Exit code and how long it took to end."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._file.close()
        return code, time.monotonic() - start


Start = Callable[..., Running]


@pytest.fixture(scope='module')
def start(process_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that starts a node executable with parameters in a namespace; all end with the module."""
    folder = tmp_path_factory.mktemp('nodes')
    running: list[Running] = []

    def begin(name: str, namespace: str, **parameters: Any) -> Running:
        log = folder / f'{name}-{next(_numbers)}.log'
        running.append(Running(name, namespace, parameters, log, process_env))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


class Observer:
    """Subscriptions, publishers and service calls of the test, in a namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.node = Node(f'observer_{next(_numbers)}', namespace=namespace)
        self.executor = make_executor()
        self.executor.add_node(self.node)

    def hear(self, kind: type, topic: str, qos: QoSProfile = qos_profile_sensor_data) -> list[Any]:
        """A list that grows with each message."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def spin(self, seconds: float) -> None:
        """Receive for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, true: Callable[[], Any], what: str, seconds: float = START_S, log: Running | None = None) -> None:
        """Receive until it is true; fails the test otherwise."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end or (log is not None and log.process.poll() is not None):
                pytest.fail(f'{what} did not come about in {seconds:g} s\n{log.output if log else ""}')
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, kind: type, service: str, request: Any, seconds: float = START_S) -> Any:
        """A service's answer."""
        client = self.node.create_client(kind, service)
        self.until(client.service_is_ready, f'the service {service}', seconds)
        future = client.call_async(request)
        self.until(future.done, f'the answer of {service}', seconds)
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        self.executor.remove_node(self.node)
        self.node.destroy_node()


@pytest.fixture(scope='module')
def observer(ros: None) -> Iterator[Observer]:
    """An observer in a namespace that no other module of tests has."""
    observer = Observer(f'/t{next(_numbers)}')
    yield observer
    observer.close()


@pytest.fixture(scope='session')
def picture() -> Callable[[int, int, int], np.ndarray]:
    """A function that makes pictures uint8 [H, W, 3] which differ by their number."""

    def make(number: int, height: int, width: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
        return np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1)[:height, :width])

    return make
