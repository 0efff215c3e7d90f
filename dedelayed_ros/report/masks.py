"""The masks of a run as files that other programs read: class ids, 255 where nothing is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from dedelayed_ros.report.account import Account
from dedelayed_ros.report.recording import Recording


def write_pictures(account: Account, recording: Recording, folder: Path) -> None:
    """One 8-bit grey PNG a mask, ``000042.png`` for the source's frame 42; a frame without a mask has none."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in account.frames:
        if frame.mask is not None:
            picture = Image.fromarray(recording.pixels(frame.mask))
            picture.save(folder / f'{frame.sequence:06d}.png', compress_level=1)


def write_video(account: Account, recording: Recording, path: Path) -> None:
    """One lossless grey video (FFV1); a frame without a mask is 255 everywhere, so that frame n is the source's."""
    shape = next((f.mask.height, f.mask.width) for f in account.frames if f.mask is not None)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=Fraction(account.window.rate).limit_denominator(1001))
        stream.height, stream.width = shape
        stream.pix_fmt = 'gray'
        for frame in account.frames:
            pixels = recording.pixels(frame.mask) if frame.mask is not None else np.full(shape, 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='gray')))
        container.mux(stream.encode(None))
