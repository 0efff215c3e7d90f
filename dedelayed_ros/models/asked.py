"""What a stream's state of the remote model is asked about; without torch, which a server has yet to load then."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Asked(NamedTuple):
    """A stream's next frame: the arguments of :meth:`dedelayed_ros.models.RemoteStream.step`."""

    image: np.ndarray
    stamp_ns: int
    delay_ms: float
