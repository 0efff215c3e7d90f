"""What stands in one chunk of street: chosen by seed and chunk number, so that it is the same whenever it is made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import classes as c
from .layout import JUNCTION, Ground, Street
from .look import Look, stream
from .meshes import Bags
from .path import CHUNK, Path
from .scenery import Builder
from .vehicles import Vehicle

CAR_NAMES = ('hatch', 'city', 'estate', 'suv', 'sedan', 'limousine', 'van')

ROW, TOWERS, HOUSES, PARK, LONG_WALL, YARD = range(6)
"""What is beyond the pavement."""


class Plots:
    """Makes the chunks of one seed's street."""

    def __init__(self, street: Street, look: Look, path: Path, fleet: Mapping[str, Vehicle]) -> None:
        self._street, self._look, self._path = street, look, path
        self._builder = Builder(look, stream(street.seed, 20), fleet)
        self._ground = Ground(street, look, path)
        rng = stream(street.seed, 21)
        self._tree_every = float(rng.choice([0.0, rng.uniform(7, 16)], p=[0.35, 0.65]))
        self._lamp_every = float(rng.uniform(18, 34))
        self._lamp_style = int(rng.integers(2))
        self._fence_style = int(rng.integers(4))
        self._fence_colour = tuple(
            np.array(
                [(0.03, 0.06, 0.04), (0.02, 0.02, 0.02), (0.25, 0.16, 0.09), (0.5, 0.5, 0.48), (0.2, 0.2, 0.2)][
                    rng.integers(5)
                ]
            )
            * rng.uniform(0.7, 1.3)
        )
        self._wall_tone = tuple(
            np.array([(0.4, 0.38, 0.34), (0.3, 0.13, 0.09), (0.5, 0.46, 0.38), (0.28, 0.28, 0.27)][rng.integers(4)])
            * rng.uniform(0.7, 1.2)
        )
        self._kerb_fence = rng.random() < 0.3
        self._bollards = rng.random() < 0.25
        self._parked_share = float(rng.uniform(0.25, 0.95))
        t = street.town
        weights = np.array([0.1 + 0.75 * t, 0.02 + 0.35 * t * t, 0.55 * (1 - t), 0.16, 0.12, 0.12])
        self._kinds = weights / weights.sum()

    @property
    def raised(self) -> float:
        """Height of the pavement (m)."""
        return self._ground.raised

    def kind(self, chunk: int, sign: int) -> int:
        """What is beyond the pavement; neighbours are often of a kind."""
        return int(stream(self._street.seed, 22, (chunk + (sign > 0)) // 2, sign + 1).choice(6, p=self._kinds))

    def make(self, chunk: int) -> Bags:
        """All that stands in a chunk."""
        bags = Bags()
        yards = []
        for sign in (-1, 1):
            yards.append(c.SIDEWALK if self.kind(chunk, sign) in (ROW, TOWERS) else c.TERRAIN)
        self._ground.add(bags.ground, chunk, (yards[0], yards[1]))
        for sign in (-1, 1):
            rng = stream(self._street.seed, 23, chunk, sign + 1)
            self._beyond(bags, rng, chunk, sign)
            self._pavement(bags, rng, chunk, sign)
            self._backdrop(bags, rng, chunk, sign)
        if self._street.median > 1.2:
            self._median(bags, stream(self._street.seed, 24, chunk), chunk)
        if self._path.is_junction(chunk):
            self._corner(bags, stream(self._street.seed, 25, chunk), chunk)
        return bags

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _at(self, s: float, d: float, z: float = 0.0) -> tuple[tuple[float, float, float], float]:
        x, y, heading = self._path.at(s, d)
        return (float(x), float(y), z), float(heading)

    def _spans(self, chunk: int, margin: float) -> list[tuple[float, float]]:
        s0 = chunk * CHUNK
        if not self._path.is_junction(chunk):
            return [(s0, s0 + CHUNK)]
        half = self._street.side_street + margin
        return [(s0, s0 + JUNCTION - half), (s0 + JUNCTION + half, s0 + CHUNK)]

    def _clear(self, x: float, y: float, s: float, radius: float, sign: int) -> bool:
        return self._path.distance(x, y, s) > radius + self._street.walk_outer(sign) - 0.5

    # -- beyond the pavement ----------------------------------------------------------------------------------------

    def _beyond(self, bags: Bags, rng: np.random.Generator, chunk: int, sign: int) -> None:
        kind = self.kind(chunk, sign)
        outer = self._street.walk_outer(sign)
        for lo, hi in self._spans(chunk, 2.5):
            if kind in (ROW, TOWERS):
                self._houses(bags, rng, sign, lo, hi, kind, outer)
            elif kind == HOUSES:
                self._houses(bags, rng, sign, lo, hi, kind, outer + float(rng.uniform(2.5, 6.0)))
                self._barrier(
                    bags,
                    rng,
                    sign,
                    lo,
                    hi,
                    outer + 0.25,
                    rng.choice(['fence', 'hedge', 'wall', 'none'], p=[0.4, 0.3, 0.2, 0.1]),
                    float(rng.uniform(0.8, 1.5)),
                )
                self._greens(bags, rng, sign, lo, hi, outer + 1.0, outer + 16, 4)
            elif kind == PARK:
                self._barrier(
                    bags,
                    rng,
                    sign,
                    lo,
                    hi,
                    outer + 0.25,
                    rng.choice(['fence', 'hedge', 'none'], p=[0.45, 0.25, 0.3]),
                    float(rng.uniform(0.8, 1.6)),
                )
                self._greens(bags, rng, sign, lo, hi, outer + 1.5, outer + 30, 9)
            elif kind == LONG_WALL:
                self._barrier(bags, rng, sign, lo, hi, outer + 0.25, 'wall', float(rng.uniform(1.8, 3.2)))
                self._greens(bags, rng, sign, lo, hi, outer + 3.0, outer + 20, 5)
            else:
                self._barrier(bags, rng, sign, lo, hi, outer + 0.25, 'fence', float(rng.uniform(1.4, 2.2)))
                for s in np.arange(lo + 2, hi - 2, 2.9):
                    if rng.random() < 0.6:
                        at, heading = self._at(float(s), sign * (outer + 5.5))
                        if self._clear(at[0], at[1], float(s), 3.0, sign):
                            self._builder.parked(
                                bags,
                                rng,
                                str(rng.choice([*CAR_NAMES, 'lorry', 'pickup'])),
                                at,
                                heading + np.pi / 2 + np.pi * rng.integers(2),
                            )
                self._houses(bags, rng, sign, lo, hi, TOWERS, outer + 18)

    def _houses(
        self, bags: Bags, rng: np.random.Generator, sign: int, lo: float, hi: float, kind: int, line: float
    ) -> None:
        town = self._street.town
        s = lo
        while s < hi - 3:
            if kind == ROW:
                front, depth, gap = float(rng.uniform(5, 13)), 11.0, 0.0
                tall = float(rng.uniform(6, 12 + 9 * town))
            elif kind == TOWERS:
                front, depth, gap = float(rng.uniform(14, 30)), 16.0, float(rng.choice([0.0, 4.0]))
                tall = float(rng.uniform(10, 18 + 24 * town))
            else:
                front, depth, gap = float(rng.uniform(8, 13)), 9.0, float(rng.uniform(3, 8))
                tall = float(rng.uniform(3.2, 6.5))
            front = min(front, hi - s)
            bend = self._path.bend(s + front / 2) * sign
            spread = 1.0 / max(1.0 - bend * line, 0.3)
            at, heading = self._at(s + front / 2, sign * (line + depth / 2))
            if front > 3 and self._clear(at[0], at[1], s, depth / 2 - 0.5, sign):
                yaw = heading - sign * np.pi / 2
                self._builder.house(
                    bags,
                    rng,
                    (at[0], at[1], 0.1),
                    yaw,
                    (depth, front / spread + 0.05 if kind != HOUSES else front, tall),
                    shop=bool(kind == ROW and rng.random() < 0.25 + 0.5 * town),
                    glass=bool(kind == TOWERS and rng.random() < 0.35),
                    gable=bool(rng.random() < {ROW: 0.35, TOWERS: 0.0, HOUSES: 0.9}[kind]),
                )
            s += front + gap

    def _barrier(
        self, bags: Bags, rng: np.random.Generator, sign: int, lo: float, hi: float, d: float, what: str, tall: float
    ) -> None:
        if what == 'none':
            return
        n = max(int((hi - lo) / 5), 1)
        s = np.linspace(lo, hi, n + 1)
        x, y, _ = self._path.at(s, sign * d)
        points = np.stack([x, y, np.full(n + 1, 0.1)], 1)
        skip = rng.integers(0, 2 * n)
        for k in range(n):
            if k == skip:
                continue
            a, b = points[k], points[k + 1]
            if what == 'fence':
                self._builder.fence(bags, rng, a, b, self._fence_style, tall, self._fence_colour)
            elif what == 'wall':
                self._builder.wall(
                    bags,
                    rng,
                    a,
                    b,
                    tall,
                    self._wall_tone,
                    self._wall_tone[0] > 1.5 * self._wall_tone[1] or self._fence_style == 1,
                )
            else:
                self._builder.hedge(bags, rng, a, b, tall)

    def _greens(
        self, bags: Bags, rng: np.random.Generator, sign: int, lo: float, hi: float, near: float, far: float, count: int
    ) -> None:
        for _ in range(int(count * (hi - lo) / CHUNK)):
            s, d = float(rng.uniform(lo, hi)), float(rng.uniform(near, far))
            at, _h = self._at(s, sign * d)
            if self._clear(at[0], at[1], s, 1.5, sign):
                if rng.random() < 0.6:
                    self._builder.tree(bags, rng, at, float(rng.uniform(4, 12)))
                else:
                    self._builder.bush(bags, rng, at, float(rng.uniform(0.6, 1.8)))

    def _backdrop(self, bags: Bags, rng: np.random.Generator, chunk: int, sign: int) -> None:
        town = self._street.town
        for _ in range(2):
            s, d = float(rng.uniform(chunk * CHUNK, (chunk + 1) * CHUNK)), float(rng.uniform(38, 85))
            at, heading = self._at(s, sign * d)
            if not self._clear(at[0], at[1], s, 22, sign):
                continue
            if rng.random() < 0.35 + 0.6 * town:
                self._builder.house(
                    bags,
                    rng,
                    at,
                    heading - sign * np.pi / 2,
                    (16, float(rng.uniform(15, 34)), float(rng.uniform(8, 14 + 26 * town))),
                    shop=False,
                    glass=bool(rng.random() < 0.2),
                    gable=bool(rng.random() < 0.4),
                )
            else:
                for _k in range(3):
                    p = (at[0] + float(rng.normal(0, 7)), at[1] + float(rng.normal(0, 7)), 0.0)
                    if self._clear(p[0], p[1], s, 5, sign):
                        self._builder.tree(bags, rng, p, float(rng.uniform(8, 16)))

    # -- on the pavement --------------------------------------------------------------------------------------------

    def _pavement(self, bags: Bags, rng: np.random.Generator, chunk: int, sign: int) -> None:
        st, b = self._street, self._builder
        edge, inner, outer = st.road_edge(sign), st.walk_inner(sign), st.walk_outer(sign)
        furniture = edge + 0.45 if inner - edge < 1 else (edge + inner) / 2
        side = st.section(sign)
        s0, s1 = chunk * CHUNK, (chunk + 1) * CHUNK
        facing = -sign * np.pi / 2
        z = self.raised

        def free(s: float) -> bool:
            return any(lo <= s <= hi for lo, hi in self._spans(chunk, 1.0))

        phase = 7.0 if sign > 0 else 0.0
        for s in np.arange(np.ceil((s0 - phase) / self._lamp_every) * self._lamp_every + phase, s1, self._lamp_every):
            if free(s):
                at, heading = self._at(float(s), sign * furniture, z)
                b.lamp_post(bags, at, heading + facing, 6.5 if self._lamp_style == 0 else 4.2, self._lamp_style)
        if self._tree_every and rng.random() < 0.85:
            for s in np.arange(s0 + float(rng.uniform(0, 4)), s1, self._tree_every):
                if free(s) and (inner - edge > 0.7 or side.walk > 2.6):
                    at, _ = self._at(float(s), sign * furniture, z)
                    b.tree(bags, rng, at, float(rng.uniform(4.5, 9.5)), shape=0 if rng.random() < 0.85 else 2)
        for _ in range(rng.poisson(1.5)):
            s = float(rng.uniform(s0, s1))
            if free(s):
                at, heading = self._at(s, sign * (edge + 0.35), z)
                b.signs.sign(
                    bags,
                    rng,
                    at,
                    heading + (np.pi if sign < 0 or rng.random() < 0.4 else 0.0) + float(rng.normal(0, 0.12)),
                )
        if rng.random() < 0.16:
            s = float(rng.uniform(s0, s1))
            if free(s):
                at, heading = self._at(s, sign * (edge + 0.5), z)
                b.signs.gantry_sign(bags, rng, at, heading + (np.pi if sign < 0 else 0.0))
        if not self._path.is_junction(chunk) and rng.random() < 0.3:  # a crossing for people on foot
            at, heading = self._at(float(rng.uniform(s0, s1)), sign * (edge + 0.5), z)
            b.signs.traffic_light(
                bags, rng, at, heading + (np.pi if sign < 0 else 0.0), arm=2.5 if rng.random() < 0.4 else 0.0
            )
        if self._kerb_fence and rng.random() < 0.5:
            for lo, hi in self._spans(chunk, 4.0):
                self._barrier(bags, rng, sign, lo, hi, edge + 0.25, 'fence', 1.0)
        elif self._bollards and side.park == 0:
            for s in np.arange(s0, s1, 2.5):
                if free(s):
                    b.bollard(bags, self._at(float(s), sign * (edge + 0.3), z)[0])
        for _ in range(rng.poisson(0.7)):
            s = float(rng.uniform(s0, s1))
            if free(s):
                at, heading = self._at(s, sign * (outer - 0.5 if rng.random() < 0.6 else edge + 0.6), z)
                b.clutter(bags, rng, at, heading)
        for _ in range(rng.poisson(1.5)):
            self._two_wheels(bags, rng, sign, float(rng.uniform(s0, s1)), free)
        if side.park:
            s = s0 + float(rng.uniform(0, 3))
            while s < s1 - 3:
                name = str(rng.choice(['truck', *CAR_NAMES], p=[0.04, *([0.96 / 7] * 7)]))
                name = 'lorry' if name == 'truck' and rng.random() < 0.6 else ('pickup' if name == 'truck' else name)
                length = 7.4 if name == 'lorry' else 5.0
                if free(s) and free(s + length) and rng.random() < self._parked_share:
                    at, heading = self._at(s + length / 2, sign * (edge - side.park / 2 + float(rng.normal(0, 0.08))))
                    b.parked(
                        bags,
                        rng,
                        name,
                        at,
                        heading + (np.pi if (sign > 0) ^ (rng.random() < 0.12) else 0.0) + float(rng.normal(0, 0.02)),
                    )
                s += length + float(rng.uniform(0.3, 1.3))

    def _two_wheels(self, bags: Bags, rng: np.random.Generator, sign: int, s: float, free: object) -> None:
        st = self._street
        group = int(rng.integers(1, 5))
        edge = st.road_edge(sign)
        name = str(rng.choice(['bicycle', 'motorbike', 'scooter'], p=[0.55, 0.25, 0.2]))
        across = rng.random() < 0.5
        for k in range(group):
            if not free(s + 0.7 * k) or st.section(sign).walk < 2.2:  # type: ignore[operator]
                return
            at, heading = self._at(s + (0.7 if across else 2.2) * k, sign * (edge + 1.15), self.raised)
            yaw = heading + (np.pi / 2 if across else 0) + float(rng.normal(0, 0.1))
            self._builder.parked(bags, rng, name, at, yaw, lean=float(rng.uniform(0.08, 0.2)))

    def _median(self, bags: Bags, rng: np.random.Generator, chunk: int) -> None:
        what = int(stream(self._street.seed, 26).integers(4))
        for lo, hi in self._spans(chunk, 5.0):
            if what == 0:
                for s in np.arange(lo + 3, hi, 9.0):
                    self._builder.tree(bags, rng, self._at(float(s), 0.0, 0.1)[0], float(rng.uniform(4, 8)))
            elif what == 1:
                self._barrier(bags, rng, 1, lo, hi, 0.0, 'fence', 1.1)
            elif what == 2:
                self._barrier(bags, rng, 1, lo, hi, 0.0, 'hedge', 0.8)
            else:
                self._barrier(bags, rng, 1, lo, hi, 0.0, 'wall', 0.85)

    # -- junctions --------------------------------------------------------------------------------------------------

    def _corner(self, bags: Bags, rng: np.random.Generator, chunk: int) -> None:
        st, b = self._street, self._builder
        middle = chunk * CHUNK + JUNCTION
        half = st.side_street
        lights = rng.random() < 0.85
        for sign in (-1, 1):
            edge = st.road_edge(sign)
            for end in (-1, 1):
                at, heading = self._at(middle + end * (half + 0.8), sign * (edge + 0.5), self.raised)
                if lights:
                    looks = heading + np.pi if sign < 0 else heading
                    b.signs.traffic_light(
                        bags,
                        rng,
                        at,
                        looks,
                        arm=float(rng.uniform(2.0, 4.5)) if rng.random() < 0.7 and end * sign < 0 else 0.0,
                    )
                elif rng.random() < 0.6:
                    b.signs.sign(bags, rng, at, heading + (np.pi if sign < 0 else 0))
                # the side street's own houses, seen past the corner
                outer = st.walk_outer(sign)
                d = outer + 12.5
                while d < 62:
                    front = float(rng.uniform(9, 16))
                    at, heading = self._at(middle + end * (half + 3 + 5.5), sign * (d + front / 2))
                    if self._clear(at[0], at[1], middle, 9, sign):
                        if rng.random() < 0.8:
                            b.house(
                                bags,
                                rng,
                                (at[0], at[1], 0.1),
                                heading + (np.pi if end > 0 else 0.0),
                                (11, front, float(rng.uniform(6, 10 + 12 * st.town))),
                                shop=rng.random() < 0.4,
                                glass=False,
                                gable=bool(rng.random() < 0.3),
                            )
                        else:
                            b.tree(bags, rng, at, float(rng.uniform(5, 10)))
                    d += front
