"""One camera's stream in the cloud: what the remote model remembers of it, and how several are answered at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.asked import Asked
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.models.sizes import model_sizes


class RemoteStream:
    """The state of one stream on the server: the maps of its last four frames and their times.

    The model is shared between streams and not changed, and so is ``codec``, with which answers are its latents. Both
    compute where they are; frames come from the processor's memory and answers go back to it.
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

    def step(self, image: np.ndarray, stamp_ns: int, delay_ms: float) -> np.ndarray:
        """Take the stream's next frame and answer it.

        Args:
            image: uint8 [H, W, 3] RGB at the camera's size; it is stretched to the model's. A change of size, or a
                stamp that is not later than the last one, begins a new history.
            stamp_ns: when it was captured, on any clock that only goes forward (nanoseconds).
            delay_ms: how long after its capture the answer is expected to be used.

        Returns:
            float32 [C, h, w] in the coordinates of this frame: features, or with a codec its whole latents.

        Raises:
            InputError: the image is not uint8 [H, W, 3].
        """
        return step_together([self], [Asked(image, stamp_ns, delay_ms)])[0]

    def _begin(self, asked: Asked) -> Tensor:
        """The model's input of a frame, [1, 3, h, w] in 0–1, after forgetting what it does not follow."""
        image = asked.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f'image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3]')
        if image.shape[:2] != self._size or (self._maps and asked.stamp_ns <= self._maps[-1][0]):
            self.reset()
        self._size = (image.shape[0], image.shape[1])
        picture = torch.from_numpy(np.ascontiguousarray(image)).to(self._model.bottleneck.weight.device)
        picture = picture.permute(2, 0, 1)[None]
        size = model_sizes(self._size).remote
        if picture.shape[-2:] != size:
            picture = F.interpolate(picture, size=size, mode='bilinear', antialias=True)
        return picture.to(self._dtype) * (1.0 / 255.0)

    def _follow(self, stamp_ns: int, encoded: Tensor) -> tuple[Tensor, list[float]]:
        """Remember a frame's map [1, C, h, w]; the history [1, K, C, h, w], and how old each of it is (ms)."""
        self._maps.append((stamp_ns, encoded))
        frames = [self._maps[0]] * (HISTORY - len(self._maps)) + list(self._maps)
        ages_ms = [(stamp_ns - stamp) * 1e-6 for stamp, _ in frames]
        return torch.stack([known for _, known in frames], dim=1), ages_ms


@torch.inference_mode()
def step_together(streams: Sequence[RemoteStream], asked: Sequence[Asked]) -> list[np.ndarray]:
    """The next frame of several streams of one model by one pass through it: what :meth:`RemoteStream.step` gives for
    each, within rounding.

    Raises:
        InputError: an image is not uint8 [H, W, 3], or the model would see them at different sizes. No stream has taken
        its frame then.
    """
    model, codec = streams[0]._model, streams[0]._codec
    pictures = [stream._begin(one) for stream, one in zip(streams, asked, strict=True)]
    sizes = {tuple(picture.shape[-2:]) for picture in pictures}
    if len(sizes) > 1:
        raise InputError(f'frames of different sizes cannot be computed together: the model would see {sorted(sizes)}')
    encoded = model.encode(torch.cat(pictures))
    followed = [
        stream._follow(one.stamp_ns, encoded[k : k + 1])
        for k, (stream, one) in enumerate(zip(streams, asked, strict=True))
    ]
    history = torch.cat([maps for maps, _ in followed])
    ages_ms = torch.tensor([ages for _, ages in followed], device=history.device)
    delays_ms = torch.tensor([float(one.delay_ms) for one in asked], device=history.device)
    features = model.predict(history, ages_ms, delays_ms).float()
    answers = features if codec is None else codec.encode(features)
    return list(answers.contiguous().cpu().numpy())
