"""The robot's end of an offloaded stream that goes up as the camera's own H.264."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from dedelayed_ros.link.chain import SendChain
from dedelayed_ros.link.offload_client import OffloadClient
from dedelayed_ros.link.offload_records import OffloadHello
from dedelayed_ros.link.outgoing import Outgoing, Picture
from dedelayed_ros.link.records import LinkStatus
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.wire import WireError


class _Chain(SendChain):
    """Counts how often what was sent turned out not to be with the server."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0

    def lose(self, sequence: int | None = None) -> None:
        super().lose(sequence)
        self.losses += not self.whole


class Pictures(Outgoing):
    """The camera's H.264 on its way, which may rest: then nothing is sent, and no key frame asked for."""

    chain: _Chain

    def __init__(self, camera_size: tuple[int, int], *, max_in_flight: int, max_age_s: float) -> None:
        super().__init__(camera_size, max_in_flight=max_in_flight, max_age_s=max_age_s)
        self.chain = _Chain()
        self.resting = False

    def keyframe_due(self, now_s: float) -> bool:
        return not self.resting and super().keyframe_due(now_s)


class PictureClient(OffloadClient):
    """Sends the camera's own H.264: every picture, since each builds on the one before, whether or not its mask is
    wanted. ``request_keyframe`` asks the camera for one where a picture is missing.
    """

    _outgoing: Pictures
    _pictures: ClassVar[type[Pictures]] = Pictures
    _sends_video: ClassVar[bool] = True

    def __init__(
        self,
        settings: LinkSettings,
        hello: OffloadHello,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        request_keyframe: Callable[[], None] = lambda: None,
    ) -> None:
        if hello.camera_size is None:
            raise WireError('value', 'the hello of an H.264 stream has to say of what size its pictures are')
        outgoing = self._pictures(hello.camera_size, max_in_flight=settings.max_in_flight, max_age_s=settings.max_age_s)
        super().__init__(settings, hello, outgoing, on_status, request_keyframe)
        self._wanted: dict[int, int] = {}  # frames whose masks may still come, and the losses before they were sent

    @property
    def losses(self) -> int:
        """How often what was sent turned out not to be with the server."""
        with self._lock:
            return self._outgoing.chain.losses

    def obstacle_to(self, *, keyframe: bool) -> str:
        """Why a picture cannot be sent right now; empty if it can. A key frame builds on nothing."""
        with self._lock:
            return self._unconnected() or ('' if keyframe else self._busy())

    def rest(self) -> None:
        """Send no pictures until :meth:`wake`; after that, none before a key frame."""
        with self._lock:
            if not self._outgoing.resting:
                self._outgoing.resting = True
                self._outgoing.chain.lose()

    def wake(self) -> None:
        """Send pictures again, from the next key frame on, which is asked for."""
        with self._lock:
            self._outgoing.resting = False
            self._contact.wanted()
            self._lock.notify_all()

    @property
    def resting(self) -> bool:
        """Whether nothing is sent because nobody wants it."""
        with self._lock:
            return self._outgoing.resting

    def submit(
        self, picture: Picture, sequence: int, stamp_ns: int, reference: int | None = None, *, answer: bool
    ) -> bool:
        """Sends the next picture and returns at once: whether it will be on its way. ``answer``: its mask is wanted.

        ``reference`` is the sequence of the picture that it predicts from; None: the one before.
        """
        with self._lock:
            if self._outgoing.resting:
                return False
            self._counts['submitted'] += 1
            self._contact.wanted()
            connected = self._contact.connected and not self._stopping
            losses = self._outgoing.chain.losses
            taken = self._outgoing.offer(picture, sequence, stamp_ns, reference, connected=connected, answer=answer)
            # A picture that was not taken breaks the chain for those after it; those before it are on their way.
            self._outgoing.chain.losses = losses
            if taken and answer:
                self._wanted = {n: known for n, known in self._wanted.items() if n > self._newest}
                self._wanted[sequence] = losses
                self._ask(sequence)
            self._lock.notify_all()
            return taken

    def _busy(self) -> str:
        if self._outgoing.resting:
            return ''
        return '' if self._outgoing.chain.whole else 'the cloud waits for a key frame'

    def _expects(self, sequence: int) -> bool:
        return self._wanted.get(sequence) == self._outgoing.chain.losses

    def _new_session(self) -> None:
        self._wanted.clear()
        self._outgoing.new_session()

    def _pack(self) -> bytes | None:
        now_ns = time.monotonic_ns()
        packed = self._outgoing.pack_next(now_ns, 0.0, 0.0, self._contact.worker)
        if packed is not None:
            self._on_its_way(len(packed), now_ns / 1e9)
        return packed
