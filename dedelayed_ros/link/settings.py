"""What a robot's link is told at its start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dedelayed_ros.link.contact import Timing


@dataclass(frozen=True)
class LinkSettings:
    """Where the cloud is and how patient the robot is with it."""

    endpoint: str = 'tcp/127.0.0.1:7447'
    robot: str = 'robot'
    camera: str = 'camera'
    config: Path | None = None
    """A Zenoh configuration file (certificates, access control), see config/zenoh."""
    max_in_flight: int = 12
    """Pictures waiting or sent and not yet acknowledged; with more, pictures are dropped until a key frame."""
    start_delay_ms: float = 150.0
    """Delay that is predicted before any was measured."""
    delay_quantile: float = 0.9
    max_age_s: float = 2.0
    """An answer to a picture sent longer ago is dropped as stale."""
    limit_uplink: Callable[[float], None] | None = None
    """Told, from a thread of the link, the most that the camera's H.264 should take (kbit/s, infinite: whatever it
    likes): at first, and when that changes; see UplinkRate. None: nobody wants to know."""
    least_uplink_kbps: float = 500.0
    """To less than this the camera is never limited."""
    timing: Timing = field(default_factory=Timing)
    clock_ns: Callable[[], int] = time.time_ns
    """The clock of the camera's stamps, in ns: time.time_ns, or ROS time where that is simulated."""
