"""What the link hands to the rest of the robot: answered features, and how the link is doing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FeatureRecord:
    """Remote features of one camera frame, as they became usable on the robot."""

    sequence: int
    """The frame they describe, in the camera's own numbering."""
    stamp_ns: int
    """That frame's camera stamp."""
    features: np.ndarray
    """float32 [C, h, w], in the coordinates the model promises (zoo entry)."""
    predicted_delay_ms: float
    """The delay from capture to use that the model was told."""
    round_trip_ms: float
    """From sending the picture to having the features, on the robot's clock."""
    server_ms: float
    """Of which the server's: waiting for the model, model and packing."""
    bytes_up: int
    """Bytes sent since the last delivered features: this frame and those that the server passed over."""
    bytes_down: int
    """Bytes of the answer."""


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of recent measurements, in milliseconds; NaN before the first."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class LinkStatus:
    """How the link to the cloud is doing, for diagnostics and the dispatcher."""

    connected: bool
    """The cloud accepted this stream and answers."""
    reason: str
    """Why it is not connected and what is being done; empty when it is."""
    worker: str
    """Name of the server that serves the stream, empty when none does."""
    round_trip_ms: Quantiles
    predicted_delay_ms: float
    """What the next frame will be told: capture to usable."""
    in_flight: int
    """Frames sent and not yet acknowledged."""
    submitted: int
    sent: int
    received: int
    """Feature records delivered."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Pictures and records not used, by reason."""
    keyframe_requests: int = 0
    kbps_up: float = 0.0
    kbps_down: float = 0.0
    uplink_capacity_kbps: float | None = None
    """What the uplink could carry, as far as it was seen; None when unknown."""
    uplink_limit_kbps: float = math.inf
    """The most that the camera is asked to send, since the uplink carries no more; infinite without a limit."""
    pictures: str = ''
    """Where they may go up in another stream of the camera: whether they are asked for there, or sent once more and
    why; empty where there is no choice or it is not known yet."""
