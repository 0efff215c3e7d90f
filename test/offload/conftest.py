"""The real clip, small, with the motion that its own H.264 bits hold; and a model of whole numbers."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from dedelayed_ros.frames import EncodedPicture, EncoderSettings, H264Encoder, MotionField, open_source, resize
from dedelayed_ros.offload import OffloadModel

SIZE = (64, 96)


@dataclass(frozen=True)
class Moved:
    """A picture uint8 [H, W, 3] and its motion since the one before, None at a scene cut."""

    picture: np.ndarray
    motion: MotionField | None


@dataclass(frozen=True)
class Coded:
    """A picture of a camera's H.264 stream."""

    sequence: int
    reference: int
    stamp_ns: int
    picture: EncodedPicture


class Camera:
    """Encodes the pictures that it is shown, and makes the key frames that it is asked for, from any thread."""

    def __init__(self, size: tuple[int, int] = SIZE, kbps: float = 800) -> None:
        self._encoder = H264Encoder(EncoderSettings(size=size, rate=25, bitrate_kbps=kbps))
        self._wanted = threading.Event()
        self._previous: int | None = None
        self.requests = 0

    def request_keyframe(self) -> None:
        self.requests += 1
        self._wanted.set()

    def see(self, picture: np.ndarray, sequence: int) -> Coded:
        wanted = self._wanted.is_set()
        self._wanted.clear()
        coded = self._encoder.encode(picture, keyframe=wanted)
        reference = sequence if coded.keyframe or self._previous is None else self._previous
        self._previous = sequence
        return Coded(sequence, reference, sequence, coded)


@pytest.fixture
def camera() -> Camera:
    return Camera()


@pytest.fixture(scope='session')
def footage(real_clip) -> list[Moved]:
    frames = []
    encoder = H264Encoder(EncoderSettings(size=SIZE, rate=25, bitrate_kbps=800))
    with open_source(str(real_clip)) as source:
        for frame in source:
            image = resize(frame.image, SIZE)
            coded = encoder.encode(image)
            frames.append(Moved(image, None if coded.intra_ratio > 0.45 else coded.motion))
            if len(frames) == 200:
                break
    encoder.close()
    return frames


class Small(nn.Module):
    """A small segmentation network with strides, as the street models have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, stride=2, padding=1)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


@pytest.fixture(scope='session')
def model() -> OffloadModel:
    return OffloadModel(Small().eval())
