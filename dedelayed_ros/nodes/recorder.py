"""An independent witness: subscribes to masks, provenance and diagnostics and writes them down as they come.

It takes no part in making masks. What it writes (:mod:`dedelayed_ros.report.recording`) is what the demo counts: a mask
that nobody received does not exist.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from dedelayed_ros.errors import DedelayedError, InputError
from dedelayed_ros.msg import MaskProvenance
from dedelayed_ros.provenance import Provenance
from dedelayed_ros.report.recording import Diagnostic, RecordingWriter

_DISTROS = {'3': 'humble', '4': 'iron', '7': 'jazzy', '9': 'kilted'}  # by the major version of rclpy


class Recorder(Node):
    """Writes into the folder of its parameter ``folder`` until it is stopped."""

    def __init__(self) -> None:
        super().__init__('recorder')
        folder: str = self.declare_parameter(
            'folder', '', ParameterDescriptor(description='Folder that the recording is written into.', read_only=True)
        ).value
        if not folder:
            raise InputError('the parameter folder is empty; say where to write with --ros-args -p folder:=DIR')
        self._writer = RecordingWriter(Path(folder))
        self.create_subscription(Image, 'segmentation/mask', self._on_mask, qos_profile_sensor_data)
        self.create_subscription(MaskProvenance, 'segmentation/provenance', self._on_provenance, QoSProfile(depth=50))
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=50))
        self._writer.observer({'distro': _distro(), 'rmw': get_rmw_implementation_identifier()})
        self.get_logger().info(f'recording into {folder}')

    def destroy_node(self) -> None:
        """Stop and close the files."""
        self._writer.close()
        super().destroy_node()

    def _on_mask(self, message: Image) -> None:
        arrival_ns = time.time_ns()
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        self._writer.mask(
            rows[:, : message.width],
            stamp_ns=_nanoseconds(message.header),
            arrival_ns=arrival_ns,
            frame_id=message.header.frame_id,
            encoding=message.encoding,
            step=message.step,
        )

    def _on_provenance(self, message: MaskProvenance) -> None:
        self._writer.provenance(
            Provenance(
                sequence=message.sequence,
                stamp_ns=_nanoseconds(message.header),
                source=message.source,
                remote_age_ms=_or_none(message.remote_age_ms),
                predicted_delay_ms=_or_none(message.predicted_delay_ms),
                compute_ratio=message.compute_ratio,
                recompute_ratio=message.recompute_ratio,
                bytes_up=message.bytes_up,
                bytes_down=message.bytes_down,
                stages_ms=dict(zip(message.stage_names, message.stage_ms, strict=True)),
                latency_ms=message.latency_ms,
                scene_cut=message.scene_cut,
                degraded=tuple(message.degraded),
                choice=message.choice,
                decision=message.decision,
                inputs=dict(zip(message.input_names, message.inputs, strict=True)),
            )
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        arrival_ns = time.time_ns()
        for status in message.status:
            level = status.level[0] if isinstance(status.level, bytes) else status.level
            values = {pair.key: pair.value for pair in status.values}
            self._writer.diagnostic(Diagnostic(arrival_ns, status.name, level, status.message, values))


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is interrupted; 2 when it cannot start."""
    rclpy.init(args=argv)
    try:
        node = Recorder()
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except DedelayedError as error:
        print(f'recorder: {error}')
        return 2
    finally:
        rclpy.try_shutdown()
    return 0


def _distro() -> str:
    """Name of the ROS distribution; the wheels of ROS set no ROS_DISTRO, but each distribution has its rclpy."""
    package = Path(rclpy.__file__).parents[4] / 'share' / 'rclpy' / 'package.xml'
    major = ElementTree.parse(package).findtext('version', '').split('.')[0] if package.exists() else ''
    return os.environ.get('ROS_DISTRO') or _DISTROS.get(major, f'unknown (rclpy {major})')


def _nanoseconds(header: object) -> int:
    stamp = header.stamp  # type: ignore[attr-defined]
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def _or_none(value: float) -> float | None:
    """The messages write 'there is none' as NaN."""
    return None if math.isnan(value) else value
