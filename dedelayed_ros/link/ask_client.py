"""The robot's end of an offloaded stream whose pictures go up in the camera's other stream, and are only asked for."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from dedelayed_ros.link.flight import Sent
from dedelayed_ros.link.offload_records import AskUp, MaskDown
from dedelayed_ros.link.picture_client import PictureClient, Pictures
from dedelayed_ros.link.records import LinkStatus
from dedelayed_ros.link.sharing import Sharing
from dedelayed_ros.link.wire import Code, Notice, WireError

_VAIN_S = 1.0
"""After so long in which the cloud had none of the pictures that were asked for, they are sent."""


@dataclass(frozen=True)
class _Ask:
    sequence: int
    stamp_ns: int
    picture_bytes: int
    answer: bool = True


_QUESTION = _Ask(0, 0, 0, answer=False)


class _Asks(Pictures):
    """What is asked for, and the pictures where they have to be sent."""

    def __init__(self, camera_size: tuple[int, int], *, max_in_flight: int, max_age_s: float) -> None:
        self.sharing = Sharing()
        self.asks: deque[_Ask] = deque()
        self.wanted: set[int] = set()
        """Frames that were asked for and whose masks may still come."""
        self.breaks = 0
        """How often what was asked for was in vain, or the way of the pictures changed."""
        self.vain_s: float | None = None
        """Since when no picture that was asked for was there."""
        super().__init__(camera_size, max_in_flight=max_in_flight, max_age_s=max_age_s)
        self.resting = True  # until it is known that pictures have to be sent
        self.most = max_in_flight

    @property
    def in_flight(self) -> int:
        return len(self.asks) + super().in_flight

    def drop_pending(self, reason: str) -> None:
        self.dropped[reason] += sum(ask.answer for ask in self.asks)
        self.asks.clear()
        self.wanted.clear()
        super().drop_pending(reason)

    def begin_again(self) -> None:
        self.sharing.forget()
        super().begin_again()
        self.resting = True


class AskClient(PictureClient):
    """Asks for masks of pictures that the camera's other stream takes up (:meth:`ask`), where the cloud has that; else
    it sends them itself, as :class:`~dedelayed_ros.link.picture_client.PictureClient`, and asks again now and then.

    `LinkStatus.pictures` says which way they go, and why; `on_status` is told when that changes.
    """

    _outgoing: _Asks
    _pictures: ClassVar[type[Pictures]] = _Asks
    _sends_video: ClassVar[bool] = False  # the camera's other stream looks after the rate

    @property
    def asks(self) -> bool:
        """Whether pictures are asked for, and not sent."""
        with self._lock:
            return bool(self._outgoing.sharing.agreed)

    @property
    def losses(self) -> int:
        """How often the server lost track of the motion up to the next frame."""
        with self._lock:
            return self._outgoing.chain.losses + self._outgoing.breaks

    def obstacle_to(self, *, keyframe: bool) -> str:
        """Why the mask of a picture cannot be had right now; empty if it can."""
        with self._lock:
            outgoing = self._outgoing
            self._contact.wanted()
            if unconnected := self._unconnected():
                return unconnected
            if outgoing.sharing.agreed is None:
                return 'the cloud has not said yet whether it has the pictures'
            if outgoing.sharing.agreed:
                return 'the uplink is busy with earlier frames' if outgoing.in_flight >= outgoing.most else ''
        return super().obstacle_to(keyframe=keyframe)

    def ask(self, sequence: int, stamp_ns: int, picture_bytes: int) -> bool:
        """Asks for the mask of a picture, later than all before, and returns at once: whether it will be on its way.

        ``picture_bytes``: of the picture itself, which the other stream takes up.
        """
        with self._lock:
            outgoing = self._outgoing
            if not outgoing.sharing.agreed or self._unconnected() or self._stopping:
                return False
            self._counts['submitted'] += 1
            outgoing.asks.append(_Ask(sequence, stamp_ns, picture_bytes))
            outgoing.wanted.add(sequence)
            self._ask(sequence)
            self._lock.notify_all()
            return True

    # -- with the lock held

    def _expects(self, sequence: int) -> bool:
        return sequence in self._outgoing.wanted or super()._expects(sequence)

    def _sendable(self) -> bool:
        asks = bool(self._outgoing.asks) and self._publisher is not None and self._contact.connected
        return asks or super()._sendable()

    def _pack(self) -> bytes | None:
        outgoing = self._outgoing
        if not outgoing.asks:
            return super()._pack()
        ask, now_ns = outgoing.asks.popleft(), time.monotonic_ns()
        try:
            packed = AskUp(
                ask.sequence, ask.stamp_ns, now_ns, outgoing.session, self._contact.worker, ask.answer
            ).pack()
        except WireError as error:
            self._dropped[f'cannot be sent: {error.code}'] += 1
            outgoing.wanted.discard(ask.sequence)
            return None
        self._up.add(len(packed), now_ns / 1e9)
        if ask.answer:
            self._counts['sent'] += 1
            outgoing.flight.send(
                Sent(ask.sequence, ask.stamp_ns, now_ns, 0.0, 0.0, len(packed), shared=ask.picture_bytes)
            )
        return packed

    def _look_after(self, now_s: float) -> None:
        outgoing = self._outgoing
        if not self._contact.connected:
            self._lock.notify_all()  # nothing that was asked for will come
            return
        if outgoing.sharing.question_due(now_s):
            outgoing.asks.append(_QUESTION)
            self._lock.notify_all()
        self._forget(now_s)
        over = {sequence for sequence in outgoing.wanted if sequence not in self._asked}
        outgoing.wanted -= over
        if any(sequence > self._newest for sequence in over):
            self._in_vain('masks that were asked for did not come', now_s)
        if outgoing.sharing.agreed:
            self._probe_if_due(now_s)  # asks are too small to tell the bandwidth

    def _noticed(self, notice: Notice) -> None:
        outgoing, now_s = self._outgoing, time.monotonic()
        if notice.code == Code.SHARED:
            self._begin_asking(now_s)
            return
        if notice.code != Code.ACK and notice.sequence in outgoing.wanted:
            outgoing.wanted.discard(notice.sequence)
            self._dropped[f'cloud: {notice.code.name.lower()}'] += 1
            if notice.code == Code.REFUSED:
                self._stop_asking(notice.text, now_s)
            else:
                self._in_vain(notice.text, now_s)
            self._lock.notify_all()
            return
        # An older server cannot read the question.
        if notice.code in (Code.REFUSED, Code.MALFORMED) and outgoing.sharing.open and not notice.sequence:
            outgoing.sharing.refuse(notice.text, now_s)
        super()._noticed(notice)

    def _begin_asking(self, now_s: float) -> None:
        """The cloud has the pictures: they are not sent any more."""
        outgoing = self._outgoing
        if outgoing.sharing.open and not outgoing.sharing.agreed:
            losses = outgoing.chain.losses
            outgoing.resting = True
            outgoing.chain.lose()
            outgoing.chain.losses = losses  # masks of what was sent still come
            outgoing.sharing.agree(now_s)
            self._outgoing.breaks += 1
            self._outgoing.vain_s = None

    def _stop_asking(self, reason: str, now_s: float) -> None:
        outgoing = self._outgoing
        outgoing.sharing.refuse(reason, now_s)
        outgoing.asks.clear()
        outgoing.wanted.clear()
        self._outgoing.breaks += 1

    def _in_vain(self, reason: str, now_s: float) -> None:
        """A picture that was asked for is not there."""
        self._outgoing.breaks += 1
        self._outgoing.vain_s = now_s if self._outgoing.vain_s is None else self._outgoing.vain_s
        if self._outgoing.sharing.agreed and now_s - self._outgoing.vain_s > _VAIN_S:
            self._stop_asking(reason, now_s)

    def _status(self) -> LinkStatus:
        sharing = self._outgoing.sharing
        told = {None: '', True: 'asked for', False: f'sent once more: {sharing.reason}'}
        return replace(super()._status(), pictures=told[sharing.agreed] if self._contact.connected else '')

    # -- without it

    def _deliver(self, record: Any, sent: Sent, bytes_up: int, bytes_down: int) -> None:
        assert isinstance(record, MaskDown)
        super()._deliver(record, sent, bytes_up, bytes_down)
        with self._lock:
            if sent.shared:
                self._outgoing.vain_s = None
            self._outgoing.wanted = {sequence for sequence in self._outgoing.wanted if sequence > self._newest}
