"""What the class ids of a mask mean, and their colours."""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass

import numpy as np

from dedelayed_ros.errors import InputError

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

    @classmethod
    def read(cls, text: str) -> Labels:
        """Labels of lines 'NAME' or 'NAME RED GREEN BLUE' (0–255), in the order of their ids; without colours they
        get such as are easy to tell apart. Lines that are empty or begin with # do not count.

        Raises:
            InputError: a name that comes twice, or a colour out of range.
        """
        colours: dict[str, tuple[int, int, int]] = {}
        for line in (line.strip() for line in text.splitlines()):
            if not line or line.startswith('#'):
                continue
            match = re.fullmatch(r'(.+?)(?:\s+(\d+)\s+(\d+)\s+(\d+))?', line)
            assert match is not None
            name, *colour = match.groups()
            if name in colours:
                raise InputError(f'the label {name!r} comes twice; expected a line for each class, in the order of ids')
            red, green, blue = _distinct(len(colours)) if colour[0] is None else (int(value) for value in colour)
            if max(red, green, blue) > 255:
                raise InputError(f'the label {name!r} has the colour {red} {green} {blue}; expected 0 to 255 each')
            colours[name] = (red, green, blue)
        return cls.of(colours)

    def __len__(self) -> int:
        return len(self.names)


def _distinct(number: int) -> tuple[int, int, int]:
    """Hues a golden angle apart, at three lightnesses in turn."""
    lightness = (0.5, 0.7, 0.35)[number % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(number * 0.381966 % 1.0, lightness, 0.65))
    return red, green, blue


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
