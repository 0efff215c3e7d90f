"""What carrying costs the robot."""

from __future__ import annotations

import time

import numpy as np
import torch

from dedelayed_ros.carry import CELL, warp_features
from dedelayed_ros.eval.delay_cases import Pair, Scene
from dedelayed_ros.motion_track import MotionTrack
from dedelayed_ros.train.footage import Clip

_DELAY = 3  # frames, after which an answer comes, and for as many of which it is used


@torch.inference_mode()
def carry_time(pair: Pair, clips: list[Clip]) -> dict[str, dict[str, float]]:
    """``carry_ms``: processor time a frame, means over frames, of following the pictures (``refine``) and of ``warp``,
    where an answer three frames old is used for three frames.
    """
    times: dict[str, list[float]] = {'refine': [], 'warp': []}
    for clip in clips:
        features = Scene(pair, clip).features(0, 100.0)
        fields = [field.resized(field.size, CELL // pair.split) for field in clip.motions]
        track, motion, seen = MotionTrack(), None, 0
        for now, field in enumerate(fields):
            picture = np.array(clip.images[now])
            begun = time.thread_time()
            track.append(round(now / clip.rate * 1e9), field, picture)
            if now % _DELAY == 0:
                seen = max(0, now - _DELAY)
                motion = track.way(seen, now)
            elif motion is not None:
                motion = motion.compose(field)
            if motion is None:
                continue
            motion = track.corrected(motion, seen, now)
            between = time.thread_time()
            warp_features(features, motion, split=pair.split)
            times['refine'].append(between - begun)
            times['warp'].append(time.thread_time() - between)
    return {'carry_ms': {name: round(1e3 * float(np.mean(taken)), 3) for name, taken in times.items()}}
