"""What a training consists of, in one record; recipes of the weights that ship or shipped, and of what came after."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.sizes import FEATURE_CHANNELS


@dataclass(frozen=True)
class FootageConfig:
    """Rendered clips that share a purpose.

    ``seeds`` of the street, from ``first_seed`` on, ``frames`` each; ``rates`` (Hz) take turns, and with each round of
    them ``bitrates_kbps``, those of the H.264 uplink whose decoded frames the remote model is trained on. ``size`` is
    (H, W) in pixels, both multiples of 64. ``trams``: of the streets from ``first_seed`` on, only those where trams go.
    ``own``: a folder of clips of one's own, which are taken as they are in place of streets.
    """

    name: str
    first_seed: int
    seeds: int
    frames: int
    rates: tuple[float, ...]
    size: tuple[int, int] = (320, 640)
    bitrates_kbps: tuple[int, ...] = (4000,)
    trams: bool = False
    own: str | None = None

    @classmethod
    def of_folder(cls, name: str, folder: Path) -> FootageConfig:
        """The clips in ``folder``."""
        return cls(name, first_seed=0, seeds=0, frames=0, rates=(), own=str(folder))

    def bitrate_kbps(self, seed: int) -> int:
        """Bit rate of the uplink of the clip of ``seed``, in kbit/s."""
        return self.bitrates_kbps[(seed - self.first_seed) // len(self.rates) % len(self.bitrates_kbps)]

    def rate(self, seed: int) -> float:
        """Frames a second of the clip of ``seed``."""
        return self.rates[(seed - self.first_seed) % len(self.rates)]


@dataclass(frozen=True)
class StageConfig:
    """One stage: ``steps`` of ``batch`` samples; learning rate warmed up to ``rate``, held, and in the last third
    decayed.

    A share of ``rare`` of the samples is drawn by class, the rarer the likelier. ``crop`` is the (H, W) in camera
    pixels that a sample covers before scaling (joint: of the local-only loss; what is fused are whole frames).
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
    rare: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class RemoteConfig(StageConfig):
    """The remote model's single-frame stage; ``through_features``: share of the steps that also train the way through
    the features, which costs as much again as the encoder and its image head. ``fine``: the model becomes a fine one
    with ``feature_channels``; what of the base has no place in it is learned anew. ``deep``: then one of that depth,
    whose further blocks are. ``keep_features``: what makes and reads the features stays as it is, so that the base's
    local model still knows them; the encoder learns to serve it.
    """

    through_features: float = 1.0
    keep_features: bool = False
    fine: bool = False
    deep: int = 0
    feature_channels: int = FEATURE_CHANNELS


@dataclass(frozen=True)
class JointConfig(StageConfig):
    """The joint stage: delays are uniform in 0–``longest_delay_ms``; the told delay is the true one times up to
    ``told_spread`` (log-uniform), features are dropped with probability ``drop``, and ``local_weight`` weighs the
    loss without any. ``windows`` is how many answers of the cloud a batch holds, each used at ``batch / windows``
    later frames. A share of ``arrival`` of them is predicted for the moment of arrival, as DeDelayed does, and used
    then without being carried; the others belong to the frame that was seen, and are carried in ``split`` × ``split``
    parts a cell; ``refined``: by motion that the pictures have corrected, as it is on the robot, and not by the codec's
    alone. ``fine``: the local model becomes a fine one, and the features' channels are divided among those
    parts, both learned anew. ``stills``: how many of the clips of single frames are fused too, from the
    ``first_still``-th on; None: all. ``gate`` is the mIoU by which the single-frame remote model must beat the local
    one before this stage begins.
    """

    longest_delay_ms: float = 600.0
    told_spread: float = 2.0
    drop: float = 0.3
    local_weight: float = 1.0
    windows: int = 4
    arrival: float = 0.0
    split: int = 1
    refined: bool = False
    fine: bool = False
    first_still: int = 0
    stills: int | None = None
    gate: float = 0.08


