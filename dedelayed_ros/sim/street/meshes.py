"""Triangle meshes: the vertex layout, a few primitives, and bags in which primitives are put together.

Axes of a thing: x forward, y left, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

VERTEX = np.dtype([('pos', 'f4', 3), ('normal', 'f4', 3), ('uvw', 'f4', 3), ('colour', 'u1', 4), ('info', 'u1', 4)])
"""colour: rgb (linear, 0..255) and gloss; info: class id, colour slot, kind (see shaders), grain (0..255)."""

Point = tuple[float, float, float]
"""x, y, z in metres."""

OF_INSTANCE = 254
"""A class id that says: take the instance's."""

PLAIN, GLASS, LAMP, BRICK = 0, 1, 2, 3
"""Kinds of solid surfaces."""

UNDERSIDE = 4
"""A kind of polygon that ``smoothed`` paints black."""

OWN, PAINT_A, PAINT_B = 0, 1, 2
"""Colour slots."""


@dataclass(frozen=True)
class Mesh:
    """vertices: VERTEX [n]; indices: uint32 [3·t], of which the first ``coarse`` (None: all) are enough from afar."""

    vertices: np.ndarray
    indices: np.ndarray
    coarse: int | None = None


def _mesh(pos: np.ndarray, normal: np.ndarray, indices: np.ndarray) -> Mesh:
    v = np.zeros(len(pos), VERTEX)
    v['pos'], v['normal'], v['uvw'] = pos, normal, pos
    v['colour'] = 255
    v['info'][:, 0] = OF_INSTANCE
    v['info'][:, 1] = PAINT_A
    return Mesh(v, np.asarray(indices, np.uint32).reshape(-1))


def _quads(rows: int, columns: int) -> np.ndarray:
    """Indices of a grid of (rows + 1) × (columns + 1) vertices."""
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing='ij')
    a = (i * (columns + 1) + j).reshape(-1)
    return np.stack([a, a + 1, a + columns + 2, a, a + columns + 2, a + columns + 1], 1)


def box() -> Mesh:
    """The unit cube around the origin."""
    pos: list[np.ndarray] = []
    normal: list[np.ndarray] = []
    faces: list[int] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            n = np.zeros(3)
            n[axis] = sign
            u, v = np.zeros(3), np.zeros(3)
            u[(axis + 1) % 3], v[(axis + 2) % 3] = 0.5, 0.5 * sign
            base = len(pos)
            pos += [0.5 * n - u - v, 0.5 * n + u - v, 0.5 * n + u + v, 0.5 * n - u + v]
            normal += [n] * 4
            faces += [base, base + 1, base + 2, base, base + 2, base + 3]
    return _mesh(np.array(pos), np.array(normal), np.array(faces))


def rounded_box(bevel: float = 0.12) -> Mesh:
    """The unit cube with chamfered edges and smooth shading across them (bevel: share of the side)."""
    inner = 0.5 - bevel
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    pos, polygons = {}, []
    for k, corner in enumerate(corners):
        for axis in range(3):
            p = corner * inner
            p[axis] = corner[axis] * 0.5
            pos[k, axis] = p
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1, 1):
            ks = [k for k, q in enumerate(corners) if q[axis] == sign]
            ks.sort(key=lambda k: float(np.arctan2(corners[k][v], corners[k][u])))
            polygons.append((np.array([pos[k, axis] for k in ks]), PLAIN))
        for a in (-1, 1):
            for b in (-1, 1):
                k0, k1 = (k for k, q in enumerate(corners) if q[u] == a and q[v] == b)
                polygons.append((np.array([pos[k0, u], pos[k1, u], pos[k1, v], pos[k0, v]]), PLAIN))
    polygons += [(np.array([pos[k, axis] for axis in range(3)]), PLAIN) for k in range(8)]
    return smoothed(polygons)


