"""Tiny clips in the cache's format: a textured box that moves over a textured ground, with true H.264 motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dedelayed_ros.train.config import FootageConfig
from dedelayed_ros.train.footage import Clip, store_clip

SIZE = (64, 128)
FRAMES = 12


def tiny_footage(name: str, first_seed: int = 0) -> FootageConfig:
    return FootageConfig(name, first_seed=first_seed, seeds=2, frames=FRAMES, rates=(20.0,), size=SIZE)


def write_clip(folder: Path, seed: int) -> Clip:
    rng = np.random.default_rng(seed)
    height, width = SIZE
    ground = rng.integers(60, 120, (height, width + 2 * FRAMES, 3), dtype=np.uint8)
    box = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    frames = []
    for index in range(FRAMES):
        image = ground[:, 2 * index : 2 * index + width].copy()
        label = np.zeros(SIZE, np.uint8)
        image[: height // 3], label[: height // 3] = (90, 150, 230), 10
        left = 16 + 4 * index
        image[28:52, left : left + 24], label[28:52, left : left + 24] = box, 13
        frames.append((image, label))
    return store_clip(folder, frames, seed=seed, rate=20.0, size=SIZE, bitrate_kbps=2000)
