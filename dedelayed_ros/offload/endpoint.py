"""One end of a stream: the model, what it remembers of the last frame it computed, and the motion since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros.models.pictures import as_levels
from dedelayed_ros.reuse import Attempts, at_input

if TYPE_CHECKING:
    from dedelayed_ros import sparse
    from dedelayed_ros.frames import MotionField


class MotionSince:
    """Motion from one remembered frame to the newest, composed frame by frame (Eq. 15)."""

    def __init__(self) -> None:
        self._field: MotionField | None = None
        self._known = False

    def begin(self) -> None:
        """The newest frame is the one that is remembered from now on."""
        self._field, self._known = None, True

    def lose(self) -> None:
        """How the remembered frame relates to the newest is not known."""
        self._field, self._known = None, False

    def observe(self, motion: MotionField | None) -> None:
        """``motion`` from the frame before to a new one; None: not known, or another scene."""
        if motion is None:
            self.lose()
        elif self._known:
            self._field = motion if self._field is None else self._field.compose(motion)

    def take(self) -> MotionField | None:
        """The motion up to the newest frame, which is remembered from now on; None: not known, or nothing observed."""
        field = self._field
        self.begin()
        return field

    @property
    def known(self) -> bool:
        """Whether there is a way from the remembered frame to the newest."""
        return self._known

    def field(self, size: tuple[int, int]) -> MotionField | None:
        """The motion on a picture of ``size`` (H, W); None where it is not known, or nothing was observed yet."""
        return None if self._field is None else at_input(self._field, size)


class Endpoint:
    """The model of one stream at one end. One thread at a time.

    ``module`` takes one picture, uint8 [1, 3, H, W]. The first frame, one after :meth:`reset` and one after a
    break of the motion are computed densely, and so are some after frames that left hardly anything to reuse (see
    :class:`~dedelayed_ros.reuse.Attempts`).
    """

    def __init__(self, module: sparse.SparseModule) -> None:
        self._module = module
        self._size = (int(module.plan.frame[0]), int(module.plan.frame[1]))
        self._since = MotionSince()
        self._picture: np.ndarray | None = None
        self._attempts = Attempts()

    @property
    def engine(self) -> str:
        """The backend that runs the model, and why none that is fast where it is the reference."""
        return f'reference ({self._module.backend_reason})' if self.slow else self._module.backend

    @property
    def slow(self) -> bool:
        """Whether it is the reference that runs the model: exact, and no faster for what it reuses."""
        return self._module.backend == 'reference'

    @property
    def state_bytes(self) -> int:
        """Bytes that this end remembers."""
        return self._module.state_bytes + (0 if self._picture is None else self._picture.nbytes)

    def reset(self) -> None:
        """Forget everything: the next frame is computed densely."""
        self._module.reset()
        self._picture = None
        self._since.lose()

    def observe(self, motion: MotionField | None) -> None:
        """A new frame of the stream, whether or not it is computed here: ``motion`` from the one before to it."""
        self._since.observe(motion)

    @torch.inference_mode()
    def infer(self, picture: np.ndarray) -> tuple[Tensor, sparse.SparseStats]:
        """Logits [C, h, w] of the newest frame, uint8 [H, W, 3], in the module's format, and what they took.

        The logits are to be read before the next frame, and not written to. The frame is remembered. Raises InputError
        for another size; what was remembered is then as it was.
        """
        known = self._picture is not None and self._since.known
        motion = self._since.field(self._size) if known and self._attempts.due() else None
        logits, stats = self._module.step(as_levels(picture), motion=motion, copy=False)
        if motion is not None:
            self._attempts.tell(stats.compute_ratio)
        self._picture = picture
        self._since.begin()
        return logits[0], stats
