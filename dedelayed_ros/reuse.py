"""The robot's model on the sparse engine: what of each mask is taken over from the frame before.

Masks with and without remote features are two streams through the same weights, each with a memory of its own, so that
nothing of the cloud is left in a mask without its features. A stream whose last frame was not the one before begins
with a dense pass, and so does every stream after a scene cut or a lost frame.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.models import zoo
from dedelayed_ros.models.pictures import as_levels
from dedelayed_ros.models.sizes import FEATURE_STRIDE

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

Reuse = Literal['calibrated', 'exact', 'off']
Device = Literal['cpu', 'cuda']
CHOICES: tuple[Reuse, ...] = ('calibrated', 'exact', 'off')

_DENSE_ABOVE = {
    (torch.float32, False): 0.5,
    (torch.float32, True): 0.75,
    (torch.bfloat16, False): 0.35,
    (torch.bfloat16, True): 0.5,
}
WORTH_TRYING = 0.7
"""Share of the work above which a frame is computed faster in full than by what motion explains of it."""

_LONGEST_PAUSE = 15  # frames
_BLOCK = 16  # pixels a side of a block of the codec

# What remote features and their age may differ by, with tiles: the mean over channels that may add up in 8x8 pixels
# (about twice how much features vary), and milliseconds. Without them each frame would be computed in full, since the
# age is another one each time.
_WITH_FEATURES = {'features': 1.5, 'age_ms': 150.0}


def dense_above(dtype: torch.dtype, calibration: sparse.Calibration | None) -> float:
    """Share of the picture that is new from which all is computed: finding the rest costs more than it saves
    (`dedelayed bench sparse`).

    Without tiles what is new spreads from layer to layer; in bfloat16 computing is cheap and finding is not.
    1.0, never, in a format in which that was not measured.
    """
    return _DENSE_ABOVE.get((dtype, calibration is not None and calibration.tile > 0), 1.0)


def calibration_path(model: str) -> Path:
    """Where the calibration of a model of the zoo belongs: in the folder `reuse` beside its entry."""
    path = zoo.path_of(model)
    return path.parent / 'reuse' / path.name


def load_calibration(model: str) -> sparse.Calibration | None:
    """The calibration of a model; None where there is none.

    Raises:
        InputError: it is damaged, or was made for other weights.
    """
    path = calibration_path(model)
    if not path.is_file():
        return None
    calibration = sparse.Calibration.load(path)
    if calibration.model != zoo.entry(model).files['local'][1]:
        raise InputError(
            f'the calibration {path} was made for other weights of {model!r}; make it again with `dedelayed calibrate '
            f'--model {model}`, or remove it'
        )
    return calibration


def at_input(motion: MotionField, size: tuple[int, int]) -> MotionField:
    """A field of the camera's picture on the model's input of ``size`` (H, W), on blocks that shrink with it."""
    if motion.size == size:
        return motion
    block = motion.block * size[1] / motion.size[1]
    return motion.resized(size, block=max(4, min(_BLOCK, round(block))))


class Attempts:
    """Whether it is worth to look for what can be reused.

    When two frames in a row left hardly anything, it is not tried for one frame, and each time that the next attempt
    fails too for twice as many, up to half a second or so: a camera that moves on costs what a dense model does. One
    such frame says nothing: features that are new, or their age, make one now and then.
    """

    def __init__(self) -> None:
        self._failed = self._left = 0

    def due(self) -> bool:
        """Whether to try with the frame at hand; asked once a frame."""
        if self._left:
            self._left -= 1
            return False
        return True

    def tell(self, compute_ratio: float) -> None:
        """What an attempt had to compute, 0–1."""
        self._failed = 0 if compute_ratio <= WORTH_TRYING else self._failed + 1
        self._left = 0 if self._failed < 2 else min(2 ** min(self._failed - 2, 8), _LONGEST_PAUSE)


class LocalRunner:
    """The local model of one stream. One thread at a time.

    ``note`` says what keeps it from reusing as was asked for; empty where nothing does.
    """

    def __init__(
        self,
        model: str,
        size: tuple[int, int],
        *,
        fused: bool,
        dtype: torch.dtype,
        reuse: Reuse,
        threads: int,
        device: Device = 'cpu',
    ) -> None:
        """``size`` (H, W) of the input; ``fused``: remote features may come with it.

        Raises:
            InputError: another ``reuse``, a calibration that cannot be used, or ``device`` 'cuda' where there is none.
            WeightsError: as the zoo's.
        """
        if reuse not in CHOICES:
            raise InputError(f'reuse is {reuse!r}; expected one of: {", ".join(CHOICES)}')
        self.note = ''
        if device == 'cuda' and reuse == 'off':
            raise InputError(
                "device 'cuda' runs the sparse engine: set reuse to 'calibrated' or 'exact', or device 'cpu'"
            )
        self.reuse = reuse
        self._device = device
        self._dtype = dtype
        self._model = zoo.load_local(model, dtype=dtype)
        self._size = size
        self._streams: list[sparse.SparseModule] = []
        self._last: int | None = None  # number of the stream that had the last frame
        self._motion: MotionField | None = None  # from that frame to the newest one; None: the same frame
        self._broken = False  # whether that motion is unknown
        self._attempts = Attempts()
        if fused:
            grid = (side // FEATURE_STRIDE for side in size)
            self._blank = torch.zeros(1, self._model.feature_channels, *grid)
        self._with_features = fused
        if reuse != 'off':
            self._compile(model, threads)

    def _compile(self, model: str, threads: int) -> None:
        calibration = load_calibration(model) if self.reuse == 'calibrated' else None
        if self.reuse == 'calibrated' and calibration is None:
            self.reuse = 'exact'
            self.note = f'{model} has no calibration; `dedelayed calibrate --model {model}` makes one'
        if calibration is not None and calibration.tile and self._device == 'cuda':
            calibration, self.reuse = None, 'exact'
            self.note = f'the CUDA kernels do not have the tiles that {model} is calibrated for'
        if calibration is not None and calibration.tile:
            calibration = replace(calibration, thresholds={**_WITH_FEATURES, **calibration.thresholds})
        example: tuple[Tensor, ...] = (torch.zeros(1, 3, *self._size, dtype=torch.uint8),)
        if self._with_features:
            example += (self._blank, torch.zeros(1))
        try:
            module = sparse.compile(
                self._model,
                example,
                dtype=self._dtype,
                backend=self._device,
                calibration=calibration,
                threads=threads,
                dense_above=dense_above(self._dtype, calibration),
            )
        except InputError as error:
            if self._device == 'cuda':  # it was asked for by name: to go on without it would be another robot
                raise
            self.reuse, self.note = 'off', str(error)
            return
        self._streams = [module, module.fork()] if self._with_features else [module]

    def reset(self) -> None:
        """Forget the stream: the next frame is its first."""
        self._last = None

    def skip(self, motion: MotionField | None) -> None:
        """A frame that nothing is computed of: only its motion counts."""
        if motion is None:
            self._broken = True
        elif not self._broken:
            self._motion = motion if self._motion is None else self._motion.compose(motion)

    @torch.inference_mode()
    def step(
        self, small: np.ndarray, features: Tensor | None, age_ms: float, motion: MotionField | None
    ) -> tuple[Tensor, sparse.SparseStats | None]:
        """Logits [C, h/4, w/4] of a frame, float32 or in the engine's format, to be read before the next step and not
        written to, and what the engine did (None: it computed everything).

        small:    uint8 [h, w, 3] of the input's size.
        features: float32 [1, C, h/8, w/8] carried to this frame, or None; ``age_ms`` is theirs.
        motion:   from the frame before to this one, at the camera's size; None: unknown, or another scene.
        """
        if not self._streams:
            image = (as_levels(small).float() / 255).to(self._dtype)
            if features is None:
                return self._model(image)[0].float(), None
            return self._model(image, features.to(self._dtype), torch.tensor([age_ms]))[0].float(), None
        number = 0 if features is None else 1
        self.skip(motion)
        since = None
        if number == self._last and self._motion is not None and not self._broken:
            since = at_input(self._motion, self._size) if self._attempts.due() else None
        inputs: tuple[Tensor, ...] = (as_levels(small),)
        if self._with_features:
            inputs += (self._blank if features is None else features, torch.tensor([age_ms]))
        logits, stats = self._streams[number].step(*inputs, motion=since, copy=False)
        if since is not None:
            self._attempts.tell(stats.compute_ratio)
        self._last, self._motion, self._broken = number, None, False
        return logits[0], stats
