"""Random changes to training pictures: where, how large, mirrored, and in what light."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def crop_pair(
    image: np.ndarray, labels: np.ndarray, crop: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A random part of a frame, mirrored half the time.

    Args:
        image: uint8 [H, W, 3]. labels: uint8 [H, W].
        crop: (h, w) in pixels of the frame at scale 1; a part of this size, or down to 0.55 of it, is cut out.
        size: (h, w) in pixels that the picture is scaled to.

    Returns:
        The picture, uint8 [3, *size], and its labels, uint8 [*crop], by the nearest pixel.
    """
    height, width = labels.shape
    scale = float(np.exp(rng.uniform(np.log(0.55), 0.0))) if rng.random() < 0.7 else 1.0
    h, w = (max(32, round(side * scale)) for side in crop)
    h, w = min(h, height), min(w, width)
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    part = np.array(image[top : top + h, left : left + w])
    # Nearest pixel centres of the crop's own grid, so that labels and picture stay aligned to half a pixel.
    rows = top + ((np.arange(crop[0]) + 0.5) * h / crop[0]).astype(np.int64)
    columns = left + ((np.arange(crop[1]) + 0.5) * w / crop[1]).astype(np.int64)
    target = labels[rows[:, None], columns]
    if rng.random() < 0.5:
        part, target = part[:, ::-1], target[:, ::-1]
    picture = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None]
    if picture.shape[-2:] != size:
        picture = F.interpolate(picture, size=size, mode='bilinear', antialias=True)
    return picture[0], torch.from_numpy(np.ascontiguousarray(target))


def photometric(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Other light, lenses and sensors: uint8 or float [B, 3, h, w] -> float32 in 0–1, each picture changed by itself.

    Gain, gamma, contrast, colour balance, saturation, a vertical gradient of light, blur, noise, sometimes grey or
    coarse. Strong on purpose: a simulated street has cleaner colours than any real one.
    """
    batch, _, h, w = images.shape
    x = images.float() / 255.0 if images.dtype == torch.uint8 else images

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (batch, *(shape or (1, 1, 1)))).astype(np.float32))

    gamma = torch.exp(draw(-0.5, 0.5))
    x = x.clamp(1e-4, 1.0).pow(gamma)
    balance = torch.exp(draw(-0.2, 0.2, 3, 1, 1))
    grey = x.mean(1, keepdim=True)
    saturation = torch.where(draw(0, 1) < 0.08, torch.zeros(()), torch.exp(draw(-0.8, 0.5)))
    x = (grey + (x - grey) * saturation) * balance
    level = x.mean((1, 2, 3), keepdim=True)
    x = level + (x - level) * torch.exp(draw(-0.5, 0.35))
    ramp = torch.linspace(-1.0, 1.0, h)[None, None, :, None]
    x = x * torch.exp(draw(-0.35, 0.35) + ramp * draw(-0.25, 0.25))
    padded = F.pad(x, (1, 1, 1, 1), mode='replicate')
    rows = padded[..., :-2, :] + 2.0 * padded[..., 1:-1, :] + padded[..., 2:, :]
    blurred = (rows[..., :-2] + 2.0 * rows[..., 1:-1] + rows[..., 2:]) / 16.0
    # Negative amounts sharpen, as cameras do.
    x = torch.lerp(x, blurred, torch.where(draw(0, 1) < 0.5, draw(-0.5, 1.0), torch.zeros(())))
    noise = torch.from_numpy(rng.standard_normal((batch, 3, h, w), dtype=np.float32))
    x = x + noise * draw(0.0, 0.04) * (draw(0, 1) < 0.5)
    return x.clamp(0.0, 1.0)
