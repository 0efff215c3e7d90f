"""What a frame weighs on the uplink: whole, as JPEG, as H.264, in a quarter of the pixels, or only what is new."""

from __future__ import annotations

import io

import numpy as np
import zstandard
from PIL import Image

from dedelayed_ros.frames import EncoderSettings, H264Decoder, H264Encoder, MotionField, resize

H264_KBPS = (600, 1200, 2400, 4800)
JPEG_QUALITY = (20, 35, 50, 75)
COACH_SIMILARITY = 0.99
"""SSIM from which COACH reuses the whole output."""

Coded = tuple[np.ndarray, int]  # what the cloud sees, uint8 [H, W, 3], and bytes


class Jpeg:
    """Every frame as a JPEG of one quality."""

    def __init__(self, quality: int) -> None:
        self.quality = quality

    def __call__(self, image: np.ndarray) -> Coded:
        data = io.BytesIO()
        Image.fromarray(image).save(data, 'JPEG', quality=self.quality)
        size = data.tell()
        return np.asarray(Image.open(data).convert('RGB')), size


class H264:
    """A stream of one bit rate, at ``rate`` frames a second; also a robot's own motion."""

    def __init__(self, size: tuple[int, int], kbps: float, rate: float = 30.0) -> None:
        self._size = size
        self._encoder = H264Encoder(EncoderSettings(size=size, rate=rate, bitrate_kbps=kbps))
        self._decoder = H264Decoder()
        self.motion: MotionField | None = None

    def __call__(self, image: np.ndarray) -> Coded:
        picture = self._encoder.encode(image)
        self.motion = picture.motion
        return self._decoder.decode(picture.data, self._size), len(picture.data)


def quartered(image: np.ndarray) -> Coded:
    """COACH's fourfold reduction: half of the pixels along each axis, uncompressed."""
    small = resize(image, (image.shape[0] // 2, image.shape[1] // 2))
    return resize(small, (image.shape[0], image.shape[1])), small.nbytes


def raw(image: np.ndarray) -> Coded:
    """Three bytes a pixel."""
    return image, image.nbytes


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two pictures uint8 [H, W, 3], on their luma, windows of 8×8 pixels side by side."""
    x, y = (_windows(picture) for picture in (a, b))
    mx, my = x.mean(-1), y.mean(-1)
    cov = ((x - mx[..., None]) * (y - my[..., None])).mean(-1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    map_ = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (x.var(-1) + y.var(-1) + c2))
    return float(map_.mean())


def _windows(picture: np.ndarray) -> np.ndarray:
    luma = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    h, w = luma.shape[0] // 8 * 8, luma.shape[1] // 8 * 8
    return luma[:h, :w].reshape(h // 8, 8, w // 8, 8).transpose(0, 2, 1, 3).reshape(h // 8, w // 8, 64)


def cells_of(new: np.ndarray) -> np.ndarray:
    """bool [ceil(H/2), ceil(W/2)]: 2×2 cells with a new pixel, of a mask bool [H, W] (section V-A)."""
    h, w = new.shape
    padded = np.pad(new, ((0, h % 2), (0, w % 2)))
    return np.asarray(padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).any((1, 3)))


def plain_bytes(new: np.ndarray, motion: MotionField) -> int:
    """The paper's payload: four bytes a block, one bit a cell of 2×2 pixels, and all pixels of the cells that are set.

    ``new``: bool [H, W], the recompute set of the input.
    """
    cells = cells_of(new)
    return motion.valid.size * 4 + (cells.size + 7) // 8 + int(cells.sum()) * 4 * 3


def delta_bytes(new: np.ndarray) -> int:
    """The same of a method without motion vectors."""
    cells = cells_of(new)
    return (cells.size + 7) // 8 + int(cells.sum()) * 4 * 3


def mask_bytes(mask: np.ndarray) -> int:
    """A mask uint8 [h, w] on its way back, compressed without loss."""
    return len(zstandard.ZstdCompressor(level=3).compress(mask.tobytes()))
