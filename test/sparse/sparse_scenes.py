"""Pictures that move, with motion fields that are right, wrong, or nonsense."""

from __future__ import annotations

import numpy as np
import torch

from dedelayed_ros.frames import MotionField


def picture(rng: np.random.Generator, channels: int, size: tuple[int, int]) -> torch.Tensor:
    """Small integers, with flat regions and repeated texture, so that wrong vectors often meet equal content."""
    h, w = size
    kind = rng.integers(4)
    if kind == 0:
        base = rng.integers(0, 3, (channels, h, w))
    elif kind == 1:
        base = np.tile(rng.integers(0, 3, (channels, 4, 4)), (1, -(-h // 4), -(-w // 4)))[:, :h, :w]
    elif kind == 2:
        base = np.kron(rng.integers(0, 3, (channels, -(-h // 8), -(-w // 8))), np.ones((1, 8, 8)))[:, :h, :w]
    else:
        base = np.full((channels, h, w), rng.integers(0, 3))
    return torch.from_numpy(np.ascontiguousarray(base)).float()[None]


def field(rng: np.random.Generator, size: tuple[int, int], block: int) -> MotionField:
    """An arbitrary field: uniform, in parts, or every block for itself; whole pixels or not; some blocks invalid."""
    grid = (-(-size[0] // block), -(-size[1] // block), 2)
    unit = int(rng.choice([1, 4, 8, 16, 32, 64]))
    reach = max(1, 64 // unit)
    kind = rng.integers(4)
    if kind == 0:
        q = np.broadcast_to(rng.integers(-reach, reach + 1, 2) * unit, grid)
    elif kind == 1:
        q = np.zeros(grid)
        q[:, : grid[1] // 2 + 1] = rng.integers(-reach, reach + 1, 2) * unit
        q[: grid[0] // 3] = rng.integers(-reach, reach + 1, 2) * unit
    elif kind == 2:
        q = rng.integers(-reach, reach + 1, grid) * unit
    else:
        q = rng.integers(-reach, reach + 1, grid) * unit * (rng.random(grid) < 0.2)
    if rng.random() < 0.5:
        q = q * np.array([1, 0] if rng.random() < 0.5 else [0, 1])  # along one axis only
    valid = rng.random(grid[:2]) < rng.choice([1.0, 1.0, 0.8])
    return MotionField(size, np.ascontiguousarray(q).astype(np.int16), valid, block=block)


def moved(image: torch.Tensor, motion: MotionField, rng: np.random.Generator) -> torch.Tensor:
    """The image after a field's motion, in whole pixels; new content where nothing comes from."""
    h, w = motion.size
    q = np.repeat(np.repeat(motion.qpel, motion.block, 0), motion.block, 1)[:h, :w].astype(int)
    rows, cols = np.arange(h)[:, None] - q[..., 1] // 4, np.arange(w)[None, :] - q[..., 0] // 4
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    warped = image[0][:, rows.clip(0, h - 1), cols.clip(0, w - 1)]
    fresh = torch.from_numpy(rng.integers(0, 3, (image.shape[1], h, w))).float()
    return torch.where(torch.from_numpy(inside), warped, fresh)[None]


def scenes(seed: int, channels: int, size: tuple[int, int], frames: int = 20):
    """Frames and the field from the one before: right and wrong motion, still pictures, cuts, small changes."""
    rng = np.random.default_rng(seed)
    block = int(rng.choice([4, 8, 16]))
    image = picture(rng, channels, size)
    yield image, None
    for _ in range(frames - 1):
        motion = field(rng, size, block)
        kind = rng.integers(10)
        if kind < 5:
            image = moved(image, motion, rng)
        elif kind == 5:
            image = picture(rng, channels, size)
        elif kind == 6:
            motion = MotionField.identity(size, block)
        elif kind == 7:
            motion = None if rng.random() < 0.3 else motion
        if rng.random() < 0.4:
            image = image.clone()
            r, c = rng.integers(size[0]), rng.integers(size[1])
            image[..., r : r + 3, c : c + 2] += 1
        image = image % 3
        yield image, motion


def shift(size: tuple[int, int], rows: float, cols: float, block: int = 16) -> MotionField:
    """A field in which everything moves by (rows, cols) pixels."""
    grid = (-(-size[0] // block), -(-size[1] // block), 2)
    return MotionField(size, np.broadcast_to(np.array([cols * 4, rows * 4], np.int16), grid).copy(), block=block)
