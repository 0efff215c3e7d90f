"""How frames go up in offload mode: as the camera's own H.264, or as shards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dedelayed_ros.link import FrameUp
from dedelayed_ros.offload.novelty import Novelty
from dedelayed_ros.offload.replica import Plan, Sender

if TYPE_CHECKING:
    from dedelayed_ros.frames import EncodedPicture, MotionField
    from dedelayed_ros.link import OffloadClient, PictureClient, ShardClient

SHRINK = 4
"""Pictures are compared at a quarter of their size, on each axis, where only an estimate comes of it."""
REST_S = 2.0
"""After so long in which no frame was wanted of the cloud, no more H.264 goes up until one is (seconds)."""
_KEYFRAME = 6.0  # bytes of a key frame, in those of the picture at hand, before one was seen


class StreamPicture(Protocol):
    """A picture of the camera's H.264 stream; ``reference``: the sequence of the one that it predicts from."""

    @property
    def sequence(self) -> int: ...

    @property
    def reference(self) -> int | None: ...

    @property
    def stamp_ns(self) -> int: ...

    @property
    def picture(self) -> EncodedPicture: ...


class Offer(Protocol):
    """What it would take to send a frame: see :class:`Uplink`."""

    @property
    def ratio(self) -> float:
        """Share of its pixels that the cloud would compute anew, 0–1."""

    @property
    def bytes_up(self) -> float:
        """Expected size, headers included."""

    @property
    def added_bytes(self) -> float:
        """Of ``bytes_up`` those that go up for this frame alone; the others go up whether or not it is sent."""

    @property
    def dense(self) -> bool:
        """Whether the cloud would compute it in full, since it holds nothing that the frame builds on."""


class Uplink(Protocol):
    """One stream's way up. One thread at a time; each frame is planned, and then sent or left."""

    @property
    def client(self) -> OffloadClient:
        """The link."""

    def observe(self, motion: MotionField | None) -> None:
        """A new frame of the stream: ``motion`` from the one before to it; None: not known, or another scene."""

    def obstacle(self, coded: StreamPicture | None) -> str:
        """Why a frame, whose H.264 is ``coded`` if that came, cannot be sent; empty if it can."""

    def plan(self, picture: np.ndarray, coded: StreamPicture | None) -> Offer:
        """What it would take to send the newest frame, ``picture`` uint8 [H, W, 3] of the model's input."""

    def send(self, offer: Offer, sequence: int, stamp_ns: int) -> bool:
        """The dispatcher wants the frame's mask of the cloud: whether it is on its way."""

    def leave(self, coded: StreamPicture | None, *, decided: bool) -> None:
        """The frame's mask is not asked for; ``decided``: because the dispatcher prefers another way."""

    def learn(self, expected: float, recomputed: float) -> None:
        """The cloud recomputed a share of a frame of which ``expected`` was expected, 0–1 both."""

    def reset(self) -> None:
        """The camera counts from the start again."""


class ShardUplink:
    """Frames as what differs from the picture that the cloud holds: only those that the cloud computes go up."""

    def __init__(self, client: ShardClient, size: tuple[int, int], *, bound: int, threshold: int) -> None:
        self.client = client
        self._sender = Sender(size, bound=bound, threshold=threshold)
        self._life = client.life

    def observe(self, motion: MotionField | None) -> None:
        """See :class:`Uplink`."""
        self._sender.observe(motion)

    def obstacle(self, coded: StreamPicture | None) -> str:
        """See :class:`Uplink`; a shard needs no H.264."""
        return self.client.obstacle

    def plan(self, picture: np.ndarray, coded: StreamPicture | None) -> Plan:
        """See :class:`Uplink`."""
        if self.client.life != self._life:
            self._life = self.client.life
            self._sender.reset()
        return self._sender.plan(picture)

    def send(self, offer: Offer, sequence: int, stamp_ns: int) -> bool:
        """See :class:`Uplink`."""
        assert isinstance(offer, Plan)
        self.client.submit(self._sender.pack(offer, sequence=sequence, stamp_ns=stamp_ns))
        return True

    def leave(self, coded: StreamPicture | None, *, decided: bool) -> None:
        """See :class:`Uplink`: nothing is sent."""

    def learn(self, expected: float, recomputed: float) -> None:
        """See :class:`Uplink`: what it sees of a frame is what the engine sees."""

    def reset(self) -> None:
        """See :class:`Uplink`."""
        self._sender.reset()
        self.client.restart()


