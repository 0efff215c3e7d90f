"""Where ROS is on this machine, found without importing it, and the environment that its processes need."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import dedelayed_ros

_INDEX = Path('share') / 'ament_index' / 'resource_index' / 'packages'
# The wheels of ROS set their library path by starting Python anew, once. The guard that says so must not reach a child,
# whose path differs.
_WHEELS_GUARD = '_ROS_WHEELS_BOOTSTRAP_COMPLETE'
_DOMAINS = range(1, 102)  # those whose ports lie below the range that Linux hands out to everybody


@dataclass(frozen=True)
class RosInstall:
    """An installed ``dedelayed_ros`` with its executables: ``prefix`` of the package, ``base`` of the wheels of ROS."""

    prefix: Path
    base: Path | None

    def command(self, executable: str) -> list[str]:
        """The command line that starts a node executable with this very interpreter."""
        return [sys.executable, str(self.prefix / 'lib' / 'dedelayed_ros' / executable)]

    def environment(self, domain: int, *, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Environment variables of a node on a DDS domain of its own, seen from this machine only."""
        env = {key: value for key, value in base.items() if key != _WHEELS_GUARD}
        prefixes = [str(self.prefix), *([str(self.base)] if self.base else [])]
        _prepend(env, 'AMENT_PREFIX_PATH', *prefixes)
        _prepend(env, 'LD_LIBRARY_PATH', str(self.prefix / 'lib'))
        _prepend(env, 'PYTHONPATH', str(Path(dedelayed_ros.__file__).parents[1]))
        env |= {
            'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'PYTHONUNBUFFERED': '1',
            'RCUTILS_LOGGING_BUFFERED_STREAM': '0',
        }
        return env


def find_ros() -> tuple[RosInstall | None, str]:
    """The installation, or None and the reason why there is none."""
    if find_spec('rclpy') is None:
        return None, 'rclpy is not installed: make build brings ROS, or source a ROS installation'
    candidates = [*Path(dedelayed_ros.__file__).absolute().parents]
    candidates += [Path(entry) for entry in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if entry]
    prefix = next((c for c in candidates if (c / _INDEX / 'dedelayed_ros').exists()), None)
    if prefix is None:
        return None, 'dedelayed_ros is not built as a ROS package: run make build, or colcon build in your workspace'
    wheels = Path(sys.prefix)
    return RosInstall(prefix, wheels if (wheels / _INDEX / 'rclpy').exists() else None), ''


def free_domain() -> int:
    """A DDS domain that nobody on this machine uses as far as its ports tell."""
    domains = list(_DOMAINS)
    random.SystemRandom().shuffle(domains)
    for domain in domains:
        first_port = 7400 + 250 * domain  # discovery of the domain, then that of its first participant
        if all(_port_is_free(first_port + offset, socket.SOCK_DGRAM) for offset in (0, 10, 11)):
            return domain
    return domains[0]


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def _port_is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


def _prepend(env: dict[str, str], name: str, *entries: str) -> None:
    """Put paths in front of those of the variable, each once."""
    paths = [*entries, *(part for part in env.get(name, '').split(os.pathsep) if part)]
    env[name] = os.pathsep.join(dict.fromkeys(paths))
