"""Writing clips for people and other programs: video, labels, overlay, contact sheets."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from . import classes as c
from .clip import StreetClip


def palette() -> np.ndarray:
    """uint8 [256, 3]: the colours of the classes, RGB; black for everything else."""
    out = np.zeros((256, 3), np.uint8)
    out[: len(c.PALETTE)] = c.PALETTE
    return out


def write_clip(
    seed: int,
    out: Path,
    *,
    size: tuple[int, int],
    rate: float,
    frames: int,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Write ``clip.mp4`` (H.264), ``overlay.mp4`` and ``labels/000000.png`` … (palette PNG, value = class id).

    Returns the share of pixels of each class, float64 [256]. ``progress`` is told how many frames are done.
    """
    import av
    from PIL import Image

    (out / 'labels').mkdir(parents=True, exist_ok=True)
    colours = palette()
    counts = np.zeros(256)
    with (
        StreetClip(seed, size=size, rate=rate, frames=frames) as clip,
        av.open(str(out / 'clip.mp4'), 'w') as video,
        av.open(str(out / 'overlay.mp4'), 'w') as overlaid,
    ):
        streams = [_stream(container, size, rate) for container in (video, overlaid)]
        for number, frame in enumerate(clip, 1):
            blended = (frame.image.astype(np.uint16) + colours[frame.labels]) // 2
            for container, stream, image in zip(
                (video, overlaid), streams, (frame.image, blended.astype(np.uint8)), strict=True
            ):
                for packet in stream.encode(av.VideoFrame.from_ndarray(_even(image), format='rgb24')):
                    container.mux(packet)
            picture = Image.fromarray(frame.labels)
            picture.putpalette(colours.tobytes())
            picture.save(out / 'labels' / f'{number - 1:06d}.png')
            counts += np.bincount(frame.labels.reshape(-1), minlength=256)
            progress(number)
        for container, stream in zip((video, overlaid), streams, strict=True):
            container.mux(stream.encode())
    return counts / max(counts.sum(), 1)


def _even(image: np.ndarray) -> np.ndarray:
    """The picture without its last row or column where their number is odd: H.264 in 4:2:0 has only even sides."""
    h, w = image.shape[:2]
    return np.ascontiguousarray(image[: h - h % 2, : w - w % 2])


def _stream(container, size: tuple[int, int], rate: float):  # type: ignore[no-untyped-def]
    stream = container.add_stream('libx264', rate=Fraction(rate).limit_denominator(1000))
    stream.height, stream.width = size[0] - size[0] % 2, size[1] - size[1] % 2
    stream.pix_fmt = 'yuv420p'
    stream.options = {'crf': '18', 'preset': 'veryfast'}
    return stream


def write_sheet(
    seeds: range,
    file: Path,
    *,
    size: tuple[int, int],
    rate: float,
    at: int = 20,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """A contact sheet: frame number ``at`` of each seed, and its labels beside it, two seeds a row."""
    from PIL import Image

    tiles = []
    for seed in seeds:
        tiles.append(still(seed, size, rate, at))
        progress(len(tiles))
    if len(tiles) % 2:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.concatenate(tiles[i : i + 2], 1) for i in range(0, len(tiles), 2)]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(file)


def still(seed: int, size: tuple[int, int], rate: float, at: int) -> np.ndarray:
    """Frame number ``at`` of a seed with its coloured labels to the right, uint8 [H, 2·W, 3]."""
    with StreetClip(seed, size=size, rate=rate) as clip:
        for _ in range(at):
            clip.skip()
        frame = clip.read()
    if frame is None:
        raise RuntimeError('a street has no end')
    return np.concatenate([frame.image, palette()[frame.labels]], 1)
