"""Pictures of a clip as the models take them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def to_input(image: np.ndarray, reduce: int) -> Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H/reduce, W/reduce] in 0–1; 2 is the robot's model, 1 the cloud's."""
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    if reduce > 1:
        size = (picture.shape[-2] // reduce, picture.shape[-1] // reduce)
        picture = F.interpolate(picture, size=size, mode='bilinear', antialias=True)
    return picture.float() / 255.0
