"""Pictures of a clip as the models take them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros.models.pictures import scaled


def to_input(image: np.ndarray, reduce: int) -> Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H/reduce, W/reduce] in 0–1; 2 is the robot's model, 1 the cloud's."""
    picture = scaled(np.array(image), (image.shape[0] // reduce, image.shape[1] // reduce))
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0
