"""What moves on its own: vehicles in lanes and across junctions, riders, people on pavements and crossing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from . import classes as c
from .ego import Ego
from .layout import JUNCTION, Street
from .look import stream
from .path import CHUNK, Path
from .people import CYCLE, MOTOR, WALK, Body
from .plots import CAR_NAMES
from .transit import TRAM_CAR
from .vehicles import Vehicle, car_paint

AHEAD, BEHIND = 150.0, 40.0
"""The stretch of street around the camera that is alive (m)."""


@dataclass
class Mover:
    """Something that moves. ``way``: +1/−1 along the street, or across it where ``across`` is set."""

    name: str  # a vehicle's name, or 'person'
    s: float
    d: float
    way: int
    speed: float  # that it likes (m/s)
    across: bool = False
    v: float = 0.0
    hidden: bool = False
    fresh: bool = True  # has no place of a frame ago
    length: float = 0.5
    body: Body | None = None
    pose: int = WALK
    phase: float = 0.0
    wobble: float = 0.0
    paint: tuple[float, float, float] = (0.3, 0.3, 0.3)
    paint_b: tuple[float, float, float] = (0.5, 0.5, 0.5)
    turn: float = 0.0  # heading relative to the street (rad)
    seed: float = 0.0
    pause: float = 0.0  # s until somebody on foot crosses again
    lead: Mover | None = None  # what this one is coupled to
    behind: float = 0.0  # how far behind it (m)


class Traffic:
    """All movers of one clip. The list never changes its length: who leaves the stretch comes back elsewhere."""

    def __init__(self, street: Street, path: Path, fleet: Mapping[str, Vehicle], ego: Ego) -> None:
        self._street, self._path, self._fleet, self._ego = street, path, fleet, ego
        self._rng = stream(street.seed, 40)
        self.time = float(self._rng.uniform(0, 30))
        self._cycle = float(self._rng.uniform(14, 24))
        self._flow = float(np.clip(ego.cruise if ego.rolling else self._rng.normal(9.5, 2.5), 6.5, 18))  # m/s
        self.movers: list[Mover] = []
        self._populate()

    # -- who is there -----------------------------------------------------------------------------------------------

    def _populate(self) -> None:
        st, rng = self._street, self._rng
        for way, sign in ((1, -1), (-1, 1)):
            for k in range(st.lanes(sign)):
                d = st.lane_middle(sign, k)
                tram_lane = st.tram and k == 0
                s = self._ego.s - BEHIND + float(rng.uniform(0, 15))
                while s < self._ego.s + AHEAD:
                    name = 'tram' if tram_lane and rng.random() < 0.2 else self._vehicle_name()
                    m = self._vehicle(name, s, d, way)
                    clear = (m.length if name != 'tram' else 3 * TRAM_CAR) / 2 + 7
                    if name == 'tram':
                        s += TRAM_CAR
                        m.s = s
                    ahead = s - self._ego.s
                    in_way = self._ego.rolling and abs(d - self._ego.d) < 2
                    if not (in_way and -clear - 3 < ahead < clear + 3 + 1.4 * self._ego.v):
                        self.movers.append(m)
                        if name == 'tram':
                            self._couple(m)
                            s += 2 * TRAM_CAR
                    s += m.length + 6 + float(rng.exponential(24 / st.traffic))
        for sign in (-1, 1):
            if not st.lanes(sign):
                continue
            side = st.section(sign)
            lane_end = st.median / 2 + st.lanes(sign) * st.lane
            d = lane_end + 0.8 if side.bike else lane_end - 0.35
            for _ in range(2 + int(rng.poisson(2.5 if side.bike else 1.4))):
                self.movers.append(self._two_wheeler('bicycle', sign * (d + float(rng.normal(0, 0.12))), -sign))
        for _ in range(2 + int(rng.poisson(2.0 * st.traffic))):
            self.movers.append(self._crossing_vehicle())
        for _ in range(8 + int(rng.poisson(14 * st.crowd))):
            self.movers.append(self._walker())
        for _ in range(1 + int(rng.poisson(2.0 * st.crowd))):
            self.movers.append(self._crosser())

    def _couple(self, front: Mover) -> None:
        """Two more cars behind the front car of a tram; the last one looks backwards."""
        for k, name in ((1, 'tram middle'), (2, 'tram')):
            car = replace(front, name=name, lead=front, behind=k * TRAM_CAR, turn=np.pi if k == 2 else 0.0)
            self._follow(car)
            self.movers.append(car)

    def _follow(self, car: Mover) -> None:
        lead = car.lead
        if lead is not None:
            car.s, car.v, car.hidden, car.fresh = lead.s - lead.way * car.behind, lead.v, lead.hidden, lead.fresh

    def _vehicle_name(self) -> str:
        rng = self._rng
        kind = str(rng.choice(['car', 'truck', 'bus', 'motor'], p=[0.60, 0.11, 0.08, 0.21]))
        if kind == 'car':
            return str(rng.choice(CAR_NAMES, p=[0.2, 0.12, 0.14, 0.16, 0.2, 0.06, 0.12]))
        if kind == 'truck':
            return str(rng.choice(['lorry', 'long lorry', 'pickup'], p=[0.5, 0.3, 0.2]))
        if kind == 'bus':
            return str(rng.choice(['bus', 'minibus'], p=[0.7, 0.3]))
        return str(rng.choice(['motorbike', 'scooter']))

    def _vehicle(self, name: str, s: float, d: float, way: int) -> Mover:
        rng = self._rng
        if name in ('motorbike', 'scooter'):
            return self._two_wheeler(name, d + float(rng.normal(0, 0.5)), way, s)
        speed = float(np.clip(self._flow * rng.normal(1.0, 0.15), 4, 20))
        bright = rng.random() < 0.5
        paint = car_paint(rng)
        if name in ('bus', 'minibus', 'tram'):
            paint = tuple(
                float(x)
                for x in np.array(
                    [(0.55, 0.03, 0.03), (0.6, 0.58, 0.55), (0.6, 0.4, 0.03), (0.05, 0.15, 0.35), (0.05, 0.25, 0.12)][
                        rng.integers(5)
                    ]
                )
                * rng.uniform(0.7, 1.1)
            )  # type: ignore[assignment]
        box = rng.uniform(0.45, 0.75) * np.ones(3) if bright else rng.uniform(0.02, 0.5, 3)
        return Mover(
            name,
            s,
            d,
            way,
            speed,
            v=speed * float(rng.uniform(0.5, 1)),
            length=self._fleet[name].length,
            paint=paint,
            paint_b=(float(box[0]), float(box[1]), float(box[2])),
            seed=float(rng.uniform(0, 50)),
        )

    def _two_wheeler(self, name: str, d: float, way: int, s: float | None = None) -> Mover:
        rng = self._rng
        motor = name != 'bicycle'
        speed = float(rng.uniform(6, 14) if motor else rng.uniform(2.8, 6.5))
        if s is None:
            s = self._ego.s + float(rng.triangular(-BEHIND * 0.5, 15, AHEAD * 0.7))
        return Mover(
            name,
            s,
            d,
            way,
            speed,
            v=speed,
            length=self._fleet[name].length,
            body=Body.random(rng, helmet=motor or rng.random() < 0.5),
            pose=MOTOR if motor else CYCLE,
            phase=float(rng.uniform(0, 6.28)),
            paint=car_paint(rng),
            paint_b=car_paint(rng),
            wobble=float(rng.uniform(0, 6.28)),
            seed=float(rng.uniform(0, 50)),
        )

    def _walker(self) -> Mover:
        st, rng = self._street, self._rng
        sign = int(rng.choice([-1, 1]))
        d = sign * float(
            rng.uniform(st.walk_inner(sign) + 0.3, max(st.walk_outer(sign) - 0.3, st.walk_inner(sign) + 0.5))
        )
        speed = 0.0 if rng.random() < 0.2 else float(rng.uniform(0.9, 1.8))
        s = self._ego.s + float(rng.triangular(-10, 12, AHEAD * 0.62))
        m = Mover(
            'person',
            s,
            d,
            int(rng.choice([-1, 1])),
            speed,
            v=speed,
            body=Body.random(rng),
            phase=float(rng.uniform(0, 6.28)),
            wobble=float(rng.uniform(0, 6.28)),
        )
        m.turn = float(rng.uniform(-3.1, 3.1)) if speed == 0 else 0.0
        return m

    def _crosser(self) -> Mover:
        rng = self._rng
        m = Mover(
            'person',
            0,
            0,
            1,
            float(rng.uniform(0.9, 1.9)),
            across=True,
            body=Body.random(rng),
            phase=float(rng.uniform(0, 6.28)),
        )
        self._start_crosser(m)
        m.d += m.way * float(rng.uniform(0, 12))
        m.pause = float(rng.uniform(0, 8))
        m.hidden = bool(rng.random() < 0.4)
        return m

    def _start_crosser(self, m: Mover) -> None:
        """Step onto the road where a driver who keeps to the speed of now can still stop."""
        st, rng = self._street, self._rng
        m.way = int(rng.choice([-1, 1]))
        m.d = -m.way * (st.walk_inner(-m.way) + float(rng.uniform(0.3, 2.0)))
        m.s = self._ego.s + self._ego.v**2 / 5 + float(rng.uniform(7, 50))
        m.v, m.fresh, m.hidden = m.speed, True, False

    def _crossing_vehicle(self) -> Mover:
        rng = self._rng
        name = self._vehicle_name()
        m = self._vehicle(name, 0, 0, 1)
        m.speed = float(rng.uniform(4, 9))
        self._start_crossing(m)
        m.d += m.way * float(rng.uniform(0, 90))
        m.across = True
        return m

    def _start_crossing(self, m: Mover) -> None:
        rng = self._rng
        first = int((self._ego.s - 5) // CHUNK)
        places = [k for k in range(max(first, 1), first + 4) if self._path.is_junction(k)]
        m.hidden = not places
        m.fresh = True
        m.across = True
        m.way = int(rng.choice([-1, 1]))
        m.v = m.speed
        if places:
            k = places[int(rng.integers(len(places)))]
            m.s = k * CHUNK + JUNCTION + m.way * self._street.side_street * 0.5
            m.d = -m.way * 66.0
            same = [
                o
                for o in self.movers
                if o is not m
                and o.across
                and o.way == m.way
                and abs(o.s - m.s) < 3
                and not o.hidden
                and o.name != 'person'
            ]
            m.hidden = any(abs(o.d - m.d) < 10 for o in same)
        else:
            m.s, m.d = self._ego.s + 100, -m.way * 66.0

    # -- how they move ----------------------------------------------------------------------------------------------

    def _along_green(self, chunk: int) -> tuple[bool, bool]:
        """Whether the street, or the one that crosses, has green."""
        t = (self.time + 7.3 * chunk) % self._cycle / self._cycle
        switch = 0.8 if self._flow > 11 else 0.62  # fast streets have the longer green
        return t < switch, switch + 0.07 < t < 0.95

    def step(self, dt: float) -> tuple[float, float]:
        """Go on by dt seconds. Returns the gap (m) to the next obstacle in the camera's lane, and its speed (m/s)."""
        self.time += dt
        st, ego = self._street, self._ego
        on_road = [
            m
            for m in self.movers
            if m.name == 'person'
            and m.across
            and not m.hidden
            and abs(m.d) < max(st.road_edge(-1), st.road_edge(1)) + 0.5
        ]
        drivers = [m for m in self.movers if m.name != 'person' and not m.across and not m.hidden]
        for m in self.movers:
            if m.lead is not None:
                self._follow(m)
            elif m.hidden:
                self._return(m, dt)
            elif m.name == 'person':
                self._walk(m, dt)
            elif m.across:
                self._cross(m, dt)
            else:
                gap, speed = self._gap(m.s, m.d, m.way, m.length, m.v, drivers, on_road, m)
                self._drive(m, dt, gap, speed)
        return self._gap(ego.s, ego.d, 1, 4.4, ego.v, drivers, on_road, None)

    def _gap(
        self,
        s: float,
        d: float,
        way: int,
        length: float,
        v: float,
        drivers: list[Mover],
        walkers: list[Mover],
        me: Mover | None,
    ) -> tuple[float, float]:
        best, speed = 1e3, 0.0
        for o in drivers:
            passes = 0.85 if 'bicycle' in (o.name, me.name if me is not None else '') else 1.9
            if o is me or (me is not None and o.lead is me) or abs(o.d - d) > passes or o.way != way:
                continue
            gap = (o.s - s) * way - (o.length + length) / 2
            if -2 < gap < best and (o.s - s) * way > 0:
                best, speed = gap, o.v
        if me is not None and self._ego.rolling and way == 1 and abs(self._ego.d - d) < 1.9 and self._ego.s > s:
            gap = self._ego.s - s - (4.4 + length) / 2
            if gap < best:
                best, speed = gap, self._ego.v
        for w in walkers:
            if abs(w.d - d) < 2.4:
                gap = (w.s - s) * way - length / 2 - 1.5
                if -0.5 < gap < best:
                    best, speed = gap, 0.0
        k0 = int(s // CHUNK)
        for k in (k0, k0 + way):
            if self._path.is_junction(k) and not self._along_green(k)[0]:
                stop = k * CHUNK + JUNCTION - way * (self._street.side_street + 5.2)
                gap = (stop - s) * way - length / 2
                if gap > v * v / 12.0 - 1.0 and -0.5 < gap < best:
                    best, speed = gap, 0.0
        return best, speed

    def _drive(self, m: Mover, dt: float, gap: float, leader: float) -> None:
        bend = abs(self._path.bend(m.s + 6 * m.way))
        target = min(m.speed, float(np.sqrt(3.0 / max(bend, 1e-4))))
        push = 1.5 * (1 - (m.v / target) ** 4)
        if gap < 80:
            want = 2.5 + 1.0 * m.v + m.v * (m.v - leader) / 4.0
            push = min(push, 1.5 - 1.5 * (max(want, 1.0) / max(gap, 0.4)) ** 2)
        m.v = max(m.v + float(np.clip(push, -7, 2)) * dt, 0.0)
        m.s += m.way * m.v * dt
        m.phase += m.v * dt * 1.4
        m.wobble += dt
        ahead = m.s - self._ego.s
        if ahead < -BEHIND - 25 or ahead > AHEAD + 40:
            m.hidden = True

    def _return(self, m: Mover, dt: float) -> None:
        if m.name == 'person':
            m.pause -= dt
            if m.pause <= 0:
                self._start_crosser(m)
            return
        if m.across:
            self._start_crossing(m)
            return
        faster = m.way > 0 and m.speed > self._ego.v
        s = self._ego.s - BEHIND if faster else self._ego.s + AHEAD + float(self._rng.uniform(0, 20))
        if all(
            o is m or o.hidden or o.across or abs(o.d - m.d) > 1.9 or abs(o.s - s) > (o.length + m.length) / 2 + 8
            for o in self.movers
            if o.name != 'person'
        ):
            m.s, m.hidden, m.fresh = s, False, True
            m.v = m.speed * 0.8

    def _cross(self, m: Mover, dt: float) -> None:
        st = self._street
        chunk = int(m.s // CHUNK)
        edge = st.walk_outer(-m.way) + m.length / 2
        before = -m.way * m.d - edge  # metres to its stop line
        push = 1.5 * (1 - (m.v / m.speed) ** 4)
        gaps = [
            (o.d - m.d) * m.way - (o.length + m.length) / 2 - 1
            for o in self.movers
            if o is not m
            and o.across
            and o.name != 'person'
            and not o.hidden
            and o.way == m.way
            and abs(o.s - m.s) < 2.5
            and (o.d - m.d) * m.way > 0
        ]
        if self._ego.rolling and abs(self._ego.s - m.s) < 6 and (self._ego.d - m.d) * m.way > 0:
            gaps.append((self._ego.d - m.d) * m.way - m.length / 2 - 2.5)
        if 0 < before < 40 and not self._along_green(chunk)[1]:
            gaps.append(before)
        if gaps and min(gaps) < 40:
            push = min(push, 1.5 - 1.5 * (max(1.5 + 1.0 * m.v + m.v * m.v / 5, 1.0) / max(min(gaps), 0.3)) ** 2)
        m.v = max(m.v + float(np.clip(push, -7, 2)) * dt, 0.0)
        m.d += m.way * m.v * dt
        m.phase += m.v * dt * 1.4
        if m.way * m.d > 68 or m.s < self._ego.s - 60:
            m.hidden = True

    def _walk(self, m: Mover, dt: float) -> None:
        st, rng = self._street, self._rng
        scale = m.body.scale if m.body else 1.0
        m.phase += m.v * dt / (0.42 * scale) * 1.15
        m.wobble += dt
        if m.across:
            m.d += m.way * m.v * dt
            if m.way * m.d > st.walk_inner(m.way) + 1.5 or m.s < self._ego.s - 12:
                m.hidden, m.pause = True, float(rng.exponential(5.0))
            return
        m.s += m.way * m.v * dt
        ahead = m.s - self._ego.s
        if ahead < -20 or ahead > AHEAD * 0.7:
            m.s = self._ego.s + (AHEAD * 0.65 if ahead < 0 else -10.0) - float(rng.uniform(0, 6))
            m.fresh = True

    # -- where they are ---------------------------------------------------------------------------------------------

    def poses(self, movers: list[Mover], raised: float) -> np.ndarray:
        """Thing-to-world matrices [n, 3, 4] of movers now; raised: height of the pavement (m)."""
        n = len(movers)
        s, d = np.array([m.s for m in movers]), np.array([m.d for m in movers])
        x, y, heading = self._path.at(s, d)
        turn = np.array([(m.way * np.pi / 2 if m.across else (0.0 if m.way > 0 else np.pi)) + m.turn for m in movers])
        lean = np.array(
            [
                0.03 * np.sin(3.0 * m.wobble) if m.pose == CYCLE and m.body is not None and m.name != 'person' else 0.0
                for m in movers
            ]
        )
        yaw = heading + turn + 0.4 * lean
        edge = np.where(d > 0, self._street.road_edge(1), self._street.road_edge(-1))
        person = np.array([m.name == 'person' for m in movers])
        z = np.where(person, np.clip((np.abs(d) - edge) * 4, 0, 1) * raised, 0.0)
        cy, sy, cl, sl = np.cos(yaw), np.sin(yaw), np.cos(lean), np.sin(lean)
        out = np.zeros((n, 3, 4))
        out[:, 0, 0], out[:, 0, 1], out[:, 0, 2], out[:, 0, 3] = cy, -sy * cl, sy * sl, x
        out[:, 1, 0], out[:, 1, 1], out[:, 1, 2], out[:, 1, 3] = sy, cy * cl, -cy * sl, y
        out[:, 2, 1], out[:, 2, 2], out[:, 2, 3] = sl, cl, z
        return out

    def label(self, m: Mover) -> int:
        """Class of a mover itself (a rider's vehicle for riders)."""
        return c.PERSON if m.name == 'person' else self._fleet[m.name].label