def ball(columns: int = 8, rows: int = 5) -> Mesh:
    """The sphere of diameter one."""
    t, f = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing='ij')
    n = np.stack([np.sin(t) * np.cos(f), np.sin(t) * np.sin(f), np.cos(t)], -1).reshape(-1, 3)
    return _mesh(n * 0.5, n, _quads(rows, columns)[:, ::-1])


def capsule(columns: int = 7, coarse: bool = False) -> Mesh:
    """A limb of diameter one from z = 0 to z = 1 with rounded ends."""
    t = np.array([0.0, 1.57, 1.57, np.pi] if coarse else [0.0, 0.8, 1.57, 1.57, 2.34, np.pi])
    z = np.array([1.03, 0.92, 0.08, -0.03] if coarse else [1.03, 0.99, 0.88, 0.12, 0.01, -0.03])
    f = np.linspace(0, 2 * np.pi, columns + 1)
    n = np.stack([np.sin(t)[:, None] * np.cos(f), np.sin(t)[:, None] * np.sin(f), np.cos(t)[:, None] + 0 * f], -1)
    p = n * 0.5
    p[..., 2] = z[:, None]
    return _mesh(p.reshape(-1, 3), n.reshape(-1, 3), _quads(len(t) - 1, columns)[:, ::-1])


def tube(columns: int = 10, top: float = 1.0, capped: bool = True) -> Mesh:
    """A cylinder or cone of diameter one (``top`` at its upper end) from z = 0 to z = 1."""
    f = np.linspace(0, 2 * np.pi, columns + 1)
    ring = np.stack([np.cos(f), np.sin(f), 0 * f], -1)
    low, high = ring * 0.5, ring * 0.5 * top + [0, 0, 1]
    side = ring + [0, 0, (1 - top) * 0.5]
    pos, normal = np.concatenate([low, high]), np.concatenate([side, side])
    faces = _quads(1, columns)
    if capped:
        base = len(pos)
        pos = np.concatenate([pos, high, [[0, 0, 1]], low, [[0, 0, 0]]])
        up, down = np.tile([0.0, 0, 1], (columns + 2, 1)), np.tile([0.0, 0, -1], (columns + 2, 1))
        normal = np.concatenate([normal, up, down])
        k = np.arange(columns)
        centre, low0 = base + columns + 1, base + columns + 2
        lid = np.stack([base + k, base + k + 1, k * 0 + centre, low0 + k + 1, low0 + k, k * 0 + low0 + columns + 1], 1)
        faces = np.concatenate([faces, lid])
    return _mesh(pos, normal, faces)


def disc(columns: int = 12) -> Mesh:
    """The flat disc of diameter one that looks along z."""
    f = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    pos = np.stack([np.cos(f), np.sin(f), 0 * f], -1) * 0.5
    k = np.arange(1, columns - 1)
    return _mesh(pos, np.tile([0.0, 0, 1], (columns, 1)), np.stack([0 * k, k, k + 1], 1))


def wheel_ring(thickness: float = 0.07, columns: int = 14) -> Mesh:
    """A thin torus of diameter one in the x-z plane: the wheel of a bicycle."""
    f, g = np.meshgrid(np.linspace(0, 2 * np.pi, columns + 1), np.linspace(0, 2 * np.pi, 4), indexing='ij')
    out = np.stack([np.cos(f), 0 * f, np.sin(f)], -1)
    n = out * np.cos(g)[..., None] + np.array([0.0, 1, 0]) * np.sin(g)[..., None]
    p = out * (0.5 - thickness / 2) + n * thickness / 2
    return _mesh(p.reshape(-1, 3), n.reshape(-1, 3), _quads(columns, 3))


def puff(rng: np.random.Generator, rough: float = 0.22, columns: int = 8, rows: int = 5) -> Mesh:
    """A lumpy ball: a clump of leaves."""
    b = ball(columns, rows)
    n = b.vertices['normal'].astype(np.float64)
    waves = rng.normal(size=(5, 3)) * 2.2
    bump = sum(np.sin(n @ w + p) for w, p in zip(waves, rng.uniform(0, 6.28, 5), strict=True)) / 5
    return _mesh(n * 0.5 * (1 + rough * bump * 2)[:, None], n, b.indices)


