"""What a training consists of, in one record; :data:`STREET_V1` is the recipe of the shipped weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from dedelayed_ros.errors import InputError


@dataclass(frozen=True)
class FootageConfig:
    """Rendered clips that share a purpose.

    ``seeds`` of the street, from ``first_seed`` on, ``frames`` each; ``rates`` (Hz) take turns. ``size`` is (H, W) in
    pixels, both multiples of 64. ``bitrate_kbps`` is that of the H.264 uplink whose decoded frames the remote model
    is trained on.
    """

    name: str
    first_seed: int
    seeds: int
    frames: int
    rates: tuple[float, ...]
    size: tuple[int, int] = (320, 640)
    bitrate_kbps: int = 4000

    def rate(self, seed: int) -> float:
        """Frames a second of the clip of ``seed``."""
        return self.rates[(seed - self.first_seed) % len(self.rates)]


@dataclass(frozen=True)
class StageConfig:
    """One stage: ``steps`` of ``batch`` samples; learning rate warmed up to ``rate``, held, and in the last third
    decayed.

    ``crop`` is the (H, W) in camera pixels that a sample covers before scaling (joint: whole frames).
    ``class_balance``: exponent of inverse class frequency in the loss (0: none). ``seed`` of everything random.
    """

    steps: int
    batch: int
    rate: float
    crop: tuple[int, int]
    warmup: int = 100
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    ema: float = 0.998
    class_balance: float = 0.3
    seed: int = 1


@dataclass(frozen=True)
class JointConfig(StageConfig):
    """The joint stage: delays are uniform in 0–``longest_delay_ms``; the told delay is the true one times up to
    ``told_spread`` (log-uniform), features are dropped with probability ``drop``, and ``local_weight`` weighs the
    loss without any. ``windows`` is how many answers of the cloud a batch holds, each used at ``batch / windows``
    later frames. ``gate`` is the mIoU by which the single-frame remote model must beat the local one before this
    stage begins.
    """

    longest_delay_ms: float = 600.0
    told_spread: float = 2.0
    drop: float = 0.3
    local_weight: float = 1.0
    windows: int = 4
    gate: float = 0.08


@dataclass(frozen=True)
class TrainConfig:
    """Footage and stages; the same config and footage give the same weights."""

    name: str
    stills: FootageConfig
    clips: FootageConfig
    validation: FootageConfig
    local: StageConfig
    remote: StageConfig
    joint: JointConfig
    delays_ms: tuple[float, ...] = (0.0, 100.0, 167.0, 333.0, 500.0, 667.0, 833.0, 1000.0)

    def fingerprint(self, stage: str) -> str:
        """A short hash of all that the result of ``stage`` depends on, to tell checkpoints of another recipe."""
        parts = {'local': ('stills', 'local'), 'remote': ('stills', 'remote')}.get(
            stage, ('stills', 'clips', 'local', 'remote', 'joint')
        )
        whole = dataclasses.asdict(self)
        text = json.dumps({part: whole[part] for part in parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


STREET_V1 = TrainConfig(
    name='street-v1',
    stills=FootageConfig('stills', first_seed=0, seeds=160, frames=8, rates=(1.0,)),
    clips=FootageConfig('clips', first_seed=100_000, seeds=60, frames=24, rates=(15.0, 20.0, 30.0)),
    validation=FootageConfig('validation', first_seed=800_000, seeds=8, frames=52, rates=(30.0,)),
    local=StageConfig(steps=2400, batch=12, rate=4e-3, crop=(320, 640)),
    remote=StageConfig(steps=2800, batch=4, rate=2e-3, crop=(256, 448)),
    joint=JointConfig(steps=2000, batch=12, rate=2e-3, crop=(320, 640)),
)

RECIPES = {config.name: config for config in (STREET_V1,)}


def recipe(name: str) -> TrainConfig:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f'no training recipe {name!r}; expected one of: {", ".join(RECIPES)}')
    return RECIPES[name]
