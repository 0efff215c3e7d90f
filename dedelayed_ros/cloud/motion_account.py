"""The motion from the picture that was computed last to the newest one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField


class MotionAccount:
    """Composes motion picture by picture; where one of them is not known, the whole is not."""

    def __init__(self) -> None:
        self.lose()

    def lose(self) -> None:
        """Nothing is known until the next picture is computed."""
        self._motion: MotionField | None = None
        self._known = False

    def observe(self, motion: MotionField | None) -> None:
        """The next picture; ``motion`` from the one before to it, None: not known."""
        if motion is None:
            self.lose()
        elif self._known:
            self._motion = motion if self._motion is None else self._motion.compose(motion)

    def take(self) -> MotionField | None:
        """The newest picture is computed: its motion since the last one that was; None: not known."""
        motion, self._motion, self._known = self._motion, None, True
        return motion
