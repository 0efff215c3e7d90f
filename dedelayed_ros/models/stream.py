"""One camera's stream in the cloud: what the remote model remembers of it."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.models.sizes import model_sizes


class RemoteStream:
    """The state of one stream on the server: the maps of its last four frames and their times.

    The model is shared between streams and not changed, and so is ``codec``, with which answers are its latents.
    ``dtype`` is the number format that frames are given in (the model's own by default).
    """

    def __init__(self, model: RemoteModel, codec: FeatureCodec | None = None, dtype: torch.dtype | None = None) -> None:
        self._model = model
        self._codec = codec
        self._dtype = dtype or model.bottleneck.weight.dtype
        self._maps: deque[tuple[int, Tensor]] = deque(maxlen=HISTORY)
        self._size: tuple[int, int] | None = None

    def reset(self) -> None:
        """Forget every frame."""
        self._maps.clear()

    @torch.inference_mode()
    def step(self, image: np.ndarray, stamp_ns: int, delay_ms: float) -> np.ndarray:
        """Take the stream's next frame and answer it.

        Args:
            image: uint8 [H, W, 3] RGB at the camera's size; it is stretched to the model's. A change of size, or a
            stamp
                that is not later than the last one, begins a new history.
            stamp_ns: when it was captured, on any clock that only goes forward (nanoseconds).
            delay_ms: how long after its capture the answer is expected to be used.

        Returns:
            float32 [C, h, w] in the coordinates of this frame: features, or with a codec its whole latents.

        Raises:
            InputError: the image is not uint8 [H, W, 3].
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f'image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3]')
        if image.shape[:2] != self._size or (self._maps and stamp_ns <= self._maps[-1][0]):
            self.reset()
        self._size = (image.shape[0], image.shape[1])
        self._maps.append((stamp_ns, self._model.encode(self._prepare(image))))
        frames = [self._maps[0]] * (HISTORY - len(self._maps)) + list(self._maps)
        history = torch.stack([encoded for _, encoded in frames], dim=1)
        ages_ms = torch.tensor([[(stamp_ns - stamp) * 1e-6 for stamp, _ in frames]])
        features = self._model.predict(history, ages_ms, torch.tensor([float(delay_ms)])).float()
        answer = features if self._codec is None else self._codec.encode(features)
        return answer[0].contiguous().numpy()

    def _prepare(self, image: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> the model's input [1, 3, h, w] in 0–1."""
        picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        size = model_sizes((image.shape[0], image.shape[1])).remote
        if picture.shape[-2:] != size:
            picture = F.interpolate(picture, size=size, mode='bilinear', antialias=True)
        return picture.to(self._dtype) * (1.0 / 255.0)
