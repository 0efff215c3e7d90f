"""Which frames to train on: what few streets have is drawn more often than it is met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.train.footage import Clip, class_counts

_SEEN = 0.002  # of a frame's pixels from which on a class is there to be learnt


class RareFrames:
    """Draws frames of clips: each clip as likely as any other or, for a share of the draws, one that has a class which
    was drawn first, with a probability in proportion to the inverse root of the class's share of all pixels. Where
    that share is not 0, labels are looked at, and frames without any are never drawn.
    """

    def __init__(self, clips: Sequence[Clip], rare: float) -> None:
        """``rare``: share of the draws that begin with a class, 0–1. Raises InputError where nothing is labelled."""
        self._usable = [(number, np.arange(len(clip))) for number, clip in enumerate(clips)]
        self._rare = rare
        self._frames: list[np.ndarray] = []
        self._odds = np.zeros(0)
        if rare == 0.0:
            return
        counts = [class_counts(clip, len(CITYSCAPES)) for clip in clips]
        self._usable = [
            (number, labelled) for number, of in enumerate(counts) if (labelled := np.flatnonzero(of.sum(1))).size
        ]
        if not self._usable:
            raise InputError(f'none of the {len(clips)} clips to train on has a label')
        where = np.array([(clip, frame) for clip, of in enumerate(counts) for frame in range(len(of))])
        shares = np.concatenate(counts)  # [frames of all clips, classes]
        shares /= np.maximum(shares.sum(1, keepdims=True), 1.0)
        there = shares >= _SEEN
        present = np.flatnonzero(there.any(0))
        self._frames = [where[there[:, label]] for label in present]
        odds = shares.mean(0)[present] ** -0.5
        self._odds = odds / odds.sum()

    def __call__(self, rng: np.random.Generator) -> tuple[int, int]:
        """Number of a clip, and of a frame in it."""
        if self._frames and rng.random() < self._rare:
            frames = self._frames[int(rng.choice(len(self._frames), p=self._odds))]
            clip, frame = frames[int(rng.integers(len(frames)))]
            return int(clip), int(frame)
        clip, frames = self._usable[int(rng.integers(len(self._usable)))]
        return clip, int(frames[int(rng.integers(len(frames)))])
