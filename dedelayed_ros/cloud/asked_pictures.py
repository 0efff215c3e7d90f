"""Pictures of a camera's other stream whose masks are asked for, be it before they come or a little after."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros.link import AskUp, Code
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.offload.endpoint import MotionSince
from dedelayed_ros.scene_cut import SceneCuts

if TYPE_CHECKING:
    from dedelayed_ros.cloud.shared_picture import SharedPicture
    from dedelayed_ros.frames import MotionField

WATCH_S = 2.0
"""How long the other stream is watched, and its pictures are kept, after something was asked."""
WAIT_S = 1.0
"""How long an ask waits for its picture."""
_RECENT = 16
"""Pictures that are kept for asks that come after them."""
_WAITING = 32
"""Asks that wait for their pictures; of more the oldest is given up."""


@dataclass(frozen=True)
class Found:
    """A picture that was asked for: uint8 [H, W, 3] of the model's input, and its motion since the one before that was.

    ``motion``: None where it is not known.
    """

    ask: AskUp
    picture: np.ndarray
    motion: MotionField | None


@dataclass(frozen=True)
class Missing:
    """An ask whose mask will not come, and what the robot is told of it."""

    ask: AskUp
    code: Code
    reason: str


@dataclass(frozen=True)
class _Kept:
    sequence: int
    stamp_ns: int
    picture: np.ndarray
    motion: MotionField | None  # since the picture before


class AskedPictures:
    """Brings asks and pictures of another stream together, and keeps account of the motion between those asked for.

    ``size`` (H, W) pixels of the model's input. A picture is what was asked for only if sequence and stamp are; after
    what was missed, lost or cut, motion is not known. What :meth:`forget` and ``bytes`` touch is safe from any thread,
    all else belongs to one.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._lock = threading.Lock()  # guards what is kept
        self._recent: deque[_Kept] = deque()
        self._account = MotionSince()  # up to the first of these
        self._cuts = SceneCuts()
        self._waiting: deque[tuple[AskUp, float]] = deque()
        self._session = 0
        self._newest: int | None = None
        self._decoded: int | None = None
        self._asked_s = 0.0

    @property
    def bytes(self) -> int:
        """Of the pictures that are kept."""
        with self._lock:
            return sum(kept.picture.nbytes for kept in self._recent)

    def forget(self) -> None:
        """Let go of all pictures: of the next one that is asked for no motion is known."""
        with self._lock:
            self._recent.clear()
            self._account.lose()

    def lose(self) -> None:
        """The model computed another picture meanwhile: of the next one that is asked for no motion is known."""
        with self._lock:
            self._account.lose()

    def keep_ready(self, now_s: float) -> None:
        """Something may be asked for soon."""
        self._asked_s = now_s

    def ask(self, ask: AskUp, now_s: float) -> list[Found | Missing]:
        """What becomes of an ask, later than all before, and of those that wait; empty: it waits for its picture."""
        self.keep_ready(now_s)
        given_up: list[Found | Missing] = []
        if len(self._waiting) == _WAITING:
            given_up = [_missing(self._waiting.popleft()[0], f'was not here before {_WAITING} others were asked for')]
        self._waiting.append((ask, now_s))
        return given_up + self._settled()

    def show(self, shown: SharedPicture) -> list[Found | Missing]:
        """The next picture of the other stream, or that it cannot be decoded; what becomes of asks that waited."""
        missing: list[Found | Missing] = []
        if shown.session != self._session:
            self.forget()
            self._cuts.reset()
            self._session, self._decoded = shown.session, None
            missing = [_missing(ask, 'is of a stream that ended') for ask, _ in self._waiting]
            self._waiting.clear()
        self._newest, decoded = shown.sequence, shown.decoded
        if decoded is not None:
            before, self._decoded = self._decoded, shown.sequence
            picture = np.ascontiguousarray(scaled(decoded.image, self._size))
            cut = self._cuts.is_cut(picture, decoded.intra_ratio, decoded.keyframe)
            motion = None if cut or shown.reference != before else decoded.motion
            with self._lock:
                self._recent.append(_Kept(shown.sequence, shown.stamp_ns, picture, motion))
                if len(self._recent) > _RECENT:
                    self._account.observe(self._recent.popleft().motion)
        return missing + self._settled()

    def look_after(self, now_s: float) -> list[Missing]:
        """Asks that waited for too long; and nothing is kept when nobody asks."""
        late = []
        while self._waiting and now_s - self._waiting[0][1] >= WAIT_S:
            late.append(_missing(self._waiting.popleft()[0], f'did not come within {WAIT_S:g} s'))
        if self._recent and now_s - self._asked_s >= WATCH_S:
            self.forget()
        return late

    def due_s(self, now_s: float) -> float | None:
        """How long until :meth:`look_after` has something to do; None: nothing."""
        moments = [self._waiting[0][1] + WAIT_S] if self._waiting else []
        if self._recent:
            moments.append(self._asked_s + WATCH_S)
        return max(0.0, min(moments) - now_s) if moments else None

    def _settled(self) -> list[Found | Missing]:
        settled: list[Found | Missing] = []
        while self._newest is not None and self._waiting and self._waiting[0][0].sequence <= self._newest:
            settled.append(self._found(self._waiting.popleft()[0]))
        return settled

    def _found(self, ask: AskUp) -> Found | Missing:
        with self._lock:
            kept = next((kept for kept in self._recent if kept.sequence == ask.sequence), None)
            if kept is None:
                return _missing(ask, 'was not decoded, or is not kept any more')
            if kept.stamp_ns != ask.stamp_ns:
                reason = f'has the stamp {kept.stamp_ns}, the one that was asked for has {ask.stamp_ns}'
                return Missing(ask, Code.REFUSED, f"frame {ask.sequence} of the camera's other stream {reason}")
            while self._recent and self._recent[0].sequence <= ask.sequence:
                self._account.observe(self._recent.popleft().motion)
            return Found(ask, kept.picture, self._account.take())


def _missing(ask: AskUp, what: str) -> Missing:
    return Missing(ask, Code.NEED_KEYFRAME, f"frame {ask.sequence} of the camera's other stream {what}")
