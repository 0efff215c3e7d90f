"""Things that stand along the street: houses, walls, fences, trees, poles, signs, lights, parked vehicles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import classes as c
from .look import Look
from .meshes import BRICK, LAMP, VERTEX, Bag, Bags, Point, ball, box, puff, rounded_box, smoothed, tube, yaw_matrix
from .parts import rod
from .signs import Signs
from .vehicles import Vehicle, car_paint

WALLS = (
    (0.34, 0.15, 0.10), (0.26, 0.12, 0.08), (0.55, 0.50, 0.42), (0.62, 0.58, 0.52), (0.40, 0.36, 0.30),
    (0.50, 0.42, 0.28), (0.30, 0.30, 0.30), (0.44, 0.44, 0.44), (0.66, 0.64, 0.60), (0.22, 0.17, 0.13),
    (0.46, 0.30, 0.20), (0.38, 0.40, 0.42),
    (0.58, 0.44, 0.32), (0.30, 0.34, 0.32), (0.16, 0.16, 0.17),
)  # fmt: skip
ROOFS = ((0.20, 0.07, 0.045), (0.06, 0.06, 0.065), (0.14, 0.09, 0.07), (0.10, 0.10, 0.11), (0.26, 0.12, 0.08))


class Builder:
    """Puts things into bags; what they look like comes from the generator that is passed, and from the seed's look."""

    def __init__(self, look: Look, rng: np.random.Generator, fleet: Mapping[str, Vehicle]) -> None:
        self._look = look
        self._fleet = fleet
        self._puffs = [puff(rng) for _ in range(4)]
        self._box, self._ball, self._tube, self._soft = box(), ball(), tube(8), rounded_box(0.1)
        self._cone = tube(8, 0.55)
        tone = float(rng.uniform(0.05, 0.4))
        self._pole_colour = (tone, tone * rng.uniform(0.9, 1.1), tone * rng.uniform(0.85, 1.1))
        self._crown = rng.uniform(0.8, 1.25)
        self.signs = Signs(self._pole_colour)

    # -- houses -----------------------------------------------------------------------------------------------------

    def house(
        self,
        bags: Bags,
        rng: np.random.Generator,
        at: Point,
        yaw: float,
        size: Point,
        *,
        shop: bool,
        glass: bool,
        gable: bool,
        wall: tuple[float, float, float] | None = None,
    ) -> None:
        """A building: at is the middle of its footprint, yaw where its front looks, size (depth, front, height)."""
        depth, front, tall = size
        r = yaw_matrix(yaw)
        number = float(np.floor(rng.uniform(0, 400)))
        if wall is None:
            wall = WALLS[rng.integers(len(WALLS))]
        tint = np.clip(np.array(wall) * rng.uniform(0.75, 1.3), 0, 0.8)
        corners = np.array(
            [[depth / 2, -front / 2], [depth / 2, front / 2], [-depth / 2, front / 2], [-depth / 2, -front / 2]]
        )
        for k in range(4):
            a, b = corners[k], corners[(k + 1) % 4]
            width = float(np.hypot(*(b - a)))
            v = np.zeros(4, VERTEX)
            pos = np.array([[*a, -0.3], [*b, -0.3], [*b, tall], [*a, tall]])
            v['pos'] = pos @ r.T + [at[0], at[1], at[2]]
            normal = np.array([(b - a)[1], -(b - a)[0], 0]) / width
            v['normal'] = r @ normal
            v['uvw'] = [[0, -0.3, number], [width, -0.3, number], [width, tall, number], [0, tall, number]]
            v['colour'][:, :3] = tint * 255
            v['info'] = (c.BUILDING, 0, 1 if glass else 0, 255 if shop and k == 0 else 0)
            bags.facade.add_raw(v, np.array([0, 1, 2, 0, 2, 3]))
        roof = np.array(ROOFS[rng.integers(len(ROOFS))]) * rng.uniform(0.7, 1.4)
        base = (at[0], at[1], at[2] + tall)
        if gable:
            rise = float(rng.uniform(0.35, 0.7)) * depth / 2
            e = 0.35
            lo, hi = -0.1, rise
            p = [
                (depth / 2 + e, -front / 2 - e),
                (depth / 2 + e, front / 2 + e),
                (-depth / 2 - e, front / 2 + e),
                (-depth / 2 - e, -front / 2 - e),
            ]
            q = [np.array([*x, lo]) for x in p]
            t0, t1 = np.array([0, -front / 2 - e, hi]), np.array([0, front / 2 + e, hi])
            if rng.random() < 0.4:
                t0, t1 = t0 + [0, min(depth, front) * 0.35, 0], t1 - [0, min(depth, front) * 0.35, 0]
            faces = [
                (np.array(f), 0)
                for f in ([q[0], q[1], t1, t0], [q[2], q[3], t0, t1], [q[1], q[2], t1], [q[3], q[0], t0])
            ]
            bags.solid.add(
                smoothed(faces, 0.95),
                at=base,
                turn=yaw,
                colour=tuple(roof),
                label=c.BUILDING,
                kind=BRICK,
                grain=0.35,
                shift=number,
            )
            if rng.random() < 0.6:
                bags.solid.add(
                    self._box,
                    at=(base[0], base[1], base[2] + rise),
                    turn=yaw,
                    size=(0.7, 0.9, 1.6),
                    colour=(0.24, 0.12, 0.09),
                    label=c.BUILDING,
                    kind=BRICK,
                    grain=0.3,
                )
        else:
            trim = tuple(tint * rng.uniform(0.6, 1.2))
            bags.solid.add(
                self._box,
                at=(base[0], base[1], base[2]),
                turn=yaw,
                size=(depth + 0.3, front + 0.2, 0.5),
                colour=trim,
                label=c.BUILDING,
                grain=0.2,
                shift=number,
            )
            if rng.random() < 0.4:
                off = r @ np.array([rng.uniform(-0.2, 0.2) * depth, rng.uniform(-0.2, 0.2) * front, 0])
                bags.solid.add(
                    self._box,
                    at=(base[0] + off[0], base[1] + off[1], base[2] + 1.0),
                    turn=yaw,
                    size=(3.0, 3.0, 2.4),
                    colour=(0.3, 0.3, 0.3),
                    label=c.BUILDING,
                    grain=0.25,
                )
        if shop and rng.random() < 0.6:
            colour = tuple(rng.uniform(0.02, 0.5, 3) ** 1.3)
            w = front * rng.uniform(0.4, 0.9)
            out = r @ np.array([depth / 2 + 0.6, 0, 0])
            tilt = yaw_matrix(yaw) @ np.array([[0.94, 0, 0.34], [0, 1, 0], [-0.34, 0, 0.94]])
            bags.solid.add(
                self._box,
                at=(at[0] + out[0], at[1] + out[1], at[2] + 2.7),
                turn=tilt,
                size=(1.4, w, 0.08),
                colour=colour,
                label=c.BUILDING,
                grain=0.2,
            )
        if not glass and tall > 6 and rng.random() < 0.35:
            for k in range(int(tall // 3.2) - 1):
                out = r @ np.array([depth / 2 + 0.5, rng.uniform(-0.1, 0.1) * front, 0])
                bags.solid.add(
                    self._box,
                    at=(at[0] + out[0], at[1] + out[1], at[2] + 3.4 + 3.2 * k),
                    turn=yaw,
                    size=(1.0, front * 0.4, 0.15),
                    colour=tuple(tint * 0.8),
                    label=c.BUILDING,
                    grain=0.2,
                )
                bags.solid.add(
                    self._box,
                    at=(at[0] + 1.9 * out[0] - 0.9 * out[0], at[1] + out[1], at[2] + 3.9 + 3.2 * k),
                    turn=yaw,
                    size=(1.0, front * 0.4, 0.9),
                    colour=tuple(tint * 0.5),
                    label=c.BUILDING,
                    grain=0.2,
                )

    # -- barriers ---------------------------------------------------------------------------------------------------

    def wall(
        self,
        bags: Bags,
        rng: np.random.Generator,
        a: np.ndarray,
        b: np.ndarray,
        tall: float,
        colour: tuple[float, float, float],
        brick: bool,
    ) -> None:
        """A free-standing wall between two points on the ground."""
        middle, d = (a + b) / 2, b - a
        length = float(np.hypot(d[0], d[1]))
        yaw = float(np.arctan2(d[1], d[0]))
        bags.solid.add(
            self._box,
            at=(middle[0], middle[1], middle[2] + tall / 2 - 0.1),
            turn=yaw,
            size=(length + 0.05, 0.28, tall + 0.2),
            colour=colour,
            label=c.WALL,
            kind=BRICK if brick else 0,
            grain=0.4,
            shift=float(rng.uniform(0, 9)),
        )
        bags.solid.add(
            self._box,
            at=(middle[0], middle[1], middle[2] + tall + 0.04),
            turn=yaw,
            size=(length + 0.05, 0.4, 0.1),
            colour=tuple(np.multiply(colour, 0.8)),
            label=c.WALL,
            grain=0.3,
        )

    def fence(
        self,
        bags: Bags,
        rng: np.random.Generator,
        a: np.ndarray,
        b: np.ndarray,
        style: int,
        tall: float,
        colour: tuple[float, float, float],
    ) -> None:
        """A fence: 0 bars, 1 boards, 2 crosses, 3 wires."""
        d = b - a
        length = float(np.hypot(d[0], d[1]))
        yaw = float(np.arctan2(d[1], d[0]))
        u = d / max(length, 1e-6)

        def put(t: float, z: float, size: Point, fine: bool = False) -> None:
            p = a + u * t
            bags.solid.add(
                self._box,
                at=(p[0], p[1], p[2] + z),
                turn=yaw,
                size=size,
                colour=colour,
                gloss=0.1,
                label=c.FENCE,
                grain=0.25,
                fine=fine,
            )

        pole = 0.09 if style != 2 else 0.13
        for t in np.arange(0, length, 2.0):
            put(t, tall / 2, (pole, pole, tall + 0.1))
        if style == 0:
            for z in (0.18, tall - 0.12):
                put(length / 2, z, (length, 0.05, 0.06))
            for t in np.arange(0.0, length, 0.22):
                put(t, tall / 2, (0.035, 0.035, tall - 0.1), True)
        elif style == 1:
            put(length / 2, tall / 2, (length, 0.02, tall - 0.15))
            for t in np.arange(0.0, length, 0.19):
                put(t, tall / 2 + rng.uniform(-0.02, 0.02), (0.15, 0.05, tall), True)
        elif style == 2:
            for z in (tall - 0.04, 0.15):
                put(length / 2, z, (length, 0.08, 0.09))
            for t in np.arange(0, length - 1.0, 2.0):
                for up in (0, 1):
                    p, q = a + u * t, a + u * min(t + 2.0, length)
                    lo, hi = p[2] + 0.15, p[2] + tall - 0.05
                    ends = ((p[0], p[1], lo if up else hi), (q[0], q[1], hi if up else lo))
                    piece = Bag()
                    rod(piece, *ends, 0.07, colour)
                    bags.solid.add(piece.mesh(), label=c.FENCE)
        else:
            for z in np.linspace(0.15, tall - 0.05, 5):
                put(length / 2, float(z), (length, 0.025, 0.03))

    # -- plants -----------------------------------------------------------------------------------------------------

    def tree(self, bags: Bags, rng: np.random.Generator, at: Point, tall: float, *, shape: int | None = None) -> None:
        """A tree; shape 0 round, 1 conifer, 2 column."""
        shape = int(rng.choice([0, 1, 2], p=[0.74, 0.14, 0.12])) if shape is None else shape
        leaf = np.array(self._look.leaf) * rng.uniform(0.7, 1.3) * (1 + rng.normal(0, 0.12, 3))
        if shape == 1:
            leaf = np.array((0.03, 0.06, 0.03)) * rng.uniform(0.7, 1.5)
        stem = tall * (0.35 if shape == 0 else 0.15)
        bark = (0.09, 0.07, 0.055)
        thick = 0.045 * tall * rng.uniform(0.7, 1.2)
        bags.solid.add(
            self._cone,
            at=(at[0], at[1], at[2] - 0.1),
            size=(thick, thick, stem + tall * 0.25),
            colour=bark,
            label=c.VEGETATION,
            grain=0.5,
            shift=float(rng.uniform(0, 9)),
        )
        clumps: list[tuple[np.ndarray, np.ndarray]] = []
        if shape == 0:
            reach = tall * rng.uniform(0.24, 0.36) * self._crown
            for k in range(int(rng.integers(8, 13))):
                v = rng.normal(size=3)
                v *= rng.uniform(0.35, 0.95) / np.linalg.norm(v)
                middle = np.array([v[0] * reach, v[1] * reach, stem + reach * 0.95 + v[2] * reach * 0.9])
                clumps.append((middle, np.full(3, reach * rng.uniform(0.7, 1.15)) * [1, 1, 0.85]))
                if k < 3:
                    piece = Bag()
                    rod(piece, (0, 0, stem * 0.9), tuple(middle), thick * 0.35, bark)
                    bags.solid.add(piece.mesh(), at=at, label=c.VEGETATION, grain=0.4)
        else:
            wide = tall * (0.42 if shape == 1 else 0.24)
            for k, z in enumerate(np.linspace(0.2, 0.95, 7)):
                w = wide * ((1.05 - z) if shape == 1 else np.sin(np.pi * (0.15 + 0.75 * z)))
                off = rng.normal(0, 0.06, 2) * w
                clumps.append((np.array([off[0], off[1], z * tall]), np.array([w * 1.2, w * 1.2, tall * 0.26])))
                del k
        for middle, size in clumps:
            self._clump(bags, rng, np.add(at, middle), size, leaf)

    def _clump(self, bags: Bags, rng: np.random.Generator, at: np.ndarray, size: np.ndarray, leaf: np.ndarray) -> None:
        colour = tuple(np.clip(leaf * rng.uniform(0.8, 1.2), 0, 1))
        bags.foliage.add(
            self._puffs[rng.integers(4)],
            at=tuple(at),
            turn=float(rng.uniform(0, 6.28)),
            size=tuple(size),
            colour=colour,
            label=c.VEGETATION,
            grain=float(rng.uniform(0.35, 0.75)),
            shift=float(rng.uniform(0, 20)),
        )

    def bush(self, bags: Bags, rng: np.random.Generator, at: Point, tall: float) -> None:
        """A shrub."""
        leaf = np.array(self._look.leaf) * rng.uniform(0.6, 1.2) * (1 + rng.normal(0, 0.15, 3))
        for _ in range(int(rng.integers(2, 5))):
            off = rng.normal(0, 0.3, 2) * tall
            self._clump(
                bags, rng, np.add(at, [off[0], off[1], tall * 0.4]), np.array([tall * 1.1, tall * 1.1, tall]), leaf
            )

    def hedge(self, bags: Bags, rng: np.random.Generator, a: np.ndarray, b: np.ndarray, tall: float) -> None:
        """A row of clipped shrubs."""
        d = b - a
        length = float(np.hypot(d[0], d[1]))
        leaf = np.array(self._look.leaf) * rng.uniform(0.6, 1.0)
        bags.solid.add(
            self._box,
            at=tuple((a + b) / 2 + [0, 0, tall * 0.42]),
            turn=float(np.arctan2(d[1], d[0])),
            size=(length, 0.5, tall * 0.84),
            colour=tuple(leaf * 0.5),
            label=c.VEGETATION,
            grain=0.9,
        )
        for t in np.arange(0.3, length, 0.75):
            self._clump(bags, rng, a + d / length * t + [0, 0, tall * 0.5], np.array([1.3, 1.1, tall * 1.15]), leaf)

    # -- street furniture -------------------------------------------------------------------------------------------

    def lamp_post(self, bags: Bags, at: Point, towards: float, tall: float, style: int) -> None:
        """A street lamp; towards: yaw of the road."""
        add, colour = bags.solid.add, self._pole_colour
        add(self._cone, at=at, size=(0.19, 0.19, tall), colour=colour, gloss=0.15, label=c.POLE, grain=0.15)
        u = np.array([np.cos(towards), np.sin(towards)])
        if style == 0:
            piece = Bag()
            rod(piece, (0, 0, tall - 0.05), (u[0] * 1.6, u[1] * 1.6, tall + 0.25), 0.09, colour)
            add(piece.mesh(), at=at, label=c.POLE)
            add(
                self._soft,
                at=(at[0] + u[0] * 1.9, at[1] + u[1] * 1.9, at[2] + tall + 0.27),
                turn=towards,
                size=(0.8, 0.3, 0.14),
                colour=(0.5, 0.5, 0.45),
                label=c.POLE,
                kind=LAMP,
            )
        else:
            add(
                self._ball,
                at=(at[0], at[1], at[2] + tall + 0.1),
                size=(0.4, 0.4, 0.45),
                colour=(0.7, 0.68, 0.6),
                label=c.POLE,
                kind=LAMP,
            )

    def bollard(self, bags: Bags, at: Point) -> None:
        """A knee-high post."""
        bags.solid.add(
            self._tube, at=at, size=(0.16, 0.16, 0.85), colour=self._pole_colour, gloss=0.15, label=c.POLE, grain=0.15
        )
        bags.solid.add(
            self._ball,
            at=(at[0], at[1], at[2] + 0.92),
            size=(0.2, 0.2, 0.2),
            colour=self._pole_colour,
            gloss=0.2,
            label=c.POLE,
        )

    def clutter(self, bags: Bags, rng: np.random.Generator, at: Point, yaw: float) -> None:
        """Bins, boxes and benches, which have no class."""
        if rng.random() < 0.5:
            bags.solid.add(
                self._cone,
                at=at,
                size=(0.5, 0.5, 0.95),
                colour=tuple(rng.uniform(0.02, 0.2, 3)),
                label=c.NONE,
                grain=0.2,
            )
        else:
            bags.solid.add(
                self._soft,
                at=(at[0], at[1], at[2] + 0.6),
                turn=yaw,
                size=(0.5, 1.0, 1.2),
                colour=tuple(rng.uniform(0.05, 0.3, 3)),
                label=c.NONE,
                grain=0.2,
            )

    # -- parked -----------------------------------------------------------------------------------------------------

    def parked(self, bags: Bags, rng: np.random.Generator, name: str, at: Point, yaw: float, lean: float = 0.0) -> None:
        """A vehicle that stands; lean (rad) to the side."""
        kind = self._fleet[name]
        turn = yaw_matrix(yaw) @ np.array(
            [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]
        )
        stretch = 1 + rng.normal(0, 0.03)
        bags.solid.add(
            kind.mesh,
            at=at,
            turn=turn,
            size=(stretch, 1.0, 1.0),
            paint_a=car_paint(rng),
            paint_b=tuple(rng.uniform(0.1, 0.7, 3)),
            label=kind.label,
        )
