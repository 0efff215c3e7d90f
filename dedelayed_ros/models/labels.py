"""What the class ids of a mask mean, and their colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNLABELLED = 255
"""The class id of pixels that nothing is known about."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Class names by id, and ``palette`` uint8 [256, 3] RGB for every value of a mask; unused ids are black."""

    names: tuple[str, ...]
    palette: np.ndarray

    @classmethod
    def of(cls, colours: dict[str, tuple[int, int, int]]) -> Labels:
        """Labels whose ids count up in the order of ``colours`` (RGB, 0–255)."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colours)] = list(colours.values())
        palette.setflags(write=False)
        return cls(tuple(colours), palette)

    def __len__(self) -> int:
        return len(self.names)


CITYSCAPES = Labels.of(
    {
        'road': (128, 64, 128),
        'sidewalk': (244, 35, 232),
        'building': (70, 70, 70),
        'wall': (102, 102, 156),
        'fence': (190, 153, 153),
        'pole': (153, 153, 153),
        'traffic light': (250, 170, 30),
        'traffic sign': (220, 220, 0),
        'vegetation': (107, 142, 35),
        'terrain': (152, 251, 152),
        'sky': (70, 130, 180),
        'person': (220, 20, 60),
        'rider': (255, 0, 0),
        'car': (0, 0, 142),
        'truck': (0, 0, 70),
        'bus': (0, 60, 100),
        'train': (0, 80, 100),
        'motorcycle': (0, 0, 230),
        'bicycle': (119, 11, 32),
    }
)
"""The 19 training classes of Cityscapes, by train id."""
