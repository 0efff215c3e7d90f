"""Meshes of buses and trams.

x forward, origin on the ground under the middle. PAINT_A is the body, PAINT_B a stripe.
"""

from __future__ import annotations

from .meshes import GLASS, LAMP, PAINT_A, PAINT_B, Bag, Mesh, box, loft, rounded_box
from .parts import BLACK, GREY, RED, WHITE, rod, wheel

CREAM = (0.72, 0.68, 0.56)
STEEL = (0.3, 0.3, 0.31)
BELLOWS = (0.03, 0.03, 0.03)
TRAM_CAR = 9.2  # m from one car of a tram to the next


def coach(length: float, tall: float, wide: float) -> Mesh:
    """A bus: a long hull on tyres with a row of windows, and doors on its right."""
    bag = Bag()
    half, w = length / 2, wide / 2
    belt = tall * 0.4
    s: list[tuple[float, ...]] = [
        (-half, 0.4, belt, tall * 0.86, w * 0.9, w * 0.82, 1),
        (-half + 0.15, 0.32, belt, tall * 0.95, w * 0.98, w * 0.9, 1),
    ]
    x = -half + 0.5
    while x < half - 1.4:
        s += [(x, 0.3, belt, tall, w, w * 0.93, 1), (x + 0.12, 0.3, belt, tall, w, w * 0.93)]
        s += [(x + 1.35, 0.3, belt, tall, w, w * 0.93), (x + 1.36, 0.3, belt, tall, w, w * 0.93, 1)]
        x += 1.5
    s += [
        (half - 0.45, 0.3, belt, tall * 0.98, w, w * 0.92),
        (half - 0.12, 0.32, belt * 0.95, tall * 0.9, w * 0.97, w * 0.86),
        (half, 0.4, belt * 0.8, belt * 0.85, w * 0.92, w * 0.85),
    ]
    bag.add(loft(s, windows=(0.25, 9.0)))
    band = tall * 0.84
    for side in (-1, 1):
        bag.add(box(), at=(0, side * w * 0.955, band + 0.12), size=(length * 0.96, 0.05, 0.28), slot=PAINT_A, gloss=0.0)
        bag.add(box(), at=(0, side * (w + 0.005), belt * 0.72), size=(length * 0.97, 0.02, 0.22), slot=PAINT_B)
    bag.add(
        box(),
        at=(half - 0.06, 0, tall * 0.93),
        size=(0.12, wide * 0.6, 0.25),
        colour=(0.9, 0.45, 0.03),
        gloss=0.0,
        kind=LAMP,
    )
    bag.add(
        box(),
        at=(-half - 0.005, 0, tall * 0.65),
        size=(0.03, wide * 0.75, tall * 0.28),
        colour=BLACK,
        gloss=0.7,
        kind=GLASS,
    )
    for side in (-1, 1):
        for x in (-half * 0.62, half * 0.66):
            wheel(bag, x, side * (w - 0.14), 0.45, 0.28)
        bag.add(
            rounded_box(),
            at=(half - 0.02, side * w * 0.72, 0.72),
            size=(0.1, 0.4, 0.2),
            colour=WHITE,
            gloss=0.5,
            kind=LAMP,
        )
        bag.add(
            box(), at=(-half - 0.01, side * w * 0.82, 0.95), size=(0.06, 0.2, 0.4), colour=RED, gloss=0.4, kind=LAMP
        )
    for x in (half * 0.8, 0.0, -half * 0.5):
        bag.add(
            box(),
            at=(x, -w - 0.004, tall * 0.45),
            size=(1.15, 0.03, tall * 0.68),
            colour=(0.02, 0.022, 0.025),
            gloss=0.6,
            kind=GLASS,
        )
    return bag.mesh()


def tram_car(end: bool) -> Mesh:
    """One car of a tram; the ends of a tram look outwards. Cars follow each other at ``TRAM_CAR`` metres.

    What tells it from a bus is what does so outdoors: a skirt down to the rails instead of tyres, an unbroken band of
    windows under a light fascia, a sloping nose with a third lamp, and the current collector on the roof.
    """
    bag = Bag()
    half, w, belt, tall = 4.45, 1.2, 1.3, 3.4
    body: tuple[float, ...] = (0.14, belt, tall, w, w * 0.95)
    back: list[tuple[float, ...]] = [(-half, *body, 1), (-half + 0.3, *body, 1), (-half + 0.31, *body)]
    if end:
        front: list[tuple[float, ...]] = [
            (half - 1.3, *body),
            (half - 0.3, 0.16, belt * 0.9, belt * 1.25, w * 0.88, w * 0.8),
        ]
        front += [(half, 0.3, belt * 0.72, belt * 0.76, w * 0.7, w * 0.66)]
    else:
        front = [(half - 0.31, *body), (half - 0.3, *body, 1), (half, *body, 1)]
    bag.add(loft(back + front))
    bag.add(box(), at=(-0.5 if end else 0.0, 0, tall - 0.18), size=(6.6 if end else 8.6, 2.36, 0.4), colour=CREAM)
    for side in (-1, 1):
        bag.add(box(), at=(-0.3, side * (w + 0.004), belt - 0.1), size=(7.6, 0.02, 0.16), slot=PAINT_B)
        for x in (-2.6, 2.2):
            bag.add(box(), at=(x, side * (w - 0.02), 0.28), size=(1.9, 0.06, 0.32), colour=BLACK)
            bag.add(box(), at=(x, side * (w + 0.005), 0.05), size=(1.1, 0.05, 0.1), colour=STEEL, gloss=0.3)
        for x in (-0.9, 0.5):
            bag.add(box(), at=(x, side * (w + 0.006), 1.45), size=(1.2, 0.03, 2.3), colour=BLACK, gloss=0.6, kind=GLASS)
    if end:
        for y, z in ((-0.62, 0.72), (0.62, 0.72), (0.0, 0.86)):
            bag.add(rounded_box(), at=(half, y, z), size=(0.1, 0.26, 0.2), colour=WHITE, gloss=0.5, kind=LAMP)
        bag.add(box(), at=(half - 0.15, 0, 0.3), size=(0.5, 0.5, 0.22), colour=BLACK)
    bag.add(box(), at=(-TRAM_CAR / 2, 0, 1.9), size=(0.7, 2.2, 2.7), colour=BELLOWS, grain=0.1)
    bag.add(box(), at=(-1.2, 0, tall + 0.2), size=(3.6, 1.7, 0.42), colour=GREY)
    bag.add(box(), at=(2.0, 0, tall + 0.14), size=(1.6, 1.5, 0.3), colour=GREY)
    if not end:
        bag.add(box(), at=(TRAM_CAR / 2, 0, 1.9), size=(0.7, 2.2, 2.7), colour=BELLOWS, grain=0.1)
        for side in (-1, 1):
            rod(bag, (0.9, side * 0.5, tall + 0.1), (2.1, side * 0.4, tall + 0.95), 0.07, BLACK)
            rod(bag, (2.1, side * 0.4, tall + 0.95), (1.1, side * 0.3, tall + 1.75), 0.06, BLACK)
        rod(bag, (1.1, -0.85, tall + 1.75), (1.1, 0.85, tall + 1.75), 0.09, BLACK)
    return bag.mesh()
