"""How a node is, once a second on `/diagnostics`: one status a node, worst first.

A small helper over `diagnostic_msgs`: `diagnostic_updater` is not in every distribution of ROS 2.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile

if TYPE_CHECKING:
    from rclpy.node import Node

PERIOD_S = 1.0


class Level(enum.IntEnum):
    """As in `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Report:
    """A node's state: all is well, or what is wrong and what to do; and figures."""

    level: Level = Level.OK
    message: str = 'ok'
    values: Mapping[str, Any] = field(default_factory=dict)


class Diagnostics:
    """Publishes what ``ask`` returns. Its second is a real one, also where ROS time stands still."""

    def __init__(self, node: Node, ask: Callable[[], Report]) -> None:
        self._node = node
        self._ask = ask
        # Absolute, as all of ROS expects it; remappable all the same.
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        self._timer = node.create_timer(PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish now."""
        report = self._ask()
        status = DiagnosticStatus(
            level=bytes([report.level]),
            name=f'{self._node.get_fully_qualified_name().lstrip("/")}: status',
            message=report.message,
            hardware_id='',
            values=[KeyValue(key=key, value=_text(value)) for key, value in report.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def worst(reports: list[tuple[Level, str]]) -> tuple[Level, str]:
    """The highest level, and the messages of all that are not OK, worst first."""
    troubles = sorted((entry for entry in reports if entry[0] > Level.OK), key=lambda entry: -entry[0])
    if not troubles:
        return Level.OK, 'ok'
    return troubles[0][0], '; '.join(message for _, message in troubles)


def _text(value: Any) -> str:
    return f'{value:.3f}'.rstrip('0').rstrip('.') if isinstance(value, float) else str(value)
