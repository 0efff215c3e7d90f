"""What is known of the way up to the cloud: its shortest trip, its bandwidth, and how much the camera may send."""

from __future__ import annotations

import math

from dedelayed_ros.link.estimators import BandwidthEstimator, DelayEstimator
from dedelayed_ros.link.flight import Arrived
from dedelayed_ros.link.uplink_rate import UplinkRate

_BULKY = 8000
"""Bytes from which on a picture's own transfer time stands out of the round trip."""
_LEAST_S = 1e-3
"""A transfer that is not told from none took as long: of a fast link only a lower bound can be seen."""


class WayUp:
    """Round trips of what was sent, and what they tell. Not thread-safe: its owner serialises the calls. Times are in
    seconds, round trips in ms.
    """

    def __init__(self, rate: UplinkRate | None) -> None:
        """``rate`` limits the camera's H.264; None: nobody wants to know, or something else goes up."""
        self.trips = DelayEstimator(quantile=0.01)
        self.bandwidth = BandwidthEstimator()
        self.limit_kbps = math.inf
        """The most that the camera should send; see UplinkRate."""
        self._rate = rate
        self._refused = 0  # as the rate was last told
        self._told = False

    def sent(self, size: int, now_s: float) -> None:
        """A picture of so many bytes was handed to the network."""
        if self._rate is not None:
            self._rate.sent(size, now_s)

    def arrived(self, arrived: Arrived, trip_ms: float, hello_ms: float, now_s: float) -> None:
        """A picture's acknowledgement came, `trip_ms` after it was sent; `hello_ms` is the round trip of a hello."""
        self.trips.observe(trip_ms, now_s)
        if self._rate is not None:
            self._rate.arrived(arrived.size, trip_ms - self.shortest_ms(hello_ms, now_s), now_s)
        if arrived.sent.size >= _BULKY:
            self.transferred(arrived.sent.size, trip_ms, hello_ms, now_s)

    def transferred(self, size: int, trip_ms: float, hello_ms: float, now_s: float) -> None:
        """`size` bytes made the round trip in `trip_ms`: what is beyond the shortest that there was is their own."""
        transfer_s = (trip_ms - self.shortest_ms(hello_ms, now_s)) / 1e3
        self.bandwidth.observe(size, max(transfer_s, _LEAST_S), now_s)

    def shortest_ms(self, hello_ms: float, now_s: float) -> float:
        """Round trip of as little as possible: of a hello, or of a small frame's acknowledgement."""
        if math.isnan(self.trips.quantiles(now_s).p50):
            return hello_ms
        return min(hello_ms, self.trips.predict(now_s))

    def limited(self, waiting_ms: float, hello_ms: float, refused: int, now_s: float) -> bool:
        """Whether the limit is another now, or has never been told. `waiting_ms`: how long the oldest picture is on its
        way; `refused`: how many there has been no room for, in all.
        """
        if self._rate is None:
            return False
        if refused > self._refused:
            self._rate.refused()
        self._refused = refused
        limit = self._rate.limit(now_s, waiting_ms - self.shortest_ms(hello_ms, now_s))
        changed = limit != self.limit_kbps or not self._told
        self.limit_kbps, self._told = limit, True
        return changed
