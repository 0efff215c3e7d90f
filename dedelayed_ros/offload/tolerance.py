"""What both ends compare to know that they run the model with the same tolerances."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dedelayed_ros.sparse import Calibration


def tolerance_of(calibration: Calibration | None) -> str:
    """A checksum of all that a calibration changes in the results; empty for None, which is exact."""
    if calibration is None:
        return ''
    card = {key: value for key, value in asdict(calibration).items() if key != 'measured'}
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
