"""Meshes of things that drive: cars, vans, trucks, buses, trams, motorcycles, bicycles.

x forward, origin on the ground under the middle. PAINT_A is the body, PAINT_B a second colour (cargo box, stripe).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from . import classes as c
from .meshes import (
    LAMP,
    PAINT_A,
    PAINT_B,
    Bag,
    Mesh,
    ball,
    box,
    capsule,
    disc,
    frame_to,
    loft,
    rounded_box,
    tube,
    wheel_ring,
)
from .parts import BLACK, GREY, RED, WHITE, rod, wheel
from .transit import TRAM_CAR, coach, tram_car


@dataclass(frozen=True)
class Vehicle:
    """A kind of vehicle: its class, length and width (m), and mesh."""

    label: int
    length: float
    width: float
    mesh: Mesh


def _lamps(bag: Bag, front: float, rear: float, y: float, z_front: float, z_rear: float, tall: float = 0.14) -> None:
    for side in (-1, 1):
        bag.add(
            rounded_box(), at=(front, side * y, z_front), size=(0.12, 0.36, tall), colour=WHITE, gloss=0.6, kind=LAMP
        )
        bag.add(
            rounded_box(), at=(rear, side * y, z_rear), size=(0.1, 0.3, tall * 1.25), colour=RED, gloss=0.5, kind=LAMP
        )
    bag.add(box(), at=(front + 0.05, 0, z_front - 0.17), size=(0.04, 1.0, 0.16), colour=BLACK, gloss=0.3)
    for x, z in ((rear - 0.03, z_rear - 0.12), (front + 0.07, z_front - 0.28)):
        bag.add(box(), at=(x, 0, z), size=(0.03, 0.5, 0.11), colour=(0.7, 0.7, 0.66), fine=True)


def _car(stations: list[tuple[float, ...]], wheels: tuple[float, float], radius: float, width: float) -> Mesh:
    bag = Bag()
    bag.add(loft(stations))
    half = width / 2
    for x in wheels:
        for side in (-1, 1):
            arch = frame_to(np.array([0.0, side, 0.0]))
            bag.add(
                disc(12),
                at=(x, side * (half + 0.004), radius * 1.04),
                turn=arch,
                size=(2.35 * radius, 2.3 * radius, 1),
                colour=BLACK,
            )
            wheel(bag, x, side * (half - 0.1), radius, 0.22)
    rear, front = stations[0], stations[-1]
    _lamps(bag, front[0] - 0.03, rear[0] + 0.01, half * 0.72, front[2] * 0.95, rear[2] * 0.93)
    mirror = max(s[0] for s in stations if s[3] - s[2] > 0.3) + 0.35
    for side in (-1, 1):
        bag.add(
            rounded_box(),
            at=(mirror - 0.15, side * (half + 0.06), 1.0),
            size=(0.14, 0.2, 0.14),
            colour=BLACK,
            gloss=0.4,
            fine=True,
        )
    return bag.mesh()


def _hatch(length: float, tall: float, blunt: float, width: float) -> Mesh:
    k, h, w = length / 4.2, tall / 1.5, width / 2
    s: list[tuple[float, ...]] = [
        (-2.10 * k, 0.42, 0.82 * h, 0.86 * h, w * 0.88, w * 0.78),
        (-2.02 * k, 0.30, 0.95 * h, 1.02 * h, w * 0.95, w * 0.76),
        (-1.72 * k, 0.24, 0.96 * h, (1.22 + 0.2 * blunt) * h, w * 0.99, w * 0.70),
        (-1.25 * k, 0.24, 0.96 * h, 1.44 * h, w, w * 0.70),
        (-0.98 * k, 0.2, 0.95 * h, 1.47 * h, w, w * 0.71, 1),
        (-0.88 * k, 0.2, 0.95 * h, 1.48 * h, w, w * 0.71, 1),
        (-0.10 * k, 0.2, 0.94 * h, 1.50 * h, w, w * 0.72, 1),
        (0.00 * k, 0.2, 0.94 * h, 1.50 * h, w, w * 0.72, 1),
        (0.45 * k, 0.2, 0.93 * h, 1.45 * h, w, w * 0.71),
        (1.22 * k, 0.22, 0.92 * h, 0.98 * h, w * 0.99, w * 0.78),
        (1.80 * k, 0.24, 0.82 * h, 0.88 * h, w * 0.95, w * 0.72),
        (2.02 * k, 0.28, 0.68 * h, 0.74 * h, w * 0.86, w * 0.66),
        (2.10 * k, 0.36, 0.55 * h, 0.60 * h, w * 0.76, w * 0.58),
    ]
    return _car(s, (-1.3 * k, 1.32 * k), 0.31 + 0.04 * (h - 1) * 5, width)


def _sedan(length: float, width: float, tall: float = 1.45) -> Mesh:
    k, h, w = length / 4.6, tall / 1.45, width / 2
    s: list[tuple[float, ...]] = [
        (-2.30 * k, 0.42, 0.78 * h, 0.84 * h, w * 0.84, w * 0.7),
        (-2.20 * k, 0.32, 0.94 * h, 0.98 * h, w * 0.92, w * 0.74),
        (-1.68 * k, 0.26, 0.97 * h, 1.03 * h, w * 0.98, w * 0.78),
        (-0.98 * k, 0.22, 0.96 * h, 1.38 * h, w, w * 0.66),
        (-0.80 * k, 0.2, 0.95 * h, 1.41 * h, w, w * 0.68, 1),
        (-0.72 * k, 0.2, 0.95 * h, 1.42 * h, w, w * 0.68, 1),
        (0.00 * k, 0.2, 0.94 * h, 1.45 * h, w, w * 0.70, 1),
        (0.10 * k, 0.2, 0.94 * h, 1.45 * h, w, w * 0.70, 1),
        (0.42 * k, 0.2, 0.92 * h, 1.40 * h, w, w * 0.69),
        (1.18 * k, 0.22, 0.90 * h, 0.96 * h, w * 0.99, w * 0.78),
        (1.90 * k, 0.24, 0.78 * h, 0.84 * h, w * 0.95, w * 0.72),
        (2.20 * k, 0.28, 0.64 * h, 0.70 * h, w * 0.86, w * 0.64),
        (2.30 * k, 0.36, 0.52 * h, 0.58 * h, w * 0.76, w * 0.56),
    ]
    return _car(s, (-1.42 * k, 1.42 * k), 0.32, width)


def _van() -> Mesh:
    s: list[tuple[float, ...]] = [
        (-2.60, 0.40, 1.15, 1.90, 0.92, 0.82),
        (-2.52, 0.32, 1.15, 2.05, 0.96, 0.84, 1),
        (0.30, 0.30, 1.15, 2.10, 0.97, 0.85, 1),
        (0.40, 0.30, 1.12, 2.08, 0.97, 0.84),
        (1.10, 0.30, 1.10, 1.95, 0.97, 0.80),
        (1.85, 0.30, 1.08, 1.18, 0.95, 0.80),
        (2.35, 0.32, 0.90, 0.98, 0.90, 0.74),
        (2.50, 0.40, 0.65, 0.72, 0.82, 0.66),
    ]
    return _car(s, (-1.6, 1.6), 0.35, 1.94)


def _pickup() -> Mesh:
    bag = Bag()
    s: list[tuple[float, ...]] = [
        (-0.35, 0.4, 1.1, 1.55, 0.9, 0.76),
        (-0.25, 0.4, 1.1, 1.75, 0.93, 0.74, 1),
        (-0.15, 0.4, 1.1, 1.78, 0.93, 0.74, 1),
        (0.75, 0.4, 1.08, 1.76, 0.94, 0.74),
        (1.3, 0.4, 1.06, 1.14, 0.94, 0.78),
        (2.3, 0.42, 0.98, 1.05, 0.9, 0.74),
        (2.55, 0.5, 0.75, 0.8, 0.84, 0.7),
    ]
    bag.add(_car(s, (-1.6, 1.65), 0.4, 1.88))
    for y in (-0.88, 0.88):
        bag.add(box(), at=(-1.5, y, 0.85), size=(2.3, 0.08, 0.6), slot=PAINT_A, grain=0.03)
    bag.add(box(), at=(-2.62, 0, 0.85), size=(0.08, 1.8, 0.6), slot=PAINT_A, grain=0.03)
    bag.add(box(), at=(-1.5, 0, 0.62), size=(2.3, 1.75, 0.12), colour=BLACK)
    for side in (-1, 1):
        bag.add(box(), at=(-2.66, side * 0.82, 0.95), size=(0.08, 0.14, 0.3), colour=RED, gloss=0.4, kind=LAMP)
    return bag.mesh()


def _truck(length: float, box_height: float, tarp: bool) -> Mesh:
    bag = Bag()
    front = length / 2
    cab = [
        (front - 2.1, 0.6, 1.7, 2.7, 1.15, 1.05, 1),
        (front - 1.3, 0.6, 1.7, 2.75, 1.15, 1.05, 1),
        (front - 1.2, 0.6, 1.7, 2.75, 1.15, 1.05),
        (front - 0.45, 0.55, 1.65, 2.65, 1.15, 1.03),
        (front - 0.12, 0.5, 1.6, 1.75, 1.13, 1.08),
        (front, 0.45, 1.2, 1.3, 1.1, 1.05),
    ]
    bag.add(loft(cab))
    cargo = length - 2.3
    middle = -front + cargo / 2
    bag.add(
        rounded_box(0.015),
        at=(middle, 0, 1.05 + box_height / 2),
        size=(cargo, 2.45, box_height),
        slot=PAINT_B,
        grain=0.1 if tarp else 0.04,
    )
    bag.add(box(), at=(-0.3, 0, 0.85), size=(length - 1.5, 0.9, 0.35), colour=BLACK)
    for x in np.arange(-front + 0.2, front - 2.4, 1.1 if tarp else 2.0):
        for side in (-1, 1):
            bag.add(
                box(),
                at=(x, side * 1.23, 1.05 + box_height / 2),
                size=(0.05, 0.03, box_height),
                colour=GREY,
                gloss=0.2,
                fine=True,
            )
    for x in (-front + 1.0, -front + 2.2, front - 1.2) if length > 7 else (-front + 1.3, front - 1.2):
        for side in (-1, 1):
            wheel(bag, x, side * 1.05, 0.48, 0.3)
    for side in (-1, 1):
        bag.add(
            rounded_box(),
            at=(front + 0.01, side * 0.85, 0.8),
            size=(0.08, 0.4, 0.2),
            colour=WHITE,
            gloss=0.5,
            kind=LAMP,
        )
        bag.add(box(), at=(-front - 0.02, side * 1.0, 0.95), size=(0.06, 0.35, 0.16), colour=RED, gloss=0.4, kind=LAMP)
        bag.add(rounded_box(), at=(front - 0.2, side * 1.32, 2.1), size=(0.1, 0.2, 0.5), colour=BLACK, fine=True)
    bag.add(box(), at=(front + 0.01, 0, 0.95), size=(0.05, 1.6, 0.5), colour=BLACK, gloss=0.2)
    return bag.mesh()


def _bicycle() -> Mesh:
    bag = Bag()
    r, front, back = 0.345, 0.55, -0.5
    for x in (front, back):
        bag.add(wheel_ring(0.085), at=(x, 0, r), size=(2 * r, 0.7, 2 * r), colour=BLACK)
        for a in np.arange(6) * np.pi / 6:
            e = (np.cos(a) * r * 0.94, 0.0, np.sin(a) * r * 0.94)
            rod(bag, (x - e[0], 0, r - e[2]), (x + e[0], 0, r + e[2]), 0.007, GREY, fine=True)
        bag.add(
            tube(8),
            at=(x, -0.03, r),
            turn=frame_to(np.array([0.0, 1, 0])),
            size=(0.07, 0.07, 0.06),
            colour=GREY,
            fine=True,
        )
    crank, seat, head = (-0.08, 0, 0.29), (-0.22, 0, 0.86), (0.36, 0, 0.84)
    for a, b in (
        (crank, seat),
        (crank, head),
        (seat, head),
        (crank, (back, 0, r)),
        (seat, (back, 0, r)),
        (head, (front, 0, r)),
        (head, (0.32, 0, 1.02)),
    ):
        rod(bag, a, b, 0.042, slot=PAINT_A)
    rod(bag, (0.3, -0.28, 1.02), (0.3, 0.28, 1.02), 0.032, BLACK)
    bag.add(rounded_box(), at=(-0.25, 0, 0.93), size=(0.27, 0.16, 0.08), colour=BLACK)
    bag.add(
        tube(10),
        at=(crank[0], -0.05, crank[2]),
        turn=frame_to(np.array([0.0, 1, 0])),
        size=(0.18, 0.18, 0.02),
        colour=GREY,
        fine=True,
    )
    for x in (front, back):
        for t in (-0.4, 0.0, 0.4):
            bag.add(
                box(),
                at=(x + r * 1.06 * np.sin(t) * 1.0 - 0.02, 0, r + r * 1.06 * np.cos(t)),
                size=(0.15, 0.05, 0.015),
                colour=BLACK,
                fine=True,
            )
    return bag.mesh()


def _motorcycle(scooter: bool) -> Mesh:
    bag = Bag()
    r = 0.24 if scooter else 0.31
    front, back = 0.68, -0.62
    lay = frame_to(np.array([0.0, 1, 0]))
    for x in (front, back):
        bag.add(tube(14), at=(x, -0.07, r), turn=lay, size=(2 * r, 2 * r, 0.14), colour=BLACK)
        for y in (-0.075, 0.06):
            bag.add(tube(10), at=(x, y, r), turn=lay, size=(1.2 * r, 1.2 * r, 0.015), colour=GREY, gloss=0.5)
    bag.add(ball(), at=(0.1, 0, 0.82), size=(0.62, 0.34, 0.34), slot=PAINT_A, grain=0.03)
    bag.add(rounded_box(), at=(-0.4, 0, 0.82), size=(0.75, 0.3, 0.14), colour=BLACK)
    bag.add(ball(), at=(-0.72, 0, 0.8), size=(0.5, 0.24, 0.2), slot=PAINT_A)
    bag.add(rounded_box(), at=(0.0, 0, 0.45), size=(0.6, 0.36, 0.42), colour=(0.06, 0.06, 0.065), gloss=0.3)
    rod(bag, (front, 0.1, r), (0.42, 0.1, 1.0), 0.05, GREY)
    rod(bag, (front, -0.1, r), (0.42, -0.1, 1.0), 0.05, GREY)
    rod(bag, (0.36, -0.36, 1.05), (0.36, 0.36, 1.05), 0.035, BLACK)
    rod(bag, (0.0, -0.17, 0.3), (-0.85, -0.2, 0.42), 0.09, GREY)
    bag.add(ball(), at=(0.56, 0, 0.93), size=(0.16, 0.22, 0.22), colour=WHITE, gloss=0.5, kind=LAMP)
    bag.add(box(), at=(-0.95, 0, 0.78), size=(0.05, 0.16, 0.08), colour=RED, kind=LAMP)
    bag.add(ball(), at=(front, 0, r + 0.22), size=(0.42, 0.16, 0.2), slot=PAINT_A)
    if scooter:
        bag.add(rounded_box(), at=(0.45, 0, 0.62), size=(0.16, 0.46, 0.7), slot=PAINT_A)
        bag.add(rounded_box(), at=(-0.45, 0, 0.5), size=(0.75, 0.36, 0.4), slot=PAINT_A)
        bag.add(rounded_box(), at=(-0.85, 0, 1.02), size=(0.38, 0.38, 0.32), slot=PAINT_B)
    for side in (-1, 1):
        bag.add(
            capsule(5),
            at=(0.38, side * 0.34, 1.08),
            turn=frame_to(np.array([0.1, side * 0.3, 1.0])),
            size=(0.02, 0.02, 0.2),
            colour=BLACK,
            fine=True,
        )
    return bag.mesh()


@cache
def fleet() -> Mapping[str, Vehicle]:
    """Every kind of vehicle by name. Made once a process, since it takes half a second; nobody may change it."""
    makers: dict[str, tuple[int, float, float, Callable[[], Mesh]]] = {
        'hatch': (c.CAR, 4.0, 1.74, lambda: _hatch(4.0, 1.48, 0.3, 1.74)),
        'city': (c.CAR, 3.5, 1.65, lambda: _hatch(3.5, 1.52, 0.7, 1.65)),
        'estate': (c.CAR, 4.7, 1.82, lambda: _hatch(4.7, 1.5, 0.5, 1.82)),
        'suv': (c.CAR, 4.5, 1.88, lambda: _hatch(4.5, 1.72, 0.6, 1.88)),
        'sedan': (c.CAR, 4.6, 1.8, lambda: _sedan(4.6, 1.8)),
        'limousine': (c.CAR, 5.0, 1.88, lambda: _sedan(5.0, 1.88, 1.48)),
        'van': (c.CAR, 5.1, 1.94, _van),
        'pickup': (c.TRUCK, 5.3, 1.88, _pickup),
        'lorry': (c.TRUCK, 7.0, 2.45, lambda: _truck(7.0, 2.3, False)),
        'long lorry': (c.TRUCK, 10.5, 2.5, lambda: _truck(10.5, 2.7, True)),
        'bus': (c.BUS, 12.0, 2.55, lambda: coach(12.0, 3.05, 2.55)),
        'minibus': (c.BUS, 8.0, 2.3, lambda: coach(8.0, 2.8, 2.3)),
        'tram': (c.TRAIN, TRAM_CAR, 2.4, lambda: tram_car(True)),
        'tram middle': (c.TRAIN, TRAM_CAR, 2.4, lambda: tram_car(False)),
        'motorbike': (c.MOTORCYCLE, 2.1, 0.8, lambda: _motorcycle(False)),
        'scooter': (c.MOTORCYCLE, 1.9, 0.7, lambda: _motorcycle(True)),
        'bicycle': (c.BICYCLE, 1.8, 0.6, _bicycle),
    }
    made = {}
    for name, (label, length, width, make) in makers.items():
        mesh = make()
        mesh.vertices.flags.writeable = mesh.indices.flags.writeable = False
        made[name] = Vehicle(label, length, width, mesh)
    return MappingProxyType(made)


CAR_PAINTS = (
    (0.65, 0.65, 0.65), (0.03, 0.03, 0.032), (0.18, 0.185, 0.19), (0.40, 0.41, 0.42), (0.03, 0.06, 0.16),
    (0.28, 0.02, 0.02), (0.015, 0.02, 0.03), (0.72, 0.71, 0.66), (0.06, 0.07, 0.08), (0.05, 0.11, 0.06),
    (0.36, 0.28, 0.17), (0.08, 0.16, 0.28),
    (0.62, 0.36, 0.02), (0.11, 0.10, 0.095), (0.30, 0.06, 0.02),
)  # fmt: skip
"""Linear light; dull ones are the most, as on a real street."""


def car_paint(rng: np.random.Generator) -> tuple[float, float, float]:
    """A body colour."""
    weights = np.array([5, 6, 5, 5, 2.5, 2, 3, 4, 4, 1, 1, 2, 0.7, 2, 0.6])
    base = np.array(CAR_PAINTS[rng.choice(len(CAR_PAINTS), p=weights / weights.sum())])
    r, g, b = base * rng.uniform(0.7, 1.25)
    return float(r), float(g), float(b)
