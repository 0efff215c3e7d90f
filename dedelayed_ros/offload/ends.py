"""What each end of the offload mode takes for a frame, learned from the frames themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.link import MaskRecord

_LEAST = 0.25
"""Share of a dense frame's time that one takes of which nothing is new, until it was measured."""
_WEIGHT = 0.2
"""Of the newest answer in what answers take beyond what is known of them."""
_STALE_S = 20.0
"""In which what an end took is half forgotten while nobody asks it: it may have become faster, and is tried again."""
_REFINE = 0.1
"""Weight of a measurement in a profile that was refined a moment ago."""
_HALF_LIFE_S = 2.0
"""In which half is forgotten of what answers had to wait for."""


@dataclass
class End:
    """What one end takes, refined by each frame that it computes.

    The longer ago that was, the less it says: an end that was too slow to be asked is expected to take less and less,
    down to half, until it is asked again; what it takes then counts the more.
    """

    profile: LatencyProfile | None
    learned_s: float | None = None

    @property
    def _age(self) -> float:
        """Since it was last learned from, 1 being ``_STALE_S``."""
        return 0.0 if self.learned_s is None else (time.monotonic() - self.learned_s) / _STALE_S

    def learn(self, ratio: float, ms: float) -> None:
        weight = min(max(self._age, _REFINE), 1.0)
        self.learned_s = time.monotonic()
        if self.profile is not None:
            self.profile = self.profile.refined(ratio, ms, weight)
        elif ratio > 0:
            dense = ms / (_LEAST + (1 - _LEAST) * ratio)
            self.profile = LatencyProfile(np.array([0.0, 1.0]), np.array([_LEAST * dense, dense]))

    def __call__(self, ratio: float) -> float | None:
        return None if self.profile is None else self.profile(ratio) * max(0.5**self._age, 0.5)


@dataclass
class Ends:
    """Both ends, and what lies between them as the cloud's answers tell."""

    edge: End
    cloud: End
    bytes_down: float = 0.0
    queue_ms: float = 0.0
    coding_ms: float = 0.0  # what an answer took beyond everything that is known of it
    uplink_seen: bool = False  # whether the uplink's bandwidth was ever measured
    learned: int = -1  # sequence of the answer that was learned from last
    learned_s: float = 0.0

    @property
    def fading(self) -> float:
        """How much what the last answer waited for still says, 0–1: a queue is not for ever."""
        return float(0.5 ** ((time.monotonic() - self.learned_s) / _HALF_LIFE_S))

    @property
    def waiting_ms(self) -> float:
        """For how long a frame would still wait in the server's queue: it is worked off, and forgotten."""
        since_ms = (time.monotonic() - self.learned_s) * 1e3
        return min(self.queue_ms * self.fading, max(self.queue_ms - since_ms, 0.0))

    def learn(self, answer: MaskRecord, propagation_ms: float, uplink_kbps: float | None) -> None:
        """What an answer tells, whether or not it came in time."""
        if answer.sequence == self.learned:
            return
        self.coding_ms *= self.fading
        self.learned, self.learned_s = answer.sequence, time.monotonic()
        self.cloud.learn(answer.recompute_ratio, answer.server_ms)
        self.bytes_down, self.queue_ms = answer.bytes_down, answer.queue_ms
        transfer_ms = answer.frame_bytes * 8 / uplink_kbps if uplink_kbps else 0.0
        known_ms = answer.queue_ms + answer.server_ms + 2 * propagation_ms + transfer_ms
        self.coding_ms += _WEIGHT * (max(0.0, answer.round_trip_ms - known_ms) - self.coding_ms)
