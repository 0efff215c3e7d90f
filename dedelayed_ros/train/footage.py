"""Clips of the simulated street, cached: pictures, labels, what the cloud would decode, and the codec's motion."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.motion_track import MotionTrack
from dedelayed_ros.train.config import FootageConfig

_VERSION = 2  # of the cache's files


@dataclass(frozen=True)
class Clip:
    """One cached clip of N frames, ``rate`` a second; arrays are read from disk when they are indexed."""

    folder: Path
    seed: int
    rate: float

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 [N, H, W, 3], as the camera delivered them."""
        return np.load(self.folder / 'images.npy', mmap_mode='r')

    @cached_property
    def decoded(self) -> np.ndarray:
        """uint8 [N, H, W, 3], as the cloud decodes them from the H.264 uplink."""
        return np.load(self.folder / 'decoded.npy', mmap_mode='r')

    @cached_property
    def labels(self) -> np.ndarray:
        """uint8 [N, H, W], class ids."""
        return np.load(self.folder / 'labels.npy', mmap_mode='r')

    @cached_property
    def motions(self) -> list[MotionField]:
        """N fields; each leads from the previous frame to its own, the first is the identity."""
        stored = np.load(self.folder / 'motion.npz')
        size = (self.images.shape[1], self.images.shape[2])
        return [MotionField(size, qpel, valid) for qpel, valid in zip(stored['qpel'], stored['valid'], strict=True)]

    @cached_property
    def _tracks(self) -> dict[int, MotionTrack]:
        """By the size of blocks."""
        return {}

    def __len__(self) -> int:
        return len(self.images)

    def motion_between(self, earlier: int, later: int, block: int) -> MotionField | None:
        """Motion from frame ``earlier`` to ``later`` on blocks of ``block`` pixels, as the robot knows it of an answer
        that comes then; None when they are the same.
        """
        if block not in self._tracks:
            self._tracks[block] = MotionTrack(len(self))
            for number, motion in enumerate(self.motions):
                stamp_ns = round(number / self.rate * 1e9)
                self._tracks[block].append(stamp_ns, motion.resized(motion.size, block), self.images[number])
        way = self._tracks[block].way(earlier, later)
        return None if way is None else self._tracks[block].corrected(way, earlier, later)

    def composed_motion(self, earlier: int, later: int, block: int) -> MotionField | None:
        """The same as the codec alone tells it, composed frame by frame."""
        composed: MotionField | None = None
        for field in self.motions[earlier + 1 : later + 1]:
            field = field.resized(field.size, block)
            composed = field if composed is None else composed.compose(field)
        return composed


def street_seeds(config: FootageConfig) -> list[int]:
    """The seeds of the streets of ``config``, in order."""
    seeds: Iterator[int] = itertools.count(config.first_seed)
    if config.trams:
        from dedelayed_ros.sim.street.layout import Street

        seeds = (seed for seed in seeds if Street.of(seed).tram)
    return list(itertools.islice(seeds, config.seeds))


def clip_folder(cache: Path, config: FootageConfig, seed: int) -> Path:
    """Where the clip of ``seed`` lies: its name holds everything that it depends on."""
    h, w = config.size
    name = f'{seed}-{w}x{h}-{config.frames}x{config.rate(seed):g}hz-{config.bitrate_kbps(seed)}kbps-v{_VERSION}'
    return cache / config.name / name


def prepare(cache: Path, config: FootageConfig, workers: int, say: Callable[[str], None] = print) -> list[Clip]:
    """The clips of ``config``, rendered by ``workers`` processes where the cache lacks them.

    Raises:
        InputError: a process ended before its clip was there, or a folder of one's own has none.
    """
    if config.own is not None:
        return available(cache, config)
    seeds = street_seeds(config)
    folders = [clip_folder(cache, config, seed) for seed in seeds]
    missing = [
        (folder, config, seed)
        for folder, seed in zip(folders, seeds, strict=True)
        if not (folder / 'clip.json').is_file()
    ]
    if missing:
        begun = time.monotonic()
        with ProcessPoolExecutor(workers, multiprocessing.get_context('spawn')) as pool:
            for done, clip in enumerate(as_completed([pool.submit(_render, job) for job in missing]), 1):
                _check_rendered(clip)
                if done % 10 == 0 or done == len(missing):
                    elapsed = time.monotonic() - begun
                    left = elapsed / done * (len(missing) - done)
                    say(f'{config.name}: {done}/{len(missing)} clips rendered, {elapsed:.0f} s, {left:.0f} s left')
    return [open_clip(folder) for folder in folders]


