"""A cloud and a camera that are real but tiny: pictures whose brightness says which they are, a model that reports it.

Run as a program (`python tiny.py ENDPOINT`) it is a server process to kill.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import torch

from dedelayed_ros.cloud import CloudServer, CloudSettings, LoadedModel, ServedModel
from dedelayed_ros.frames import EncodedPicture, EncoderSettings, H264Encoder
from dedelayed_ros.link import FeatureRecord, Hello, LinkStatus

SIZE = (64, 96)
SHAPE = (3, 4, 6)
HELLO = Hello('tiny', 'c0ffee', 19, SHAPE, SIZE, SIZE, 25.0)
LEVELS = 20


class TinyModel:
    """Features are the picture's colours, averaged over 16x16 pixels, in 0..1. `pause_s` makes it slow."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self._pool = torch.nn.AvgPool2d(16)
        self._pause_s = pause_s
        self.delays: list[float] = []

    def step(self, image: np.ndarray, stamp_ns: int, delay_ms: float) -> np.ndarray:
        self.delays.append(delay_ms)
        time.sleep(self._pause_s)
        return self._pool(torch.from_numpy(image).permute(2, 0, 1).float() / 255).numpy()

    def reset(self) -> None:
        self.delays.clear()


class Small(torch.nn.Module):
    """A robot's own model, of 4 classes, to be offloaded."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.ReLU())
        # `torch.manual_seed` fails while another thread, such as a server's, traces a model.
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -0.2, 0.2, generator=generator)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def served(
    make: Callable[[Hello], object] = lambda hello: TinyModel(), together: Callable | None = None, at_once: int = 1
) -> ServedModel:
    loaded = LoadedModel(make, together, at_once)
    return ServedModel('tiny', 'c0ffee', 19, lambda size: (size, (3, size[0] // 16, size[1] // 16)), lambda: loaded)


def level(sequence: int) -> float:
    """Brightness of the picture of that sequence, 0..1: neighbours differ by far more than the codec's error."""
    return (30 + 10 * (sequence % LEVELS)) / 255


def serves(sequence: int, features: np.ndarray) -> bool:
    """Whether these are the features of the picture of that sequence."""
    return features.shape == SHAPE and bool(np.abs(features - level(sequence)).max() < 4 / 255)


class Camera:
    """Encodes pictures for real and hands them to `submit` at `rate`, until closed; makes key frames when asked to."""

    def __init__(self, submit: Callable[..., None] | None = None, rate: float = 50.0, first: int = 0) -> None:
        self._encoder = H264Encoder(EncoderSettings(size=SIZE, rate=rate, bitrate_kbps=500))
        self._keyframe = threading.Event()
        self._closing = threading.Event()
        self._submit = submit
        self._period_s = 1 / rate
        self.sequence = first
        self.stamps: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, daemon=True) if submit else None
        if self._thread:
            self._thread.start()

    def request_keyframe(self) -> None:
        self._keyframe.set()

    def image(self, sequence: int) -> np.ndarray:
        """The picture of that sequence."""
        return np.full((*SIZE, 3), round(level(sequence) * 255), np.uint8)

    def take(self) -> tuple[EncodedPicture, int, int]:
        """The next picture, its sequence and its stamp."""
        sequence, self.sequence = self.sequence, self.sequence + 1
        wanted = self._keyframe.is_set()
        self._keyframe.clear()
        stamp_ns = time.time_ns()
        self.stamps[sequence] = stamp_ns
        return self._encoder.encode(self.image(sequence), keyframe=wanted), sequence, stamp_ns

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._closing.wait(max(0.0, due_s - time.monotonic())):
            self._submit(*self.take())
            due_s += self._period_s

    def close(self) -> None:
        self._closing.set()
        if self._thread:
            self._thread.join()
        self._encoder.close()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Collected:
    """What a client's callbacks were given."""

    def __init__(self) -> None:
        self.features: list[FeatureRecord] = []
        self.times_s: list[float] = []
        self.states: list[LinkStatus] = []

    def on_features(self, record: FeatureRecord) -> None:
        self.features.append(record)
        self.times_s.append(time.monotonic())


def wait_until(condition: Callable[[], object], deadline_s: float = 10.0, what: str = '') -> None:
    """Returns when the condition holds; fails when it does not in time."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f'not within {deadline_s} s: {what}'
        time.sleep(0.005)


if __name__ == '__main__':
    server = CloudServer(CloudSettings(listen=(sys.argv[1],)), served())
    server.start()
    print('ready', flush=True)
    threading.Event().wait()
