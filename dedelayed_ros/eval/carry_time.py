"""What carrying costs the robot."""

from __future__ import annotations

import time

import numpy as np
import torch

from dedelayed_ros.carry import CELL, warp_features
from dedelayed_ros.eval.delay_cases import Pair, Scene
from dedelayed_ros.refine import refined
from dedelayed_ros.train.footage import Clip

_FRAMES = 10  # that the motion is composed over


@torch.inference_mode()
def carry_time(pair: Pair, clips: list[Clip]) -> dict[str, dict[str, float]]:
    """``carry_ms``: processor time of one frame, medians over frames, of ``refine`` and of ``warp``."""
    times: dict[str, list[float]] = {'refine': [], 'warp': []}
    for clip in clips:
        features = Scene(pair, clip).features(0, 100.0)
        for now in range(_FRAMES, len(clip), 4):
            then, picture = (np.array(clip.images[frame]) for frame in (now - _FRAMES, now))
            composed = clip.composed_motion(now - _FRAMES, now, CELL // pair.split)
            assert composed is not None
            begun = time.thread_time()
            motion = refined(composed, then, picture)
            between = time.thread_time()
            warp_features(features, motion, split=pair.split)
            times['refine'].append(between - begun)
            times['warp'].append(time.thread_time() - between)
    return {'carry_ms': {name: round(1e3 * float(np.median(taken)), 3) for name, taken in times.items()}}
