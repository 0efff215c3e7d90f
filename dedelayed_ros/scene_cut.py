"""Whether nothing of the picture before is left in this one: a cut, after which nothing that was remembered holds."""

from __future__ import annotations

import numpy as np

from dedelayed_ros.frames import resize

RATIO = 0.45
LEVEL = 40.0
_THUMBNAIL = (18, 32)  # (H, W) of the picture that key frames are compared by


class SceneCuts:
    """Watches one stream for cuts.

    ``ratio``: share of blocks without a motion vector from which a picture is another scene (0–1); ``level``: mean
    grey-level difference (0–255) to the picture before that tells the same of a key frame that came without any
    vectors.
    """

    def __init__(self, *, ratio: float = RATIO, level: float = LEVEL) -> None:
        self._ratio = ratio
        self._level = level
        self._thumbnail: np.ndarray | None = None

    def reset(self) -> None:
        """The next picture is the stream's first."""
        self._thumbnail = None

    def is_cut(self, picture: np.ndarray, intra_ratio: float, keyframe: bool) -> bool:
        """``picture`` uint8 [h, w, 3] of any size; ``intra_ratio`` of its blocks have no motion vector."""
        thumbnail = resize(picture, _THUMBNAIL).mean(axis=2)
        before, self._thumbnail = self._thumbnail, thumbnail
        if before is None:
            return False
        if keyframe and intra_ratio >= 1:
            return float(np.abs(thumbnail - before).mean()) >= self._level
        return intra_ratio >= self._ratio
