"""A clip of the simulated street: pictures, classes and true motion, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from dedelayed_ros.errors import InputError

from . import classes as c
from .ego import Ego
from .engine import INSTANCE, Batch, Engine
from .layout import Street
from .look import Look
from .meshes import ball, capsule
from .path import CHUNK, Path
from .people import limbs_of
from .plots import Plots
from .traffic import Mover, Traffic
from .vehicles import fleet

_BACK_CHUNKS, _DETAILED_CHUNKS, _AHEAD_CHUNKS = 2, 2, 5
_NEAR_PEOPLE, _NEAR_VEHICLES = 22.0, 45.0  # m; beyond, meshes are coarser


@dataclass(frozen=True)
class StreetFrame:
    """One instant.

    image: uint8 [H, W, 3] RGB; labels: uint8 [H, W] Cityscapes train ids, 255 none; motion: float32 [H, W, 2] in
    pixels, x then y, from the previous frame to this one: what is now at p was at p − m; stamp_s: seconds since the
    first frame.
    """

    image: np.ndarray
    labels: np.ndarray
    motion: np.ndarray
    stamp_s: float


class StreetClip:
    """Iterator over the frames of one seed's street; a context manager that holds one OpenGL context.

    The same arguments give the same frames on the same machine. It may be used from any thread, one at a time;
    processes should be started with ``spawn``. ``LP_NUM_THREADS=1`` in the environment keeps Mesa to one core.

    Args:
        seed: decides everything; < 800000 train, 800000–899999 validation, from 900000 on test.
        size: (H, W) of the frames in pixels, each 16…4096.
        rate: frames a second, 1…240.
        frames: how many; None: without end.

    Raises:
        InputError: an argument out of range, or rendering is impossible on this machine (says what to install).
    """

    def __init__(
        self, seed: int, size: tuple[int, int] = (320, 640), rate: float = 30.0, frames: int | None = None
    ) -> None:
        if seed < 0:
            raise InputError(f'a street seed is a whole number from 0 on, not {seed}')
        if not all(16 <= x <= 4096 for x in size):
            raise InputError(f'street frames are 16 to 4096 pixels a side, not {size[1]}x{size[0]}')
        if not 1 <= rate <= 240:
            raise InputError(f'a street has 1 to 240 frames a second, not {rate}')
        self.seed, self.size, self.rate, self.frames = seed, size, rate, frames
        self._number = 0
        self._look = look = Look.of(seed)
        self._street = street = Street.of(seed)
        self._path = Path(seed, street.winding)
        self._path.extend(400.0)
        self._fleet = fleet()
        self._plots = Plots(street, look, self._path, self._fleet)
        self._ego = Ego(street, self._path, size)
        self._traffic = Traffic(street, self._path, self._fleet, self._ego)
        self._engine = Engine(size, look, mirrored=self._ego.mirrored)
        self._engine.set_street(street.lines(), street.rails())
        self._chunks: dict[int, list[Batch]] = {}
        movers = self._traffic.movers
        self._by_name = {name: [m for m in movers if m.name == name] for name in self._fleet}
        self._vehicles = {
            name: [self._engine.batch('solid', self._fleet[name].mesh, len(ms)) for _ in range(2)]
            for name, ms in self._by_name.items()
            if ms
        }
        self._people = [m for m in movers if m.body is not None]
        n = max(len(self._people), 1)
        self._balls = [self._engine.batch('solid', mesh, n * 2) for mesh in (ball(), ball(5, 4))]
        self._capsules = [self._engine.batch('solid', mesh, n * 18) for mesh in (capsule(), capsule(4, coarse=True))]
        self._before: dict[str, np.ndarray] = {}
        self._advance()
        self._view = self._ego.view(self._ground())

    # -- iteration --------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[StreetFrame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> StreetClip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the OpenGL context."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None  # type: ignore[assignment]

    def read(self) -> StreetFrame | None:
        """The next frame; None after the last one, and after ``close``."""
        if self._engine is None or (self.frames is not None and self._number >= self.frames):
            return None
        before = self._view
        near, far = self._advance()
        self._view = self._ego.view(self._ground())
        here, ahead = self._static()
        image, labels, motion = self._engine.render(near + here, far + ahead, self._view, before, self._number)
        frame = StreetFrame(image, labels, motion, self._number / self.rate)
        self._number += 1
        return frame

    def skip(self) -> None:
        """Let one frame's time pass without rendering it; it counts among ``frames``."""
        if self._engine is not None:
            self._advance()
            self._view = self._ego.view(self._ground())
            self._number += 1

    # -- one step of the world --------------------------------------------------------------------------------------

    def _ground(self) -> float:
        edge = self._street.road_edge(1 if self._ego.d > 0 else -1)
        return self._plots.raised if abs(self._ego.d) > edge else 0.0

    def _advance(self) -> tuple[list[Batch], list[Batch]]:
        """Move everything by one frame and place what moves. Returns batches of near and of far things."""
        dt = 1.0 / self.rate
        self._path.extend(self._ego.s + 400.0)
        gap, leader = self._traffic.step(dt)
        self._ego.step(dt, gap, leader)
        lamps = 1.0 if self._look.lamps > 0.2 else 0.35
        for name, (near, far) in self._vehicles.items():
            movers = self._by_name[name]
            poses = self._traffic.poses(movers, self._plots.raised)
            records = np.zeros(len(movers), INSTANCE)
            records['now'], records['before'] = poses, self._was(name, poses, movers)
            records['extent'][:, :3] = 1.0
            records['extent'][:, 3] = [m.seed for m in movers]
            records['paint_a'] = [(*m.paint, self._traffic.label(m)) for m in movers]
            records['paint_b'] = [(*m.paint_b, lamps) for m in movers]
            seen = self._seen(movers, poses, self._fleet[name].length / 2 + 0.5, self._fleet[name].width / 2 + 0.4)
            close = self._close(poses, _NEAR_VEHICLES)
            self._engine.place(near, records[seen & close])
            self._engine.place(far, records[seen & ~close])
        if self._people:
            self._place_people()
        for m in self._traffic.movers:
            m.fresh = False
        both = [*self._vehicles.values(), self._balls, self._capsules]
        return [b[0] for b in both], [b[1] for b in both]

    def _seen(self, movers: list[Mover], poses: np.ndarray, along: float, across: float) -> np.ndarray:
        """Which movers are drawn: those that are there, and do not stand where the camera is (two met by accident)."""
        x, y, _ = self._path.at(self._ego.s, self._ego.d)
        away = np.array([x, y]) - poses[:, :2, 3]
        local = (poses[:, :2, :2] * away[:, :, None]).sum(1)
        inside = (np.abs(local[:, 0]) < along) & (np.abs(local[:, 1]) < across)
        return np.array([not m.hidden for m in movers], bool) & ~inside

    def _close(self, poses: np.ndarray, reach: float) -> np.ndarray:
        """Which of the poses [n, 3, 4] are within ``reach`` metres of the camera."""
        x, y, _ = self._path.at(self._ego.s, self._ego.d)
        return np.hypot(poses[:, 0, 3] - x, poses[:, 1, 3] - y) < reach

    def _was(self, key: str, poses: np.ndarray, movers: list[Mover]) -> np.ndarray:
        """Poses of a frame ago [n, ..., 3, 4], or now for those that have none; remembers them for the next frame."""
        before = self._before.get(key, poses).copy()
        fresh = [m.fresh for m in movers]
        before[fresh] = poses[fresh]
        self._before[key] = poses
        return before

    def _place_people(self) -> None:
        people = self._people
        base = self._traffic.poses(people, self._plots.raised)
        walking = np.array(
            [
                0.42 * min(m.v / 1.3, 1.3) * (m.body.scale if m.body else 1.0) if m.name == 'person' else 0.0
                for m in people
            ]
        )
        label = np.array([c.PERSON if m.name == 'person' else c.RIDER for m in people])
        bodies = [m.body for m in people if m.body is not None]
        limbs, records = limbs_of(
            bodies, np.array([m.pose for m in people]), np.array([m.phase for m in people]), walking, label
        )
        world = np.empty(limbs.shape)
        world[..., :3] = base[:, None, :, :3] @ limbs[..., :3]
        world[..., 3] = (base[:, None, :, :3] @ limbs[..., 3:])[..., 0] + base[:, None, :, 3]
        records['now'], records['before'] = world, self._was('people', world, people)
        seen, close = self._seen(people, base, 0.6, 0.6), self._close(base, _NEAR_PEOPLE)
        for k, who in enumerate((seen & close, seen & ~close)):
            self._engine.place(self._balls[k], np.ascontiguousarray(records[who][:, :2]).reshape(-1))
            self._engine.place(self._capsules[k], np.ascontiguousarray(records[who][:, 2:]).reshape(-1))

    def _static(self) -> tuple[list[Batch], list[Batch]]:
        """Batches of the chunks around the camera, and of those far away; makes and releases chunks as it goes."""
        here = int(self._ego.s // CHUNK)
        wanted = range(max(here - _BACK_CHUNKS, 0), here + _AHEAD_CHUNKS)
        for k in [k for k in self._chunks if k not in wanted]:
            self._engine.release(self._chunks.pop(k))
        for k in wanted:
            if k not in self._chunks:
                bags = self._plots.make(k)
                families = (
                    ('solid', bags.solid),
                    ('facade', bags.facade),
                    ('foliage', bags.foliage),
                    ('ground', bags.ground),
                )
                self._chunks[k] = [self._engine.batch(name, bag.mesh()) for name, bag in families if len(bag)]
        order = sorted(wanted, key=lambda k: abs(k - here))
        ahead = here + _DETAILED_CHUNKS
        return [b for k in order if k < ahead for b in self._chunks[k]], [
            b for k in order if k >= ahead for b in self._chunks[k]
        ]
