"""How much of a frame an end of the stream would have to compute, estimated without computing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros.frames import resize
from dedelayed_ros.link import predict
from dedelayed_ros.link.shard import changed
from dedelayed_ros.offload.endpoint import MotionSince
from dedelayed_ros.reuse import at_input

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_BIAS_WEIGHT = 0.2  # of the newest frame in how far estimates were off
_MOST_BIAS = 8.0


class Novelty:
    """The share of each new frame that one end would compute anew, as far as its pixels tell.

    ``size`` (H, W) of the model's input, ``bound`` (0–255) what its threshold puts up with. ``shrink``: pictures are
    compared at so many times fewer pixels on each axis, which takes that much less time. How far the estimates are from
    what the engine does is learned (:meth:`learn`): it computes tiles, or layers, where this sees pixels.
    """

    def __init__(self, size: tuple[int, int], *, bound: int = 0, shrink: int = 1) -> None:
        self._size = size
        self._small = (max(1, size[0] // shrink), max(1, size[1] // shrink))
        self._bound = bound
        self._since = MotionSince()
        self._picture: np.ndarray | None = None
        self._bias = 1.0

    def lose(self) -> None:
        """What the end remembers is not known (any more)."""
        self._since.lose()

    def observe(self, motion: MotionField | None) -> None:
        """A new frame of the stream: ``motion`` from the one before to it; None: not known, or another scene."""
        self._since.observe(motion)

    def remember(self, picture: np.ndarray) -> None:
        """The end computes the newest frame, uint8 [H, W, 3], and remembers it."""
        self._picture = self._shrunk(picture)
        self._since.begin()

    def learn(self, estimated: float, measured: float) -> None:
        """The engine recomputed ``measured`` of a frame of which ``estimated`` (see :meth:`expected`) was expected.

        One that was computed in full says nothing: there are other reasons for that than its pixels.
        """
        if estimated > 0 and 0 < measured < 1:
            bias = self._bias * (measured / estimated) ** _BIAS_WEIGHT
            self._bias = min(max(bias, 1 / _MOST_BIAS), _MOST_BIAS)

    def expected(self, picture: np.ndarray) -> float:
        """The share of ``picture`` uint8 [H, W, 3] that the end would compute, 0–1; 1 where it remembers nothing."""
        if self._picture is None or not self._since.known:
            return 1.0
        small = self._shrunk(picture)
        motion = self._since.field(self._size)
        if motion is None:
            ratio = float(changed(small, self._picture, self._bound).mean())
        else:
            shrunk = at_input(motion, self._small)
            ratio = ratio_of_new(small, predict(self._picture, shrunk), shrunk, bound=self._bound, whole=motion)
        return min(1.0, ratio * self._bias)

    def _shrunk(self, picture: np.ndarray) -> np.ndarray:
        return picture if self._small == self._size else resize(picture, self._small)


def ratio_of_new(
    picture: np.ndarray,
    prediction: np.ndarray,
    motion: MotionField,
    *,
    bound: int,
    whole: MotionField | None = None,
) -> float:
    """Share of ``picture`` uint8 [h, w, 3] that neither motion nor the bound explains, 0–1.

    Without a bound only whole pixels can be reused, as the exact modes of the engine have it: those of ``whole``, where
    the picture and its ``motion`` are of another size than what the engine sees.
    """
    new = changed(picture, prediction, bound)
    usable = motion.at_stride(1).usable
    if bound == 0:
        usable = usable & _moves_by_whole_pixels(motion if whole is None else whole, new.shape)
    return float((new | ~usable).mean())


def _moves_by_whole_pixels(motion: MotionField, shape: tuple[int, ...]) -> np.ndarray:
    """bool ``shape`` [h, w]: by blocks of ``motion``, whatever its own size."""
    rows, cols = (np.arange(n) * side // n // motion.block for n, side in zip(shape, motion.size, strict=True))
    blocks = (motion.qpel % 4 == 0).all(-1)
    return np.asarray(blocks[rows[:, None], cols])
