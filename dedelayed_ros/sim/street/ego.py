"""How the camera moves: along its lane with turns, braking and bumps, or along the pavement, or standing."""

from __future__ import annotations

import numpy as np

from .engine import View
from .layout import Street
from .look import stream
from .path import Path

NEAR, FAR = 0.15, 500.0  # m


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rows right, up, back of a camera that looks along yaw (0: x axis), nose up by pitch, leaning by roll; rad."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward = np.array([cy * cp, sy * cp, sp])
    right = np.array([sy, -cy, 0.0])
    up = np.cross(right, forward)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([right * c - up * s, up * c + right * s, -forward])


class Ego:
    """The carrier of the camera: drives (``rolling``) or is on the pavement; ``step`` moves it, ``view`` looks."""

    def __init__(self, street: Street, path: Path, size: tuple[int, int]) -> None:
        self._street, self._path = street, path
        rng = self._rng = stream(street.seed, 30)
        u = rng.uniform
        manner = str(rng.choice(['drive', 'walk', 'stand'], p=[0.82, 0.1, 0.08]))
        self.rolling = manner == 'drive'
        self.s = float(u(70, 110))
        lane = int(rng.integers(street.lanes_right))
        self.lane = lane
        self._middle = street.lane_middle(-1, lane)
        if not self.rolling:
            sign = -1 if rng.random() < 0.7 or not street.lanes_left else 1
            self._middle = sign * float(u(street.walk_inner(sign) + 0.4, street.walk_outer(sign) - 0.4))
        self.d = self._middle
        self.cruise = {
            'drive': float(rng.choice([u(2, 8), u(8, 14), u(14, 20)])),
            'walk': float(u(0.8, 2.2)),
            'stand': 0.0,
        }[manner]
        self.v = self.cruise * float(rng.choice([0.0, u(0.3, 1.0), 1.0], p=[0.12, 0.33, 0.55]))
        self._target = self.cruise
        self._until = float(u(0.5, 5.0))
        self.time = 0.0
        self._height = float(
            {
                'drive': rng.choice([u(1.1, 1.7), u(1.7, 2.4)], p=[0.75, 0.25]),
                'walk': u(0.5, 1.7),
                'stand': u(1.0, 2.6),
            }[manner]
        )
        field = float(np.radians(u(48, 96)))
        self._pitch = (
            float(np.radians(rng.normal(-2.5, 2.5))) if manner == 'drive' else float(np.radians(rng.normal(-4, 4)))
        )
        self._roll = float(np.radians(rng.normal(0, 0.8)))
        turned = 0.0
        if manner == 'drive':
            turned = float(rng.choice([rng.normal(0, 0.03), u(-0.9, 0.9), u(-np.pi, np.pi)], p=[0.84, 0.1, 0.06]))
        elif manner == 'walk':
            turned = float(rng.choice([rng.normal(0, 0.15), rng.normal(np.pi, 0.2)]))
        else:
            towards = np.pi / 2 if self._middle < 0 else -np.pi / 2
            turned = towards + float(u(-1.2, 1.2))
        self._turned = turned
        self._wander = rng.uniform(0, 6.28, 6)
        self._sway = np.zeros((3, 2))  # heave (m), pitch, roll (rad): value and speed
        self._rough = float(np.exp(rng.normal(-0.2, 0.6)))
        self._shake = 0.0 if manner == 'stand' and rng.random() < 0.6 else float(np.exp(rng.normal(-0.3, 0.5)))
        self._brake_pitch = 0.0
        self._drift = 0.0  # heading of the wander within the lane (rad)
        self.mirrored = rng.random() < 0.3
        h, w = size
        focal = w / 2 / np.tan(field / 2)
        p = np.zeros((4, 4))
        p[0, 0] = 2 * focal / w * (-1 if self.mirrored else 1)
        p[1, 1] = -2 * focal / h  # the first row of a picture is its top
        p[2, 2], p[2, 3] = -(FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
        p[3, 2] = -1.0
        self._projection = p

    def step(self, dt: float, gap: float, leader: float) -> None:
        """Go on by dt seconds; the next obstacle in the lane is ``gap`` metres ahead and moves at ``leader`` m/s."""
        rng = self._rng
        self.time += dt
        if self.time > self._until:
            self._until = self.time + float(rng.uniform(1.5, 7.0))
            self._target = self.cruise * float(
                rng.choice(
                    [0.0, rng.uniform(0.2, 0.7), 1.0],
                    p=[0.06, 0.22, 0.72] if self.rolling else [0.2, 0.25, 0.55],
                )
            )
        target = self._target
        if self.rolling:
            bend = max(abs(self._path.bend(self.s + k)) for k in (0.0, 5.0, 10.0, 15.0))
            target = min(target, float(np.sqrt(3.2 / max(bend, 1e-4))))
        push = (
            1.6 * (1 - (self.v / max(target, 0.3)) ** 2)
            if self.v > target
            else 1.6 * (1 - (self.v / max(target, 0.1)) ** 4)
        )
        if self.rolling and gap < 80:
            want = 3.5 + 1.1 * self.v + self.v * (self.v - leader) / 4.0
            push = min(push, 1.8 - 1.8 * (max(want, 1.0) / max(gap, 0.5)) ** 2)
        push = float(np.clip(push, -6.0, 2.0))
        before = self.v
        self.v = float(np.clip(self.v + push * dt, 0.0, 20.0))
        felt = (self.v - before) / dt
        self.s += (self.v + before) / 2 * dt
        t = self.time
        w = self._wander
        reach = 0.22 if self.rolling else 0.12
        old = self.d
        self.d = self._middle + reach * float(np.sin(0.35 * t + w[0]) + 0.5 * np.sin(0.83 * t + w[1])) * min(
            1.0, self.v / 3 + (0 if self.rolling else 1) * (self.cruise > 0)
        )
        self._drift = float(np.arctan2(self.d - old, max(self.v * dt, 0.02))) if self.v > 0.5 else 0.0
        self._brake_pitch += (felt * 0.006 - self._brake_pitch) * min(1.0, 5.0 * dt)
        self._bumps(dt)

    def _bumps(self, dt: float) -> None:
        """Damped springs for heave, pitch and roll, kicked by the road in proportion to speed."""
        rng = self._rng
        speed = min(self.v, 15.0)
        kick = rng.normal(size=3) * np.sqrt(dt) * self._rough * (0.10 + speed * 0.035) * [0.12, 0.06, 0.05]
        if self.v > 1 and rng.random() < 0.25 * dt * self._rough:
            kick += rng.choice([-1, 1]) * np.array([0.25, 0.12, 0.08]) * min(1.0, self.v / 8)
        if not self.rolling:
            kick = rng.normal(size=3) * np.sqrt(dt) * self._shake * [0.08, 0.05, 0.04]
            if self.v > 0.3:
                kick = (
                    kick
                    + np.array(
                        [
                            np.cos(self.time * 11.0) * 0.25,
                            np.cos(self.time * 11.0 + 1) * 0.03,
                            np.cos(self.time * 5.5) * 0.05,
                        ]
                    )
                    * dt
                    * 3
                )
        n = max(int(np.ceil(dt / 0.01)), 1)
        stiff, damp = np.array([90.0, 70.0, 60.0]), np.array([5.0, 4.0, 4.0])
        self._sway[:, 1] += kick
        for _ in range(n):
            self._sway[:, 1] += (-stiff * self._sway[:, 0] - damp * self._sway[:, 1]) * dt / n
            self._sway[:, 0] += self._sway[:, 1] * dt / n

    def view(self, ground: float) -> View:
        """Where the camera is now; ground: height of what it stands on (m)."""
        x, y, heading = self._path.at(self.s, self.d)
        heave, pitch, roll = self._sway[:, 0]
        sway_yaw = (
            0.0
            if self.rolling
            else 0.02
            * self._shake
            * float(np.sin(0.7 * self.time + self._wander[3]) + 0.4 * np.sin(1.9 * self.time + self._wander[4]))
        )
        turn = rotation(
            self._roll + roll,
            self._pitch + pitch + self._brake_pitch,
            float(heading) + self._turned + sway_yaw + self._drift,
        )
        return View(np.array([float(x), float(y), ground + self._height + heave]), turn, self._projection)
