"""Parts that several vehicles have: colours, wheels, rods."""

from __future__ import annotations

from typing import Any

import numpy as np

from .meshes import Bag, disc, frame_to, tube

BLACK = (0.012, 0.012, 0.013)
GREY = (0.25, 0.25, 0.26)
RED = (0.45, 0.01, 0.01)
WHITE = (0.85, 0.83, 0.75)


def wheel(bag: Bag, x: float, y: float, radius: float, width: float) -> None:
    """A wheel on the ground at (x, y), its outside away from the vehicle's middle (m)."""
    side = 1 if y > 0 else -1
    lay = frame_to(np.array([0.0, side, 0.0]))
    bag.add(
        tube(12, capped=False),
        at=(x, y - side * width / 2, radius),
        turn=lay,
        size=(2 * radius, 2 * radius, width),
        colour=BLACK,
    )
    for size, lift, colour in ((2.0, 0.0, BLACK), (1.25, 0.01, GREY), (0.5, 0.02, (0.08, 0.08, 0.08))):
        bag.add(
            disc(12 if size > 1 else 6),
            at=(x, y + side * (width / 2 + lift), radius),
            turn=lay,
            size=(size * radius, size * radius, 1),
            colour=colour,
            gloss=0.3,
            fine=size < 1,
        )


def rod(
    bag: Bag,
    a: tuple[float, float, float],
    b: tuple[float, float, float],
    thick: float,
    colour: tuple[float, float, float] | None = None,
    slot: int | None = None,
    fine: bool = False,
) -> None:
    """A thin tube from a to b (m)."""
    d = np.subtract(b, a)
    look: dict[str, Any] = {'slot': slot} if colour is None else {'colour': colour, 'gloss': 0.25}
    size = (thick, thick, float(np.linalg.norm(d)))
    bag.add(tube(4, capped=False), at=a, turn=frame_to(d), size=size, fine=fine, **look)
