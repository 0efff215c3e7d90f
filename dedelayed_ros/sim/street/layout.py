"""A seed's street in cross-section, and the ground that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import classes as c
from .look import Look, stream
from .meshes import VERTEX, Bag
from .path import CHUNK, Path

JUNCTION = 0.5 * CHUNK
"""Where in its chunk a side street crosses (m)."""

ASPHALT, PLAIN_ASPHALT, SLABS, GRASS, KERB, ZEBRA, COBBLES = range(7)
"""Kinds of ground (see shaders)."""


@dataclass(frozen=True)
class Side:
    """One side of the street, from the outermost lane outwards (m)."""

    bike: float
    park: float
    verge: float
    walk: float


@dataclass(frozen=True)
class Street:
    """Cross-section: d in metres to the left of the middle. Traffic keeps right (some pictures are mirrored)."""

    seed: int
    lane: float
    lanes_right: int
    lanes_left: int
    median: float
    tram: bool
    right: Side
    left: Side
    side_street: float  # half width of the streets that cross
    town: float  # 0 village .. 1 city
    winding: float
    crowd: float
    traffic: float

    @classmethod
    def of(cls, seed: int) -> Street:
        """The street that a seed stands for."""
        rng = stream(seed, 10)
        u = rng.uniform
        town = float(u(0, 1))
        lanes_right = int(rng.choice([1, 2, 3], p=[0.55, 0.33, 0.12]))
        lanes_left = int(rng.choice([0, 1, 2], p=[0.1, 0.6, 0.3])) if lanes_right < 3 else int(rng.choice([2, 3]))

        def side() -> Side:
            return Side(
                bike=float(rng.choice([0.0, 1.6], p=[0.65, 0.35])),
                park=float(rng.choice([0.0, 2.1], p=[0.4, 0.6])),
                verge=float(rng.choice([0.0, u(0.8, 3.0)], p=[0.6, 0.4])),
                walk=float(u(1.6, 5.0)),
            )

        return cls(
            seed=seed,
            lane=float(u(2.9, 3.6)),
            lanes_right=lanes_right,
            lanes_left=lanes_left,
            median=float(rng.choice([0.0, u(1.0, 4.5)], p=[0.75, 0.25])) if lanes_left else 0.0,
            tram=bool(rng.random() < 0.15),
            right=side(),
            left=side(),
            side_street=float(u(3.2, 6.0)),
            town=town,
            winding=float(rng.choice([0.15, 0.6])),
            crowd=float(np.exp(rng.normal(0.0, 0.6))),
            traffic=float(np.exp(rng.normal(0.0, 0.5))),
        )

    def section(self, sign: int) -> Side:
        """The side on the left (+1) or right (−1)."""
        return self.left if sign > 0 else self.right

    def lane_middle(self, sign: int, index: int) -> float:
        """d of a lane, counted from the middle; sign −1: ours."""
        return sign * (self.median / 2 + (index + 0.5) * self.lane)

    def lanes(self, sign: int) -> int:
        """How many lanes a side has."""
        return self.lanes_left if sign > 0 else self.lanes_right

    def rails(self) -> tuple[float, float] | None:
        """d of the two tracks in the road, one each way, where trams go; the same twice in a one-way street."""
        if not self.tram:
            return None
        return self.lane_middle(-1, 0), self.lane_middle(1 if self.lanes_left else -1, 0)

    def road_edge(self, sign: int) -> float:
        """Width from the middle to the kerb (m, positive)."""
        side = self.section(sign)
        return self.median / 2 + self.lanes(sign) * self.lane + side.bike + side.park

    def walk_inner(self, sign: int) -> float:
        """Where the pavement begins (m from the middle)."""
        return self.road_edge(sign) + self.section(sign).verge

    def walk_outer(self, sign: int) -> float:
        """Where the pavement ends (m from the middle)."""
        return self.walk_inner(sign) + self.section(sign).walk

    def lines(self) -> list[tuple[float, float, float, float]]:
        """Up to 8 painted lines: d, half width (m), period (m; 0: unbroken), drawn share."""
        rng = stream(self.seed, 11)
        dash, share = float(rng.choice([6.0, 9.0, 12.0])), float(rng.uniform(0.33, 0.5))
        half = float(rng.uniform(0.05, 0.09))
        out: list[tuple[float, float, float, float]] = []
        if self.lanes_left and not self.median:
            out.append((0.0, half, 0.0 if rng.random() < 0.4 else dash, share))
        for sign in (-1, 1):
            out += [(sign * (self.median / 2 + k * self.lane), half, dash, share) for k in range(1, self.lanes(sign))]
            side = self.section(sign)
            outer = self.median / 2 + self.lanes(sign) * self.lane
            if (side.bike or side.park) and rng.random() < 0.7:
                out.append((sign * outer, half, 0.0 if side.bike else dash / 3, 0.5))
        if rng.random() < 0.12:
            out = []
        return out[:8]


class Ground:
    """Builds a chunk's ground as strips along the street."""

    def __init__(self, street: Street, look: Look, path: Path) -> None:
        self._street, self._look, self._path = street, look, path
        rng = stream(street.seed, 12)
        tone = rng.uniform(0.14, 0.34)
        self._slab = (tone * rng.uniform(0.95, 1.15), tone, tone * rng.uniform(0.8, 1.0))
        self._slab_kind = int(rng.choice([SLABS, SLABS, PLAIN_ASPHALT, COBBLES]))
        self._kerb = (tone * 1.2, tone * 1.2, tone * 1.15)
        self._raised = float(rng.uniform(0.08, 0.16))
        self._cobbled = rng.random() < 0.08

    @property
    def raised(self) -> float:
        """Height of the pavement over the road (m)."""
        return self._raised

    def add(self, bag: Bag, chunk: int, yards: tuple[int, int]) -> None:
        """yards: the class of the land beyond the pavement on the right and the left."""
        st = self._street
        s0 = chunk * CHUNK
        if self._path.is_junction(chunk):
            a, b = s0 + JUNCTION - st.side_street, s0 + JUNCTION + st.side_street
            for lo, hi in ((s0, a), (b, s0 + CHUNK)):
                self._stretch(bag, lo, hi, yards, False)
            self._stretch(bag, a, b, yards, True)
        else:
            self._stretch(bag, s0, s0 + CHUNK, yards, False)

    def _stretch(self, bag: Bag, lo: float, hi: float, yards: tuple[int, int], crossing: bool) -> None:
        st = self._street
        road = COBBLES if self._cobbled else (PLAIN_ASPHALT if crossing else ASPHALT)
        grey = self._look.asphalt[:3]
        half = st.median / 2
        for sign, yard in ((-1, yards[0]), (1, yards[1])):
            edge, inner, outer = st.road_edge(sign), st.walk_inner(sign), st.walk_outer(sign)
            z = self._raised
            if crossing:
                self._strip(bag, lo, hi, sign, 0, 70, 0.0, c.ROAD, road, grey)
                continue
            zebra = None
            if self._path.is_junction(int((lo + hi) / 2 // CHUNK)):
                at_end = lo % CHUNK < 1e-6
                zebra = (hi - 4.4, hi - 1.2) if at_end else (lo + 1.2, lo + 4.4)
            parts = [(lo, hi, road)] if zebra is None else [(lo, zebra[0], road), (*zebra, ZEBRA), (zebra[1], hi, road)]
            for a, b, kind in parts:
                self._strip(bag, a, b, sign, half, edge, 0.0, c.ROAD, kind, grey)
            if half:
                self._strip(bag, lo, hi, sign, 0, half, 0.12, c.TERRAIN, GRASS, self._look.grass)
                self._face(bag, lo, hi, sign * half, sign, 0.12)
            self._face(bag, lo, hi, sign * edge, -sign, z)
            self._strip(bag, lo, hi, sign, edge, edge + 0.14, z, c.SIDEWALK, KERB, self._kerb)
            if inner > edge:
                self._strip(bag, lo, hi, sign, edge + 0.14, inner, z, c.TERRAIN, GRASS, self._look.grass)
            self._strip(bag, lo, hi, sign, max(inner, edge + 0.14), outer, z, c.SIDEWALK, self._slab_kind, self._slab)
            kind, colour = (GRASS, self._look.grass) if yard == c.TERRAIN else (self._slab_kind, self._slab)
            self._strip(bag, lo, hi, sign, outer, 70, z - 0.03, yard, kind, colour)

    def _strip(
        self,
        bag: Bag,
        s0: float,
        s1: float,
        sign: int,
        d0: float,
        d1: float,
        z: float,
        label: int,
        kind: int,
        colour: tuple[float, ...],
    ) -> None:
        n = max(int(np.ceil((s1 - s0) / 2.5)), 1)
        s = np.linspace(s0, s1, n + 1)
        around = [max(sign * self._path.bend(x + k) for k in (-5.0, -2.5, 0.0, 2.5, 5.0)) for x in s]
        bend = np.array(around)
        far = np.minimum(d1, np.where(bend > 0, 0.85 / np.maximum(bend, 1e-6), 1e9))
        near = np.minimum(d0, far)  # on the inside of a bend nothing reaches over the centre of its circle
        across = np.stack([near, far], 1)
        if d1 - d0 > 30:  # long thin triangles lose the texture's precision
            across = np.stack([near, near + (far - near) * 0.2, far], 1)
        along = np.repeat(s[:, None], across.shape[1], 1)
        x, y, _ = self._path.at(along, sign * across)
        v = np.zeros(along.size, VERTEX)
        v['pos'] = np.stack([x, y, np.full_like(x, z)], -1).reshape(-1, 3)
        v['normal'] = (0, 0, 1)
        v['uvw'] = np.stack([along, sign * across, np.zeros_like(along)], -1).reshape(-1, 3)
        v['colour'][:, :3] = np.clip(np.asarray(colour) * 255, 0, 255)
        v['info'] = (label, 0, kind, 128)
        columns = across.shape[1] - 1
        i, j = np.meshgrid(np.arange(n), np.arange(columns), indexing='ij')
        a = (i * (columns + 1) + j).reshape(-1)
        quads = np.stack([a, a + columns + 1, a + columns + 2, a, a + columns + 2, a + 1], 1)
        bag.add_raw(v, quads if sign > 0 else quads[:, ::-1])

    def _face(self, bag: Bag, s0: float, s1: float, d: float, towards: int, height: float) -> None:
        """The upright side of a kerb; towards: +1 where it looks to the left."""
        n = max(int(np.ceil((s1 - s0) / 2.5)), 1)
        s = np.linspace(s0, s1, n + 1)
        x, y, heading = self._path.at(s, d)
        v = np.zeros(2 * (n + 1), VERTEX)
        v['pos'] = np.stack([np.tile(x, 2), np.tile(y, 2), np.repeat([0.0, height], n + 1)], -1)
        v['normal'] = np.tile(
            np.stack([-np.sin(heading) * towards, np.cos(heading) * towards, 0 * heading], -1), (2, 1)
        )
        v['uvw'] = np.stack([np.tile(s, 2), np.repeat([d, d + 0.1], n + 1), np.zeros(2 * n + 2)], -1)
        v['colour'][:, :3] = np.clip(np.asarray(self._kerb) * 255, 0, 255)
        v['info'] = (c.SIDEWALK, 0, KERB, 128)
        a = np.arange(n)
        quads = np.stack([a, a + 1, a + n + 2, a, a + n + 2, a + n + 1], 1)
        bag.add_raw(v, quads if towards < 0 else quads[:, ::-1])
