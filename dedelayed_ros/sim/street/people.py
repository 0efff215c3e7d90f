"""Walking, standing and riding people as limbs: joints from a gait, limbs as instances of a few meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .engine import INSTANCE
from .meshes import frame_to

Number = float | np.ndarray

WALK, CYCLE, MOTOR = range(3)
"""Poses."""

SKINS = (
    (0.55, 0.34, 0.25),
    (0.42, 0.24, 0.16),
    (0.62, 0.42, 0.33),
    (0.20, 0.10, 0.06),
    (0.10, 0.05, 0.03),
    (0.5, 0.32, 0.22),
)
HAIRS = (
    (0.02, 0.015, 0.01),
    (0.06, 0.035, 0.02),
    (0.16, 0.10, 0.05),
    (0.3, 0.22, 0.12),
    (0.25, 0.25, 0.25),
    (0.08, 0.02, 0.01),
)
CLOTHES = (
    (0.02, 0.02, 0.025), (0.03, 0.04, 0.09), (0.10, 0.10, 0.11), (0.30, 0.29, 0.28), (0.60, 0.58, 0.55),
    (0.25, 0.02, 0.02), (0.05, 0.10, 0.22), (0.16, 0.11, 0.07), (0.06, 0.09, 0.05), (0.38, 0.30, 0.19),
    (0.45, 0.10, 0.03), (0.55, 0.40, 0.05), (0.35, 0.08, 0.18), (0.02, 0.16, 0.16),
)  # fmt: skip


@dataclass(frozen=True)
class Body:
    """What one person looks like; lengths in metres for a person of 1.75 m, scaled by ``scale``."""

    scale: float
    girth: float
    skin: tuple[float, ...]
    hair: tuple[float, ...]
    top: tuple[float, ...]
    bottom: tuple[float, ...]
    shoes: tuple[float, ...]
    bare_arms: bool
    bare_legs: bool
    skirt: bool
    hat: int  # 0 hair, 1 long hair, 2 cap or helmet
    pack: int  # 0 nothing, 1 backpack, 2 bag in the hand
    seed: float

    @classmethod
    def random(cls, rng: np.random.Generator, helmet: bool = False) -> Body:
        """Somebody."""

        def cloth() -> tuple[float, ...]:
            w = np.array([4, 3, 3, 2, 2, 1, 2, 1, 1, 1, 0.6, 0.5, 0.5, 0.5])
            return tuple(np.array(CLOTHES[rng.choice(len(CLOTHES), p=w / w.sum())]) * rng.uniform(0.7, 1.3))

        child = rng.random() < 0.12
        return cls(
            scale=float(rng.uniform(0.6, 0.8) if child else rng.normal(0.98, 0.05)),
            girth=float(rng.uniform(0.85, 1.3)),
            skin=SKINS[rng.integers(len(SKINS))],
            hair=cloth() if helmet else HAIRS[rng.integers(len(HAIRS))],
            top=cloth(),
            bottom=cloth(),
            shoes=tuple(np.full(3, rng.choice([0.02, 0.05, 0.3]))),
            bare_arms=bool(rng.random() < 0.35),
            bare_legs=bool(rng.random() < 0.2),
            skirt=bool(rng.random() < 0.15),
            hat=2 if helmet or rng.random() < 0.12 else int(rng.integers(2)),
            pack=int(rng.choice([0, 1, 2], p=[0.6, 0.22, 0.18])),
            seed=float(rng.uniform(0, 50)),
        )


def _bent(a: np.ndarray, b: np.ndarray, length: float, towards: np.ndarray) -> np.ndarray:
    """The knee or elbow between a and b [n, 3] whose two bones have this length, bent towards a direction."""
    d = b - a
    dist = np.linalg.norm(d, axis=-1, keepdims=True)
    out = np.sqrt(np.maximum(length**2 - (np.minimum(dist, 2 * length) / 2) ** 2, 0.0004))
    side = towards - d * (towards * d).sum(-1, keepdims=True) / np.maximum(dist**2, 1e-6)
    return (a + b) / 2 + side / np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-6) * out


def limbs_of(
    bodies: list[Body], pose: np.ndarray, phase: np.ndarray, stride: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Limbs of n people in their own frames (x forward, z up, origin on the ground).

    pose: WALK… [n]; phase: of the gait (rad) [n]; stride: half a step (m) [n]; label: class ids [n].
    Returns matrices [n, k, 3, 4] from limb to person, and instance records [n, k] with all but the poses filled in.
    Limb meshes: the first two are balls (head, hair), the others capsules from z = 0 to 1; see ``limb_meshes``.
    """
    n = len(bodies)
    zero = np.zeros(n)
    walk, cycle = pose == WALK, pose == CYCLE

    def choose(a: Number, b: Number, m: Number) -> np.ndarray:
        return np.where(walk, a, np.where(cycle, b, m))

    def point(x: Number, y: Number, z: Number) -> np.ndarray:
        return np.stack([x + zero, y + zero, z + zero], -1)

    bob = np.abs(np.cos(phase)) * stride * 0.08
    hip = point(choose(0, -0.2, -0.35), 0, choose(0.93 + bob - 0.02, 0.98, 0.88))
    neck = point(choose(0.03 + 0.04 * stride, 0.2, -0.12), 0, choose(1.46 + bob, 1.43, 1.42))
    head = neck + point(choose(0.03, 0.1, 0.06), 0, 0.17)
    parts: list[tuple[np.ndarray, np.ndarray, Number, Number]] = []
    feet, knees, hips = [], [], []
    for side, offset in ((1, 0.0), (-1, np.pi)):
        a = phase + offset
        foot = np.where(
            walk[:, None],
            point(np.sin(a) * stride, 0.09 * side, 0.08 + np.maximum(np.cos(a), 0) * 0.2 * np.minimum(stride * 2, 1)),
            np.where(
                cycle[:, None],
                point(-0.06 + 0.17 * np.cos(a), 0.11 * side, 0.34 - 0.17 * np.sin(a)),
                point(0.0, 0.24 * side, 0.34),
            ),
        )
        joint = hip + point(0, 0.09 * side, -0.03)
        knee = _bent(joint, foot, 0.45, point(1.0, choose(0, 0, 0.35 * side), choose(0, 0.4, 0.4)))
        feet.append(foot)
        knees.append(knee)
        hips.append(joint)
    hands, elbows, shoulders = [], [], []
    for side, offset in ((1, np.pi), (-1, 0.0)):
        a = phase + offset
        swing = np.sin(a) * stride * 0.75
        shoulder = neck + point(-0.01, 0.19 * side, -0.06)
        hand = np.where(
            walk[:, None],
            shoulder + point(swing + 0.05, 0.05 * side, -0.54 + np.abs(swing) * 0.12),
            np.where(cycle[:, None], point(0.42, 0.26 * side, 1.06), point(0.32, 0.32 * side, 1.08)),
        )
        elbow = _bent(shoulder, hand, 0.285, point(-1.0, 0.25 * side, -0.2))
        hands.append(hand)
        elbows.append(elbow)
        shoulders.append(shoulder)
    g = np.array([b.girth for b in bodies])
    up = point(0, 0, 1)
    parts += [
        (head - up * 0.12, head + up * 0.12, 0.165, 0.2),
        (head - up * 0.02 + point(-0.02, 0, 0), head + up * 0.135 + point(-0.03, 0, 0), 0.185, 0.215),
    ]
    lean = neck - hip
    parts.append((hip - up * 0.04, neck - up * 0.0, 0.36 * g, 0.23 * g))  # torso: wide, deep
    parts.append((hip - lean * 0.22, hip + lean * 0.3, 0.32 * g, 0.23 * g))  # hips
    parts.append((neck - up * 0.06, head, 0.1, 0.1))
    for k in range(2):
        parts.append((hips[k], knees[k], 0.155 * g, 0.155 * g))
        parts.append((knees[k], feet[k], 0.11, 0.115))
        parts.append((feet[k] + point(-0.09, 0, -0.03), feet[k] + point(0.17, 0, -0.045), 0.09, 0.08))
        parts.append((shoulders[k], elbows[k], 0.105, 0.11))
        parts.append((elbows[k], hands[k], 0.08, 0.08))
    skirt = np.array([b.skirt for b in bodies]) & walk
    parts.append(
        (
            hip + up * 0.12,
            hip - up * np.where(skirt, 0.42, 0.05)[:, None],
            np.where(skirt, 0.44, 0.2),
            np.where(skirt, 0.4 + 0.4 * stride, 0.2),
        )
    )
    pack = np.array([b.pack for b in bodies])
    on_back, in_hand = pack == 1, (pack == 2) & walk
    none = ~(on_back | in_hand)
    back = neck + point(-0.2, 0, -0.42)
    low = np.where(on_back[:, None], back, np.where(in_hand[:, None], hands[1] + point(0, 0, -0.36), hip))
    high = np.where(
        on_back[:, None], back + up * 0.4, np.where(in_hand[:, None], hands[1] + point(0, 0, -0.05), hip + up * 0.05)
    )
    parts.append((low, high, np.where(none, 0.05, 0.3), np.where(none, 0.05, 0.18)))

    start = np.stack([p[0] for p in parts], 1)
    end = np.stack([p[1] for p in parts], 1)
    k = len(parts)
    scale = np.array([b.scale for b in bodies])[:, None]
    d = end - start
    turn = frame_to(d)
    # limbs that are not round: their x axis points to the person's left
    left = np.array([0.0, 1.0, 0.0])
    z = turn[..., 2]
    x = left - z * (left * z).sum(-1, keepdims=True)
    x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
    turn = np.stack([x, np.cross(z, x), z], -1)
    ball = np.arange(k) < 2
    at = np.where(ball[None, :, None], (start + end) / 2, start)
    matrices = np.concatenate([turn, (at * scale[..., None])[..., None]], -1)
    records = np.zeros((n, k), INSTANCE)
    wide = np.stack([np.broadcast_to(p[2], n) for p in parts], 1)
    deep = np.stack([np.broadcast_to(p[3], n) for p in parts], 1)
    records['extent'][..., 0], records['extent'][..., 1] = wide * scale, deep * scale
    records['extent'][..., 2] = np.linalg.norm(d, axis=-1) * scale
    for i, b in enumerate(bodies):
        leg = b.skin if b.bare_legs else b.bottom
        arm = b.skin if b.bare_arms else b.top
        thigh = b.bottom
        colours = [b.skin, b.hair, b.top, b.bottom, b.skin]
        colours += [thigh, leg, b.shoes, b.top, arm] * 2 + [b.bottom, b.shoes]
        records['paint_a'][i, :, :3] = colours
        records['extent'][i, :, 3] = b.seed
        if b.hat == 1:
            records['extent'][i, 1, 2] *= 1.7
        records['paint_a'][i, :, 3] = label[i]
    return matrices, records
