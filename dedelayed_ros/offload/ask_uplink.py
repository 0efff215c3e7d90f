"""How frames go up where the camera's stream goes up anyway: as asks for pictures of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros.link import AskUp
from dedelayed_ros.offload.uplink import Offer, PictureOffer, PictureUplink, StreamPicture

if TYPE_CHECKING:
    from dedelayed_ros.link import AskClient


class AskUplink(PictureUplink):
    """Pictures that the camera's other stream takes up are only asked for; without that one they are sent, as
    :class:`~dedelayed_ros.offload.uplink.PictureUplink` does.

    A frame that is asked for waits for its picture all the same, and so its latency counts that: only no more goes up.
    """

    client: AskClient

    def plan(self, picture: np.ndarray, coded: StreamPicture | None) -> PictureOffer:
        """See :class:`~dedelayed_ros.offload.uplink.Uplink`."""
        if coded is None or not self.client.asks:
            return super().plan(picture, coded)
        self._heed_losses()
        ratio = 1.0 if coded.picture.keyframe else self._novelty.expected(picture)
        size = float(len(coded.picture.data))
        return PictureOffer(picture, coded, ratio, size + AskUp.OVERHEAD, ratio == 1.0, added_bytes=AskUp.OVERHEAD)

    def send(self, offer: Offer, sequence: int, stamp_ns: int) -> bool:
        """See :class:`~dedelayed_ros.offload.uplink.Uplink`."""
        assert isinstance(offer, PictureOffer)
        if offer.added_bytes == offer.bytes_up:
            return super().send(offer, sequence, stamp_ns)
        coded = offer.coded
        assert coded is not None
        if not self.client.ask(coded.sequence, coded.stamp_ns, len(coded.picture.data)):
            return False
        self._novelty.remember(offer.picture)
        return True

    def leave(self, coded: StreamPicture | None, *, decided: bool) -> None:
        """See :class:`~dedelayed_ros.offload.uplink.Uplink`: nothing goes up where pictures are asked for."""
        if not self.client.asks:
            super().leave(coded, decided=decided)