def _check_rendered(clip: Future[None]) -> None:
    try:
        clip.result()
    except BrokenProcessPool as error:
        raise InputError(
            'a process that renders clips has ended by itself: see above for what it said. It is a fresh Python that '
            "imports the script which wants the clips: that needs its `if __name__ == '__main__'`"
        ) from error


def available(cache: Path, config: FootageConfig) -> list[Clip]:
    """The clips of ``config`` that the cache has by now.

    Raises:
        InputError: it has none.
    """
    if config.own is not None:
        found = sorted(path.parent for path in Path(config.own).glob('*/clip.json'))
        if not found:
            raise InputError(
                f'{config.own} holds no clips; `dedelayed footage VIDEO LABELS --out {config.own}` makes some'
            )
        return [open_clip(folder) for folder in found]
    seeds = street_seeds(config)
    folders = [clip_folder(cache, config, seed) for seed in seeds]
    clips = [open_clip(folder) for folder in folders if (folder / 'clip.json').is_file()]
    if not clips:
        raise InputError(f'{cache / config.name} holds no rendered clips; run `dedelayed train footage` first')
    return clips


def open_clip(folder: Path) -> Clip:
    """The clip in ``folder``.

    Raises:
        InputError: it was not written completely.
    """
    try:
        card = json.loads((folder / 'clip.json').read_text())
        return Clip(folder, int(card['seed']), float(card['rate']))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f'{folder} is not a complete clip ({error}); delete the folder and render it again') from error


def _render(job: tuple[Path, FootageConfig, int]) -> None:
    """Render, encode and decode one clip (in a worker process)."""
    folder, config, seed = job
    os.environ.setdefault('LP_NUM_THREADS', '1')  # Mesa's: the workers themselves share the cores
    from dedelayed_ros.sim.street import StreetClip

    rate = config.rate(seed)
    with StreetClip(seed, size=config.size, rate=rate, frames=config.frames) as street:
        frames = ((frame.image, frame.labels) for frame in street)
        store_clip(folder, frames, seed=seed, rate=rate, size=config.size, bitrate_kbps=config.bitrate_kbps(seed))


def store_clip(
    folder: Path,
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    rate: float,
    size: tuple[int, int],
    bitrate_kbps: int,
) -> Clip:
    """Encode and decode ``frames``, uint8 [H, W, 3] and their labels uint8 [H, W] of ``size``, and write them to
    ``folder`` as a clip of ``rate`` frames a second; ``bitrate_kbps`` of the uplink, ``seed`` tells it from others.
    """
    from dedelayed_ros.frames import EncoderSettings, H264Decoder, H264Encoder

    # One-second steps are new pictures to the codec; it is told a camera's rate so that it may spend what a camera's
    # frames get.
    encoder = H264Encoder(EncoderSettings(size=size, rate=max(rate, 15.0), bitrate_kbps=bitrate_kbps))
    decoder = H264Decoder()
    images, decoded, labels, motions = [], [], [], []
    for image, label in frames:
        picture = encoder.encode(image)
        images.append(image)
        decoded.append(decoder.decode(picture.data, size))
        labels.append(label)
        motions.append(picture.motion)
    encoder.close()
    partial = folder.with_name(f'{folder.name}.{os.getpid()}')
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / 'images.npy', np.stack(images))
    np.save(partial / 'decoded.npy', np.stack(decoded))
    np.save(partial / 'labels.npy', np.stack(labels))
    np.savez(
        partial / 'motion.npz', qpel=np.stack([m.qpel for m in motions]), valid=np.stack([m.valid for m in motions])
    )
    (partial / 'clip.json').write_text(json.dumps({'seed': seed, 'rate': rate}))
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return open_clip(folder)


def class_counts(clip: Clip, classes: int, *, every: int = 1) -> np.ndarray:
    """float64 [frames, classes]: pixels of each class in each ``every``-th frame, of every fourth row and column."""
    frames = np.asarray(clip.labels[::every, ::4, ::4])
    return np.stack([np.bincount(frame.reshape(-1), minlength=256)[:classes] for frame in frames]).astype(np.float64)


def class_shares(clips: list[Clip], classes: int) -> np.ndarray:
    """float64 [classes]: the share of labelled pixels of each class, from every fifth frame and fourth pixel."""
    counts = np.zeros(classes)
    for clip in clips:
        counts += class_counts(clip, classes, every=5).sum(0)
    return counts / max(1.0, counts.sum())
