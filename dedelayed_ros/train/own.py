"""Footage of one's own, labelled by whom or whatever, to train a pair on what a robot really sees."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import model_sizes, zoo
from dedelayed_ros.models.labels import UNLABELLED, Labels
from dedelayed_ros.train.config import STREET_V12, FootageConfig, TrainConfig
from dedelayed_ros.train.footage import Clip, available, store_clip

_SHORTEST = 8  # frames of a clip: the last ones of a video may be too few to learn from


def import_footage(
    video: str,
    labels: Path,
    folder: Path,
    classes: Labels,
    *,
    frames: int = 24,
    bitrate_kbps: int = 4000,
    say: Callable[[str], None] = print,
) -> list[Clip]:
    """Write a video and the labels of its frames to ``folder`` as clips to train on, and return them.

    Args:
        video: any source of frames: a file, a folder of images.
        labels: a folder of PNGs whose pixels are ids of ``classes`` (255: unlabelled), of any size; the last number in
            a name is that of its frame, counted from 0. Frames without one are unlabelled.
        folder: gets a folder a clip.
        classes: what the ids mean.
        frames: of each clip, at least 8.
        bitrate_kbps: of the H.264 uplink whose decoded pictures the remote model is trained on.
        say: is told what was written.

    Raises:
        InputError: a video or labels that cannot be read or do not belong together.
    """
    from dedelayed_ros.frames import open_source
    from dedelayed_ros.frames.pixels import resize

    if frames < _SHORTEST:
        raise InputError(f'clips of {frames} frames; expected at least {_SHORTEST}')
    files = _numbered(labels)
    clips: list[Clip] = []
    with open_source(video, pace='fast') as source:
        size, rate = model_sizes(source.size).remote, float(source.rate)

        def labelled() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for number, frame in enumerate(source):
                yield resize(frame.image, size), _label(files.get(number), size, classes)

        following = labelled()
        while True:
            part = list(islice(following, frames))
            if len(part) < _SHORTEST:
                break
            first = len(clips) * frames
            clip = folder / f'{Path(video).stem}-{first:06d}'
            if clip.exists():
                raise InputError(
                    f'{clip} is there already; remove it to write this video again, or give another one another name'
                )
            clips.append(store_clip(clip, part, seed=first, rate=rate, size=size, bitrate_kbps=bitrate_kbps))
            if len(clips) % 20 == 0:
                say(f'{first + len(part)} frames written')
    if not clips:
        raise InputError(f'{video} has fewer than {_SHORTEST} frames; choose a longer one')
    last = len(clips) * frames
    if not any(number < last for number in files):
        for written in clips:
            shutil.rmtree(written.folder)
        raise InputError(
            f'the labels in {labels} begin with frame {min(files)}, and {video} has about {last}; expected the number '
            'of its frame, from 0 on, in the name of each'
        )
    say(f'{folder}: {len(clips)} clips of {size[1]}x{size[0]} at {rate:g} Hz, {len(files)} labels')
    return clips


def own_recipe(name: str, folder: Path, base: str = zoo.DEFAULT) -> TrainConfig:
    """A recipe that goes on from the pair ``base`` on the clips in ``folder``/train and ``folder``/validation.

    Raises:
        InputError: clips of different sizes, or none. WeightsError: ``base`` is unknown, or no pair.
    """
    found = zoo.entry(base)
    remote = zoo.load_remote(base)
    sizes = {
        (clip.images.shape[1], clip.images.shape[2])
        for part in ('train', 'validation')
        for clip in available(folder, FootageConfig.of_folder(part, folder / part))
    }
    if len(sizes) > 1:
        raise InputError(f'{folder} has clips of the sizes {sorted(sizes)} (H, W); expected one size for all')
    (size,) = sizes
    clips = FootageConfig.of_folder('clips', folder / 'train')
    best = STREET_V12
    assert best.codec is not None
    return dataclasses.replace(
        best,
        name=name,
        stills=clips,
        clips=clips,
        validation=FootageConfig.of_folder('validation', folder / 'validation'),
        trams=None,
        single=('clips',),
        base=base,
        local=dataclasses.replace(best.local, steps=1500, rate=1e-3, crop=size),
        remote=dataclasses.replace(
            best.remote, steps=1500, rate=1e-3, crop=size, deep=remote.deep, feature_channels=remote.feature_channels
        ),
        joint=dataclasses.replace(
            best.joint, steps=1500, rate=1e-3, crop=size, split=found.carry_split, first_still=0, stills=None
        ),
        codec=dataclasses.replace(best.codec, crop=size, latents=found.link_channels),
    )


def _numbered(labels: Path) -> dict[int, Path]:
    """Label files by the number of their frame."""
    files = {int(numbers[-1]): file for file in labels.glob('*.png') if (numbers := re.findall(r'\d+', file.stem))}
    if not files:
        raise InputError(f'{labels} has no labels; expected a folder of PNGs such as 000012.png, for frame 12')
    return files


def _label(file: Path | None, size: tuple[int, int], classes: Labels) -> np.ndarray:
    """Class ids uint8 of ``size``, each that of the nearest pixel; all unlabelled without a file."""
    from PIL import Image

    if file is None:
        return np.full(size, UNLABELLED, np.uint8)
    try:
        ids = np.asarray(Image.open(file))
    except OSError as error:
        raise InputError(f'cannot read the label {file} ({error})') from error
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise InputError(f'{file} is {ids.dtype} {list(ids.shape)}; expected one channel of 8 bits, the class ids')
    wrong = ids[(ids >= len(classes)) & (ids != UNLABELLED)]
    if wrong.size:
        raise InputError(
            f'{file} has the class id {wrong[0]}; expected 0 to {len(classes) - 1} ({classes.names[0]}, '
            f'{classes.names[1]}, …) or {UNLABELLED} for unlabelled'
        )
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, ids.shape, strict=True)
    )
    return np.ascontiguousarray(ids[rows[:, None], columns])