def loft(stations: list[tuple[float, ...]], windows: tuple[float, float] = (0.25, 9.0)) -> Mesh:
    """The hull of a vehicle from its cross-sections.

    Each station is (x, z_low, z_belt, z_roof, half width at the middle, half width at the roof[, 1 for a pillar]).
    Sides between belt and roof are glass where the roof is ``windows`` metres over the belt at both ends; slopes
    between a low and a high roof are windscreens.
    """
    rings = []
    for x, low, belt, roof, wide, narrow, *_ in stations:
        mid = low + (belt - low) * 0.55
        half = [(wide * 0.93, low), (wide, mid), (wide * 0.97, belt), (narrow, roof)]
        rings.append([(x, y, z) for y, z in half] + [(x, -y, z) for y, z in reversed(half)])
    ring = np.array(rings)
    polygons: list[tuple[np.ndarray, int]] = []
    for k in range(len(stations) - 1):
        a, b = stations[k], stations[k + 1]
        rise_a, rise_b = a[3] - a[2], b[3] - b[2]
        pillar = len(a) > 6 and len(b) > 6
        glazed = windows[0] < rise_a < windows[1] and windows[0] < rise_b < windows[1] and not pillar
        slope = abs(b[3] - a[3]) / max(abs(b[0] - a[0]), 1e-3) > 0.28 and max(rise_a, rise_b) > 0.2 and not pillar
        for j in range(8):
            q = np.stack([ring[k, j], ring[k + 1, j], ring[k + 1, (j + 1) % 8], ring[k, (j + 1) % 8]])
            side = j in (2, 4)
            glass = (side and (glazed or (slope and min(rise_a, rise_b) >= 0.0))) or (j == 3 and slope)
            polygons.append((q, GLASS if glass else (UNDERSIDE if j == 7 else PLAIN)))
    polygons.append((ring[0][[0, 1, 2, 3, 4, 5, 6, 7]], PLAIN))
    polygons.append((ring[-1][[7, 6, 5, 4, 3, 2, 1, 0]], PLAIN))
    return smoothed(polygons)


def smoothed(polygons: list[tuple[np.ndarray, int]], crease: float = 0.6) -> Mesh:
    """Polygons with kinds (GLASS, PLAIN, UNDERSIDE) to a mesh; faces blend where their cosine is over ``crease``."""
    triangles, kinds = [], []
    for points, kind in polygons:
        for i in range(1, len(points) - 1):
            triangles.append(points[[0, i, i + 1]])
            kinds += [kind] * 3
    tri = np.array(triangles, np.float64)  # [t, 3, 3]
    normal = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    inwards = (normal * (tri.mean(1) - tri.mean((0, 1)))).sum(1) < 0
    tri[inwards] = tri[inwards, ::-1]
    normal[inwards] *= -1
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    corner = tri.reshape(-1, 3)
    owner = np.repeat(np.arange(len(tri)), 3)
    place = np.unique(np.round(corner, 5), axis=0, return_inverse=True)[1].reshape(-1)
    together = (place[:, None] == place) & (unit[owner] @ unit[owner].T > crease)
    total = together.astype(np.float64) @ normal[owner]
    total = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    mesh = _mesh(corner, total, np.arange(len(corner)))
    v, kinds_of = mesh.vertices, np.array(kinds)
    v['info'][:, 3] = 8
    v['colour'][:, 3] = 130
    for kind, colour, gloss in ((GLASS, (6, 7, 8), 200), (UNDERSIDE, (4, 4, 4), 0)):
        at = kinds_of == kind
        v['colour'][at] = (*colour, gloss)
        v['info'][at, 1] = OWN
        v['info'][at, 2] = GLASS if kind == GLASS else PLAIN
    return mesh


