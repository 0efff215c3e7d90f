"""Whether the cloud takes pictures of one stream of a camera out of the other, as far as a robot knows."""

from __future__ import annotations

import math

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
_REPEAT_S = 1.0
_SILENCE_S = 2.0
"""A cloud that does not answer the question for so long is one that cannot."""
_STEADY_S = 10.0
"""What held for so long was no flapping: after it, the next question comes soon."""


class Sharing:
    """What the cloud said to the question, and when to ask it (again). Reads no clock: it is told the time (seconds).

    After a refusal it is asked again after a pause, which grows from 0.5 to 8 s unless an agreement held for 10 s.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another server, or another life of the stream: nothing is known."""
        self.agreed: bool | None = None
        """None: the cloud has not said yet."""
        self.reason = ''
        """Why it does not; empty where it does or nothing is known."""
        self._asked_s: float | None = None  # since when a question is open
        self._next_s = -math.inf
        self._pause_s = FIRST_PAUSE_S
        self._since_s = 0.0

    @property
    def open(self) -> bool:
        """Whether a question was asked that has no answer yet."""
        return self._asked_s is not None

    def question_due(self, now_s: float) -> bool:
        """Whether to ask now; counts as asked."""
        if self._asked_s is not None and self.agreed is None and now_s - self._asked_s > _SILENCE_S:
            self.refuse('the cloud does not answer whether it has them', now_s)
        if self.agreed or now_s < self._next_s:
            return False
        self._next_s = now_s + max(_REPEAT_S, self._pause_s)
        self._asked_s = now_s if self._asked_s is None else self._asked_s
        return True

    def agree(self, now_s: float) -> None:
        """Pictures can be asked for."""
        if not self.agreed:
            self._since_s = now_s
        self.agreed, self.reason, self._asked_s = True, '', None

    def refuse(self, reason: str, now_s: float) -> None:
        """They cannot (any more)."""
        steady = self.agreed is None or (self.agreed and now_s - self._since_s > _STEADY_S)
        self._pause_s = FIRST_PAUSE_S if steady else min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.agreed, self.reason, self._asked_s = False, reason, None
        self._next_s = now_s + self._pause_s