@dataclass(frozen=True)
class PictureOffer:
    """A frame that could go up as H.264; ``coded`` is the picture, ``picture`` what the model sees of it."""

    picture: np.ndarray
    coded: StreamPicture | None
    ratio: float
    bytes_up: float
    dense: bool
    added_bytes: float


class PictureUplink:
    """The camera's own H.264. Each picture builds on the one before, so all of them go up, and the cloud computes those
    whose masks are wanted; while none is for ``rest_s`` nothing goes up, and then a key frame begins anew.
    """

    def __init__(self, client: PictureClient, size: tuple[int, int], *, threshold: int, rest_s: float = REST_S) -> None:
        self.client = client
        self._novelty = Novelty(size, bound=threshold, shrink=SHRINK)
        self._rest_s = rest_s
        self._wanted_s = time.monotonic()
        self._losses = client.losses
        self._keyframe_bytes = 0.0

    def observe(self, motion: MotionField | None) -> None:
        """See :class:`Uplink`."""
        self._novelty.observe(motion)

    def obstacle(self, coded: StreamPicture | None) -> str:
        """See :class:`Uplink`."""
        if coded is None:
            return 'its H.264 did not come in time'
        return self.client.obstacle_to(keyframe=coded.picture.keyframe)

    def plan(self, picture: np.ndarray, coded: StreamPicture | None) -> PictureOffer:
        """See :class:`Uplink`. While it rests, a frame costs what the key frame will with which it begins again."""
        self._heed_losses()
        size = 0.0 if coded is None else float(len(coded.picture.data))
        keyframe = coded is not None and coded.picture.keyframe
        if keyframe:
            self._keyframe_bytes = size
        ratio = 1.0 if keyframe or self.client.resting else self._novelty.expected(picture)
        if self.client.resting:
            size = max(size, self._keyframe_bytes or _KEYFRAME * size)
        size += FrameUp.OVERHEAD
        return PictureOffer(picture, coded, ratio, size, ratio == 1.0, added_bytes=size)

    def send(self, offer: Offer, sequence: int, stamp_ns: int) -> bool:
        """See :class:`Uplink`. The first frame that is wanted after a rest only wakes it."""
        assert isinstance(offer, PictureOffer)
        self._wanted_s = time.monotonic()
        if self.client.resting:
            self.client.wake()
        if offer.coded is None or not self._submit(offer.coded, answer=True):
            return False
        self._novelty.remember(offer.picture)
        return True

    def leave(self, coded: StreamPicture | None, *, decided: bool) -> None:
        """See :class:`Uplink`: the cloud gets the picture all the same, to decode later ones."""
        if not decided:
            self._wanted_s = time.monotonic()
        elif time.monotonic() - self._wanted_s > self._rest_s:
            self.client.rest()
        if coded is not None:
            self._submit(coded, answer=False)

    def learn(self, expected: float, recomputed: float) -> None:
        """See :class:`Uplink`."""
        self._novelty.learn(expected, recomputed)

    def reset(self) -> None:
        """See :class:`Uplink`."""
        self._novelty.lose()
        self.client.restart()

    def _heed_losses(self) -> None:
        """What the server lost, its next frame does not build on."""
        losses = self.client.losses
        if losses != self._losses:
            self._losses = losses
            self._novelty.lose()

    def _submit(self, coded: StreamPicture, *, answer: bool) -> bool:
        return self.client.submit(coded.picture, coded.sequence, coded.stamp_ns, coded.reference, answer=answer)