class Bag:
    """Collects transformed copies of meshes into one."""

    def __init__(self) -> None:
        self._vertices: list[np.ndarray] = []
        self._indices: list[np.ndarray] = []
        self._fine: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        mesh: Mesh,
        *,
        at: tuple[float, float, float] = (0.0, 0.0, 0.0),
        turn: float | np.ndarray = 0.0,
        size: tuple[float, float, float] = (1.0, 1.0, 1.0),
        colour: tuple[float, float, float] | None = None,
        gloss: float = 0.0,
        label: int = OF_INSTANCE,
        slot: int | None = None,
        kind: int | None = None,
        grain: float | None = None,
        shift: float = 0.0,
        paint_a: tuple[float, float, float] | None = None,
        paint_b: tuple[float, float, float] | None = None,
        fine: bool = False,
    ) -> None:
        """Add a copy: scaled by size, turned (yaw in radians, or a 3×3 rotation), moved. colour: linear rgb 0..1.

        What is None is kept as the mesh has it. ``shift`` moves the texture, so that equal things look different.
        ``fine``: not needed from afar.
        """
        v = mesh.vertices.copy()
        r = turn if isinstance(turn, np.ndarray) else yaw_matrix(turn)
        s = np.asarray(size, np.float64)
        p = v['pos'] * s
        v['uvw'] = v['uvw'] * s + shift
        n = (v['normal'] / s) @ r.T
        v['pos'] = p @ r.T + np.asarray(at, np.float64)
        v['normal'] = n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)
        if colour is not None:
            v['colour'][:, :3] = np.clip(np.asarray(colour) * 255, 0, 255)
            v['colour'][:, 3] = int(gloss * 255)
            v['info'][:, 1] = OWN
        for which, paint in ((PAINT_A, paint_a), (PAINT_B, paint_b)):
            if paint is not None:
                at_slot = v['info'][:, 1] == which
                v['colour'][at_slot, :3] = np.clip(np.asarray(paint) * 255, 0, 255)
                v['info'][at_slot, 1] = OWN
        if label != OF_INSTANCE:
            v['info'][v['info'][:, 0] == OF_INSTANCE, 0] = label
        for column, value in ((1, slot), (2, kind), (3, None if grain is None else int(grain * 255))):
            if value is not None:
                v['info'][:, column] = value
        split = 0 if fine else (len(mesh.indices) if mesh.coarse is None else mesh.coarse)
        self._fine.append(mesh.indices[split:] + np.uint32(self._count))
        self.add_raw(v, mesh.indices[:split])

    def add_raw(self, vertices: np.ndarray, indices: np.ndarray) -> None:
        """Add vertices [n] (VERTEX) and indices as they are."""
        self._vertices.append(vertices)
        self._indices.append(np.asarray(indices, np.uint32).reshape(-1) + self._count)
        self._count += len(vertices)

    def mesh(self) -> Mesh:
        """Everything in the bag as one mesh."""
        if not self._vertices:
            return Mesh(np.zeros(0, VERTEX), np.zeros(0, np.uint32))
        coarse = np.concatenate(self._indices)
        return Mesh(np.concatenate(self._vertices), np.concatenate([coarse, *self._fine]), len(coarse))


@dataclass
class Bags:
    """The families of surfaces of a chunk."""

    solid: Bag = field(default_factory=Bag)
    facade: Bag = field(default_factory=Bag)
    foliage: Bag = field(default_factory=Bag)
    ground: Bag = field(default_factory=Bag)


def yaw_matrix(yaw: float) -> np.ndarray:
    """3×3 rotation about the vertical (rad)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def frame_to(direction: np.ndarray) -> np.ndarray:
    """Rotations [..., 3, 3] that take z to the directions [..., 3] (need not be unit)."""
    z = direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-9)
    helper = np.where(np.abs(z[..., :1]) < 0.8, np.array([1.0, 0, 0]), np.array([0.0, 1, 0]))
    x = helper - z * (helper * z).sum(-1, keepdims=True)
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], -1)
