"""What the engine is judged on: pictures in a row with the codec's own motion, labels where there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import EncoderSettings, H264Encoder, MotionField, open_source
from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.models.pictures import as_levels, scaled
from dedelayed_ros.models.zoo import ZooEntry
from dedelayed_ros.reuse import at_input
from dedelayed_ros.sparse import SparseModule
from dedelayed_ros.train import footage
from dedelayed_ros.train.config import FootageConfig
from dedelayed_ros.train.losses import Confusion

RATE = 30.0


@dataclass(frozen=True)
class Step:
    """One picture at the model's input, uint8 [1, 3, h, w].

    ``motion`` since the one before, None where that is not known; ``truth`` uint8 [H, W] class ids, and ``dense`` the
    model's own logits [classes, h', w'] of a dense pass.
    """

    image: Tensor
    motion: MotionField | None
    truth: np.ndarray
    dense: Tensor


@dataclass(frozen=True)
class Sequences:
    """Clips, each a list of steps. ``labelled``: the truth is a label, not the dense model's mask."""

    name: str
    clips: list[list[Step]]
    labelled: bool

    @property
    def classes(self) -> int:
        """Of the model."""
        return int(self.clips[0][0].dense.shape[0])

    def halves(self) -> tuple[Sequences, Sequences]:
        """Every second clip, and the others; of a single clip, the same twice."""
        first, second = self.clips[::2], self.clips[1::2] or self.clips
        return Sequences(self.name, first, self.labelled), Sequences(self.name, second, self.labelled)

    def dense_accuracy(self) -> float:
        """mIoU of the dense model, 0–1; 1 where it is the truth itself."""
        counts = Confusion(self.classes)
        for clip in self.clips:
            for step in clip[1:]:
                counts.add(step.dense, step.truth)
        return counts.miou()


@dataclass(frozen=True)
class Judged:
    """mIoU against the truth, share of pixels that have the dense model's class, and the engine's ratios; 0–1.

    The first frame of each clip, which is dense by necessity, is left out of all of them.
    """

    miou: float
    agreement: float
    compute_ratio: float
    recompute_ratio: float
    by_clip: list[float]  # compute ratio


def check_knows_streets(entry: ZooEntry) -> None:
    """Raises InputError for a model that has other classes than the simulated street is labelled with."""
    if entry.labels.names != CITYSCAPES.names:
        raise InputError(
            f'{entry.name} has {len(entry.labels)} classes of its own, and streets are labelled with the '
            f'{len(CITYSCAPES)} of Cityscapes; `dedelayed calibrate --clip VIDEO` judges it by its own masks'
        )


def streets(
    model: nn.Module, size: tuple[int, int], cache: Path, seeds: range, frames: int, say: Callable[[str], None]
) -> Sequences:
    """Simulated streets with exact labels; clips that the cache lacks are rendered. ``size`` (H, W) of the input."""
    longest = max(frames, 52)  # the clips that the other evaluations render
    config = FootageConfig('validation', seeds.start, len(seeds), longest, (RATE,))
    clips = []
    for clip in footage.prepare(cache, config, 1, say):
        pictures = [scaled(np.array(clip.images[i]), size) for i in range(frames)]
        labels = [np.asarray(clip.labels[i]) for i in range(frames)]
        clips.append(_steps(model, pictures, clip.motions[:frames], labels, size))
    return Sequences('street', clips, True)


def rendered(model: nn.Module, size: tuple[int, int], folder: Path, count: int, frames: int) -> Sequences:
    """``count`` clips of a folder of rendered ones (`dedelayed train footage`), spread over it, with exact labels.

    Raises InputError for a folder without clips.
    """
    found = sorted(path.parent for path in folder.glob('*/clip.json'))
    if not found:
        raise InputError(f'{folder} has no rendered clips; `dedelayed train footage` makes them')
    clips = []
    for number in range(min(count, len(found))):
        clip = footage.open_clip(found[number * len(found) // min(count, len(found))])
        pictures = [scaled(np.array(image), size) for image in clip.images[:frames]]
        labels = [np.asarray(label) for label in clip.labels[:frames]]
        clips.append(_steps(model, pictures, clip.motions[:frames], labels, size))
    return Sequences(folder.name, clips, True)


def recorded(model: nn.Module, size: tuple[int, int], uri: str, frames: int) -> Sequences:
    """A video, in clips that begin where the codec finds no motion (a cut). The dense model's mask is the truth."""
    clips: list[tuple[list[np.ndarray], list[MotionField]]] = []
    with open_source(uri, pace='fast') as source:
        encoder = H264Encoder(EncoderSettings(size=source.size, rate=source.rate))
        for frame, _ in zip(source, range(frames), strict=False):
            picture = encoder.encode(frame.image)
            if not clips or picture.intra_ratio >= 0.45:
                clips.append(([], []))
            clips[-1][0].append(scaled(frame.image, size))
            clips[-1][1].append(picture.motion)
        encoder.close()
    long_enough = [_steps(model, pictures, motions, None, size) for pictures, motions in clips if len(pictures) > 1]
    return Sequences(Path(uri).name, long_enough, False)


@torch.inference_mode()
def _steps(
    model: nn.Module,
    pictures: Sequence[np.ndarray],
    motions: Sequence[MotionField],
    labels: Sequence[np.ndarray] | None,
    size: tuple[int, int],
) -> list[Step]:
    steps = []
    for i, picture in enumerate(pictures):
        image = as_levels(picture)
        dense = model(image.float() / 255)[0].float()
        truth = dense.argmax(0).to(torch.uint8).numpy() if labels is None else labels[i]
        steps.append(Step(image, at_input(motions[i], size) if i else None, truth, dense))
    return steps


def judge(module: SparseModule, sequences: Sequences, *, quick: bool = False) -> Judged:
    """Run every clip through the engine. ``quick``: labels at the centres of the logits' cells only."""
    counts = Confusion(sequences.classes)
    agreed, compute, recompute, by_clip = [], [], [], []
    for clip in sequences.clips:
        module.reset()
        ratios = []
        for step in clip:
            logits, stats = module.step(step.image, motion=step.motion)
            if step.motion is None:
                continue
            mask = logits[0].argmax(0)
            agreed.append(float((mask == step.dense.argmax(0)).float().mean()))
            ratios.append(stats.compute_ratio)
            recompute.append(stats.recompute_ratio)
            if quick or not sequences.labelled:
                rows, cols = step.truth.shape[0] // mask.shape[0], step.truth.shape[1] // mask.shape[1]
                counts.add_mask(mask.to(torch.uint8).numpy(), step.truth[rows // 2 :: rows, cols // 2 :: cols])
            else:
                counts.add(logits[0], step.truth)
        compute += ratios
        by_clip.append(float(np.mean(ratios)))
    means = [float(np.mean(values)) for values in (agreed, compute, recompute)]
    return Judged(counts.miou(), means[0], means[1], means[2], by_clip)