@dataclass(frozen=True)
class ConvConfig(StageConfig):
    """The stage of the convolution-only model, which runs on the robot and on the server: ``decoded`` is the share of
    its samples that went through the uplink's H.264, as the server's do.
    """

    decoded: float = 0.0


@dataclass(frozen=True)
class CodecConfig(StageConfig):
    """The codec stage: ``latents`` channels, ``bits`` a cell of the features' grid that they may take; the weight of
    the rate in the loss begins at ``first_weight`` and follows the rate with ``weight_gain``. ``from_base``: it begins
    as the base's codec, for features that are nearly those.

    ``crop`` means nothing here: whole maps are coded.
    """

    latents: int = 12
    bits: float = 34.0
    first_weight: float = 1e-3
    weight_gain: float = 0.02
    from_base: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """Footage and stages; the same config and footage give the same weights on the same kind of processor.

    ``trams``: more stills, of what few streets have. ``single``: the footage that the single-frame stages draw
    from. ``base``: an entry of the zoo whose weights they begin from; None: from nothing, and the remote encoder
    from ImageNet's. ``conv``: the stage of the convolution-only model at the camera's resolution, which begins from
    the local one; ``codec``: that of the feature codec; without it features go down as they are. ``carry_split``:
    parts a cell that the exported pair is carried in, where measurement was against those that it was trained with.
    """

    name: str
    stills: FootageConfig
    clips: FootageConfig
    validation: FootageConfig
    local: StageConfig
    remote: RemoteConfig
    joint: JointConfig
    conv: ConvConfig | None = None
    codec: CodecConfig | None = None
    trams: FootageConfig | None = None
    single: tuple[str, ...] = ('stills',)
    base: str | None = None
    carry_split: int | None = None
    delays_ms: tuple[float, ...] = (0.0, 100.0, 167.0, 333.0, 500.0, 667.0, 833.0, 1000.0)

    def fingerprint(self, stage: str) -> str:
        """A short hash of all that the result of ``stage`` depends on, to tell checkpoints of another recipe."""
        single = ('base', 'single', *self.single)
        joint = ('base', 'single', 'stills', 'clips', 'trams', 'local', 'remote', 'joint')
        parts = {
            'local': (*single, 'local'),
            'alone': (*single, 'local', 'joint'),
            'conv': (*single, 'local', 'conv'),
            'remote': (*single, 'remote'),
            'codec': (*joint, 'codec'),
        }.get(stage, joint)
        whole = dataclasses.asdict(self)
        text = json.dumps({part: whole[part] for part in parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


STREET_V1 = TrainConfig(
    name='street-v1',
    stills=FootageConfig('stills', first_seed=0, seeds=160, frames=8, rates=(1.0,)),
    clips=FootageConfig('clips', first_seed=100_000, seeds=60, frames=24, rates=(15.0, 20.0, 30.0)),
    validation=FootageConfig('validation', first_seed=800_000, seeds=8, frames=52, rates=(30.0,)),
    local=StageConfig(steps=2400, batch=12, rate=4e-3, crop=(320, 640)),
    remote=RemoteConfig(steps=2800, batch=4, rate=2e-3, crop=(256, 448)),
    joint=JointConfig(steps=2000, batch=12, rate=2e-3, crop=(320, 640)),
)

STREET_V2 = TrainConfig(
    name='street-v2',
    stills=FootageConfig('stills', first_seed=0, seeds=360, frames=5, rates=(1.0,)),
    clips=FootageConfig(
        'clips',
        first_seed=100_000,
        seeds=72,
        frames=22,
        rates=(15.0, 20.0, 30.0),
        bitrates_kbps=(1000, 2000, 4000, 8000),
    ),
    validation=FootageConfig('validation', first_seed=800_000, seeds=16, frames=52, rates=(30.0,)),
    local=StageConfig(steps=3600, batch=12, rate=3e-3, crop=(320, 640), class_balance=0.4),
    remote=RemoteConfig(steps=2200, batch=3, rate=2e-3, crop=(320, 640), class_balance=0.4, through_features=0.25),
    joint=JointConfig(
        steps=1200, batch=12, rate=2e-3, crop=(320, 640), class_balance=0.4, arrival=0.25, split=2, stills=120
    ),
    conv=ConvConfig(steps=2400, batch=4, rate=2e-3, crop=(320, 480), class_balance=0.4),
    codec=CodecConfig(steps=1000, batch=12, rate=2e-3, crop=(320, 640), ema=0.99),
    single=('stills', 'clips'),
    base='street-v1',
    carry_split=1,
)

STREET_V3 = dataclasses.replace(
    STREET_V2,
    name='street-v3',
    local=dataclasses.replace(STREET_V2.local, steps=0),  # as it is in the base
    remote=dataclasses.replace(STREET_V2.remote, steps=2400, rate=1.5e-3, seed=3),
    joint=dataclasses.replace(STREET_V2.joint, steps=2400, seed=3, fine=True, stills=None),
    conv=None,
    base='street-v2',
    carry_split=None,
)

STREET_V4 = dataclasses.replace(
    STREET_V3,
    name='street-v4',
    stills=dataclasses.replace(STREET_V3.stills, seeds=640),
    local=dataclasses.replace(STREET_V3.local, steps=700, rate=2e-3, seed=4),
    remote=dataclasses.replace(
        STREET_V3.remote, steps=3700, batch=4, rate=2e-3, seed=4, fine=True, feature_channels=64, through_features=0.2
    ),
    joint=dataclasses.replace(STREET_V3.joint, steps=1400, seed=4, refined=True, arrival=0.1, stills=360),
    codec=CodecConfig(steps=1000, batch=12, rate=2e-3, crop=(320, 640), ema=0.99, latents=16, bits=37.0),
    base='street-v3',
)

STREET_V5 = dataclasses.replace(
    STREET_V4,
    name='street-v5',
    trams=FootageConfig('trams', first_seed=200_000, seeds=120, frames=5, rates=(1.0,), trams=True),
    local=dataclasses.replace(STREET_V4.local, steps=700, seed=5, rare=0.5),
    remote=dataclasses.replace(STREET_V4.remote, steps=1800, rate=1.5e-3, seed=5, rare=0.5),
    joint=dataclasses.replace(STREET_V4.joint, steps=1300, seed=5, fine=False, rare=0.4),
    conv=ConvConfig(steps=2400, batch=4, rate=2e-3, crop=(320, 480), class_balance=0.4, rare=0.4, seed=5, decoded=0.6),
    codec=CodecConfig(steps=1000, batch=12, rate=2e-3, crop=(320, 640), ema=0.99, latents=16, bits=43.0),
    single=('stills', 'clips', 'trams'),
    base='street-v4',
)

# Fused on clips that neither model has seen by itself: on those that it knows, the local one needs the cloud less.
STREET_V6 = dataclasses.replace(
    STREET_V5,
    name='street-v6',
    stills=dataclasses.replace(STREET_V5.stills, seeds=960),
    clips=dataclasses.replace(STREET_V5.clips, first_seed=100_072, seeds=192),
    local=dataclasses.replace(STREET_V5.local, steps=0),  # as it is in the base
    remote=dataclasses.replace(STREET_V5.remote, steps=1000, seed=6),
    joint=dataclasses.replace(STREET_V5.joint, steps=1400, rate=1.5e-3, seed=6, first_still=640, stills=240),
    conv=None,
    single=('stills', 'trams'),
    base='street-v5',
)

# A deeper remote model: it knows streets that it was trained on hardly better than others, so that what it lacked was
# room to learn.
STREET_V7 = dataclasses.replace(
    STREET_V6,
    name='street-v7',
    stills=dataclasses.replace(STREET_V6.stills, first_seed=960, seeds=640),
    clips=dataclasses.replace(STREET_V6.clips, first_seed=100_264, seeds=128),
    remote=dataclasses.replace(STREET_V6.remote, steps=3000, rate=2e-3, seed=7, deep=1),
    joint=dataclasses.replace(STREET_V6.joint, steps=1200, seed=7, first_still=400),
    codec=CodecConfig(steps=1000, batch=12, rate=2e-3, crop=(320, 640), ema=0.99, latents=16, bits=46.0),
    base='street-v6',
)

# The same pair for longer together: the deeper model's features were still new to the local one. Not shipped, nor is
# street-v7: the fused masks became better than street-v6's only with the steps that follow (docs/results.md).
STREET_V8 = dataclasses.replace(
    STREET_V7,
    name='street-v8',
    remote=dataclasses.replace(STREET_V7.remote, steps=0),  # as it is in the base
    joint=dataclasses.replace(STREET_V7.joint, steps=750, rate=2e-3, seed=8),
    base='street-v7',
)

# And for longer still, on other streets again.
STREET_V9 = dataclasses.replace(
    STREET_V8,
    name='street-v9',
    clips=dataclasses.replace(STREET_V8.clips, first_seed=100_392, seeds=192),
    joint=dataclasses.replace(STREET_V8.joint, steps=3000, seed=9),
    codec=CodecConfig(steps=1600, batch=12, rate=2e-3, crop=(320, 640), ema=0.99, latents=16, bits=42.5),
    base='street-v8',
)

# The remote model by itself again, at the features that the local one has learnt to read.
STREET_V10 = dataclasses.replace(
    STREET_V9,
    name='street-v10',
    clips=dataclasses.replace(STREET_V9.clips, first_seed=100_584, seeds=96),
    remote=dataclasses.replace(
        STREET_V9.remote, steps=3000, rate=1.5e-3, seed=10, through_features=0.35, keep_features=True
    ),
    joint=dataclasses.replace(STREET_V9.joint, steps=1500, rate=1.5e-3, seed=10),
    codec=CodecConfig(
        steps=1000,
        batch=12,
        rate=1.5e-3,
        crop=(320, 640),
        ema=0.99,
        latents=16,
        bits=41.0,
        first_weight=6e-4,
        from_base=True,
    ),
    base='street-v9',
)

# A remote model that works longer at each stride, and twice as many streets: it knew the buses, trucks and trains of
# its own far better than those of others.
STREET_V11 = dataclasses.replace(
    STREET_V10,
    name='street-v11',
    stills=dataclasses.replace(STREET_V10.stills, seeds=1440),
    clips=dataclasses.replace(STREET_V10.clips, first_seed=100_680, seeds=128),
    trams=FootageConfig('trams', first_seed=200_000, seeds=240, frames=5, rates=(1.0,), trams=True),
    remote=dataclasses.replace(STREET_V10.remote, steps=3600, seed=11, deep=2),
    joint=dataclasses.replace(STREET_V10.joint, steps=1500, seed=11, first_still=1200),
    base='street-v10',
)

# The same pair for longer together, on other streets: what its cloud sends said less than what its cloud saw.
STREET_V12 = dataclasses.replace(
    STREET_V11,
    name='street-v12',
    stills=dataclasses.replace(STREET_V11.stills, first_seed=2400, seeds=640),
    clips=dataclasses.replace(STREET_V11.clips, first_seed=100_808),
    trams=FootageConfig('trams', first_seed=220_000, seeds=120, frames=5, rates=(1.0,), trams=True),
    remote=dataclasses.replace(STREET_V11.remote, steps=0),  # as it is in the base
    joint=dataclasses.replace(STREET_V11.joint, steps=2600, rate=2e-3, seed=12, first_still=400),
    base='street-v11',
)

_ALL = (
    STREET_V1,
    STREET_V2,
    STREET_V3,
    STREET_V4,
    STREET_V5,
    STREET_V6,
    STREET_V7,
    STREET_V8,
    STREET_V9,
    STREET_V10,
    STREET_V11,
    STREET_V12,
)
RECIPES = {config.name: config for config in _ALL}


def recipe(name: str) -> TrainConfig:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f'no training recipe {name!r}; expected one of: {", ".join(RECIPES)}')
    return RECIPES[name]
