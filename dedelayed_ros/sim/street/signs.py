"""Traffic signs and lights, and the poles that carry them."""

from __future__ import annotations

import numpy as np

from . import classes as c
from .meshes import Bag, Bags, Point, ball, box, frame_to, tube, yaw_matrix
from .parts import rod


class Signs:
    """Puts signs and lights into bags; which ones comes from the generator that is passed."""

    def __init__(self, pole_colour: tuple[float, float, float]) -> None:
        self._pole_colour = pole_colour
        self._box, self._ball, self._tube = box(), ball(), tube(8)

    def pole(
        self, bags: Bags, at: Point, tall: float, thick: float = 0.08, colour: tuple[float, float, float] | None = None
    ) -> None:
        """A bare pole."""
        bags.solid.add(
            self._tube,
            at=at,
            size=(thick, thick, tall),
            colour=colour or self._pole_colour,
            gloss=0.2,
            label=c.POLE,
            grain=0.15,
        )

    def sign(self, bags: Bags, rng: np.random.Generator, at: Point, yaw: float) -> None:
        """A traffic sign on a pole; yaw: where its face looks."""
        tall = float(rng.uniform(2.2, 3.0))
        self.pole(bags, at, tall + 0.3, 0.07, (0.35, 0.35, 0.36))
        for k in range(int(rng.choice([1, 2], p=[0.75, 0.25]))):
            self._plate(bags, rng, (at[0], at[1], at[2] + tall - 0.85 * k), yaw)

    def _plate(self, bags: Bags, rng: np.random.Generator, at: Point, yaw: float, big: float = 1.0) -> None:
        u = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        lie = frame_to(u)
        style = int(rng.integers(0, 6))
        red, blue, white, yellow, black = (
            (0.50, 0.015, 0.015),
            (0.01, 0.06, 0.32),
            (0.72, 0.72, 0.72),
            (0.65, 0.42, 0.01),
            (0.02, 0.02, 0.02),
        )
        s = big * float(rng.uniform(0.6, 0.85))

        def disc(sides: int, size: float, lift: float, colour: tuple[float, float, float], spin: float = 0.0) -> None:
            turn = lie @ yaw_matrix(spin)
            p = np.add(at, u * (0.05 + lift))
            bags.solid.add(
                tube(sides),
                at=tuple(p),
                turn=turn,
                size=(size, size, 0.012),
                colour=colour,
                gloss=0.1,
                label=c.TRAFFIC_SIGN,
                grain=0.05,
            )

        def plate(wide: float, high: float, lift: float, colour: tuple[float, float, float], dz: float = 0.0) -> None:
            p = np.add(at, u * (0.05 + lift))
            bags.solid.add(
                self._box,
                at=(p[0], p[1], p[2] + dz),
                turn=yaw,
                size=(0.012, wide, high),
                colour=colour,
                gloss=0.1,
                label=c.TRAFFIC_SIGN,
                grain=0.05,
            )

        up = _spin_up(lie)
        if style == 0:
            disc(14, s, 0, red)
            disc(14, s * 0.74, 0.02, white)
            plate(s * 0.32, s * 0.3, 0.04, black)
        elif style == 1:
            disc(14, s, 0, red)
            plate(s * 0.7, s * 0.16, 0.03, white)
        elif style == 2:
            disc(3, s * 1.25, 0, red, up)
            disc(3, s * 0.85, 0.02, white, up)
        elif style == 3:
            disc(14, s, 0, blue)
            plate(s * 0.16, s * 0.5, 0.03, white)
        elif style == 4:
            plate(s, s, 0, blue)
            plate(s * 0.5, s * 0.62, 0.02, white)
        else:
            disc(4, s * 1.1, 0, white, up)
            disc(4, s * 0.8, 0.02, yellow, up)
        plate(s * 0.6, s * 0.6, -0.03, (0.25, 0.25, 0.25))

    def gantry_sign(self, bags: Bags, rng: np.random.Generator, at: Point, yaw: float) -> None:
        """A large direction board on two poles."""
        wide, high = float(rng.uniform(1.8, 3.4)), float(rng.uniform(1.0, 2.0))
        side = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
        for k in (-0.35, 0.35):
            p = np.add(at, side * wide * k)
            self.pole(bags, tuple(p), 2.2 + high, 0.1)
        colour = ((0.01, 0.10, 0.30), (0.01, 0.18, 0.06), (0.7, 0.7, 0.7), (0.60, 0.40, 0.02))[rng.integers(4)]
        front = np.add(at, [np.cos(yaw) * 0.08, np.sin(yaw) * 0.08, 2.1 + high / 2])
        bags.solid.add(
            self._box,
            at=tuple(front),
            turn=yaw,
            size=(0.05, wide, high),
            colour=colour,
            gloss=0.1,
            label=c.TRAFFIC_SIGN,
        )
        ink = (0.75, 0.75, 0.75) if colour[0] < 0.5 else (0.03, 0.03, 0.03)
        for k in range(int(high / 0.35)):
            w = wide * rng.uniform(0.3, 0.75)
            p = (
                front
                + [np.cos(yaw) * 0.04, np.sin(yaw) * 0.04, high / 2 - 0.3 - 0.34 * k]
                + side * (wide - w) * rng.uniform(-0.3, 0.3)
            )
            bags.solid.add(self._box, at=tuple(p), turn=yaw, size=(0.02, w, 0.14), colour=ink, label=c.TRAFFIC_SIGN)

    def traffic_light(self, bags: Bags, rng: np.random.Generator, at: Point, yaw: float, arm: float) -> None:
        """Lights on a pole, and with ``arm`` metres over the road too; yaw: where they look."""
        dark = (0.02, 0.022, 0.02)
        green = rng.random() < 0.5
        self.pole(bags, at, 3.5 if not arm else 5.7, 0.13)
        u = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        heads = [(np.array([at[0], at[1], at[2] + 2.8]), u)]
        if rng.random() < 0.5:
            heads.append((heads[0][0], -u))
        if arm:
            side = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
            piece = Bag()
            rod(piece, (0, 0, 5.5), tuple(side * arm + [0, 0, 5.7]), 0.1, self._pole_colour)
            bags.solid.add(piece.mesh(), at=at, label=c.POLE)
            heads += [(np.array(at) + side * reach + [0, 0, 5.3], u) for reach in (arm, arm * 0.45)]
        for place, out in heads:
            q = place + out * 0.16
            looks = float(np.arctan2(out[1], out[0]))
            size = (0.26, 0.42, 1.15)
            bags.solid.add(self._box, at=tuple(q), turn=looks, size=size, colour=dark, gloss=0.1, label=c.TRAFFIC_LIGHT)
            for k, (z, colour) in enumerate(
                ((0.35, (0.9, 0.03, 0.02)), (0.0, (0.9, 0.4, 0.02)), (-0.35, (0.03, 0.8, 0.35)))
            ):
                shade = colour if k == (2 if green else 0) else tuple(np.multiply(colour, 0.12))
                lens = tuple(q + out * 0.12 + [0, 0, z])
                bags.solid.add(
                    self._ball, at=lens, size=(0.16, 0.26, 0.26), colour=shade, gloss=0.3, label=c.TRAFFIC_LIGHT
                )


def _spin_up(lie: np.ndarray) -> float:
    """The angle about z of ``lie`` that brings its x axis upwards."""
    return float(np.arctan2(lie[2, 1], lie[2, 0]))
