"""The robot's end of the link: pictures go up, features come down, and whatever the network does is only a status."""

from __future__ import annotations

import time
from collections.abc import Callable

from dedelayed_ros.link.connection import Connection
from dedelayed_ros.link.flight import Sent
from dedelayed_ros.link.formats import FeatureFormat, PlainFormat
from dedelayed_ros.link.outgoing import Outgoing, Picture
from dedelayed_ros.link.records import FeatureRecord, LinkStatus
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.wire import FeaturesDown, Hello, WireError


class CloudClient(Connection):
    """Keeps one camera's stream connected to a cloud server, for ever, and never makes the camera wait.

    `submit` may be called from any thread. `on_features`, `on_status` and `request_keyframe` are called from one thread
    of the client's own and must return soon. After `start` nothing about the network raises: see `status`.

    Args:
        settings: where and how.
        hello: what this robot expects of the cloud; session and stamp are filled in here.
        on_features: takes each answer, newest last; older ones than the last delivered are dropped.
        on_status: told when the connection or its reason changes.
        request_keyframe: asks the camera to make its next picture a key frame.

    Raises:
        LinkError: an endpoint or name that cannot be used at all.
    """

    _outgoing: Outgoing
    _sends_video = True

    def __init__(
        self,
        settings: LinkSettings,
        hello: Hello,
        on_features: Callable[[FeatureRecord], None],
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        request_keyframe: Callable[[], None] = lambda: None,
        *,
        feature_format: FeatureFormat | None = None,
    ) -> None:
        outgoing = Outgoing(hello.camera_size, max_in_flight=settings.max_in_flight, max_age_s=settings.max_age_s)
        super().__init__(settings, hello, outgoing, FeaturesDown, on_status, request_keyframe)
        self._shape = hello.feature_shape
        self._on_features = on_features
        self._format = feature_format or PlainFormat()

    def submit(self, picture: Picture, sequence: int, stamp_ns: int, reference: int | None = None) -> None:
        """Offers a picture for sending and returns at once.

        `reference` is the sequence of the picture that this one predicts from; None means the one submitted before. A
        picture that cannot be sent now is dropped and counted, and so are all up to the next key frame, which is asked
        for.
        """
        with self._lock:
            self._counts['submitted'] += 1
            if self._outgoing.restarted(picture, sequence, stamp_ns):
                self._contact.lost('the camera started again; saying hello for its new stream', time.monotonic())
            self._contact.wanted()
            connected = self._contact.connected and not self._stopping
            if self._outgoing.offer(picture, sequence, stamp_ns, reference, connected=connected):
                self._lock.notify_all()

    def _pack(self) -> bytes | None:
        """The record of the next picture, now in flight (lock held)."""
        now_ns = time.monotonic_ns()
        age_ms = self._outgoing.next_age_ms(self._settings.clock_ns())
        waiting_ms = max(self._contact.round_trip_ms, self._outgoing.flight.waiting_ms(now_ns))
        predicted_ms = self._delays.predict(now_ns / 1e9, at_least_ms=age_ms + waiting_ms)
        packed = self._outgoing.pack_next(now_ns, age_ms, predicted_ms, self._contact.worker)
        if packed is not None:
            self._on_its_way(len(packed), now_ns / 1e9)
        return packed

    def _deliver(self, record: FeaturesDown, sent: Sent, bytes_up: int, bytes_down: int) -> None:
        try:
            features = self._format.unpack(record.data)
            if features.shape != record.shape or features.shape != self._shape:
                raise WireError('value', f'features of shape {features.shape}, this robot expects {self._shape}')
        except WireError as error:
            self._complain(error)
            return
        now_ns = time.monotonic_ns()
        round_trip_ms = (now_ns - sent.sent_ns) / 1e6
        with self._lock:
            self._counts['received'] += 1
            self._round_trips.observe(round_trip_ms, now_ns / 1e9)
            self._delays.observe(sent.capture_age_ms + round_trip_ms, now_ns / 1e9)
        delivered = FeatureRecord(
            sent.sequence, sent.stamp_ns, features, sent.predicted_delay_ms, round_trip_ms,
            record.queue_ms + record.server_ms, bytes_up, bytes_down,
        )  # fmt: skip
        self._call(lambda: self._on_features(delivered))
