"""The overlay video: every due frame with its mask, and below it a strip that says where the mask came from."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from dedelayed_ros import masks
from dedelayed_ros.report.account import Account, DueFrame
from dedelayed_ros.report.style import SOURCE_COLOURS, rgb

_STRIP, _BAR = 32, 6  # pixels: height of the caption strip, of which the line of time at its lower edge
_NARROWEST, _WIDEST = 480, 1280  # pixels: a video is enlarged or reduced to be between these
_BACK, _TEXT, _QUIET, _AHEAD, _ALARM = (21, 24, 29), (236, 239, 241), (150, 158, 166), (58, 64, 71), (255, 99, 88)


@dataclass(frozen=True)
class Picture:
    """One frame of the video for the page."""

    sequence: int
    source: str | None
    caption: str
    jpeg: bytes


@dataclass(frozen=True)
class Rendered:
    """The ``pictures`` that were asked for, and ``class_shares``: share of all pixels (0-1) by class id."""

    pictures: tuple[Picture, ...]
    class_shares: dict[int, float]


def choose_pictures(account: Account, count: int = 6) -> set[int]:
    """The sequences worth a picture: around each event, and spread evenly where those leave room."""
    frames, rate = account.frames, account.window.rate
    around = [round((event.t_s + after) * rate) for event in account.events for after in (-0.2, 1.0)]
    spread = [round((n + 0.5) * len(frames) / count - 0.5) for n in range(count)]
    apart = min(0.5 * rate, 0.4 * len(frames) / count)
    chosen: list[int] = []
    for row in (*around, *spread):
        if 0 <= row < len(frames) and all(abs(row - other) >= max(1.0, apart) for other in chosen):
            chosen.append(row)
    return {frames[row].sequence for row in chosen}


def render(
    account: Account,
    images: Iterable[tuple[int, np.ndarray]],
    pixels: Callable[[DueFrame], np.ndarray],
    palette: np.ndarray,
    path: Path,
    *,
    pictures: Collection[int] = (),
    alpha: float = 0.5,
) -> Rendered:
    """Write the video to ``path``.

    ``images`` are (sequence, uint8 [H, W, 3] RGB) of the source's frames in order; those that are not in the account
    are skipped, and what comes after its last is not read. ``pixels`` gives the mask of a frame that has one, uint8
    [h, w] class ids; ``palette`` is uint8 [256, 3]; ``pictures`` are the sequences that the page wants, and ``alpha``
    is the weight of the mask (0-1).
    """
    rows = {frame.sequence: n for n, frame in enumerate(account.frames)}
    canvas = _Canvas(account)
    counts = np.zeros(256, np.int64)
    kept = []
    with av.open(str(path), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=Fraction(account.window.rate).limit_denominator(1001))
        stream.width, stream.height = canvas.size
        stream.pix_fmt = 'yuv420p'
        stream.options = {'preset': 'veryfast', 'crf': '21'}
        for sequence, image in images:
            if sequence not in rows:
                continue
            row = rows[sequence]
            frame = account.frames[row]
            if frame.mask is not None:
                mask = pixels(frame)
                counts += np.bincount(mask.ravel(), minlength=256)
                image = masks.overlay(image, fit(mask, image.shape[:2]), palette, alpha)
            picture = canvas.draw(image, row)
            if sequence in pictures:
                kept.append(Picture(sequence, frame.source, caption(frame), _jpeg(picture, canvas.picture_size)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format='rgb24')))
            if row == len(account.frames) - 1:
                break
        container.mux(stream.encode(None))
    total = max(1, int(counts.sum()))
    return Rendered(tuple(kept), {int(n): counts[n] / total for n in np.flatnonzero(counts)})


def fit(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask, uint8 [h, w], at another size (H, W): each pixel takes the class at its own place."""
    if mask.shape == size:
        return mask
    rows = (np.arange(size[0]) * 2 + 1) * mask.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * mask.shape[1] // (2 * size[1])
    return mask[rows[:, None], columns]


def caption(frame: DueFrame) -> str:
    """What is known of a frame's mask, in one line."""
    text = f'{frame.due_s:.2f} s'
    if frame.mask is None:
        return f'{text} · no mask'
    if frame.provenance is None:
        return f'{text} · source unknown'
    p = frame.provenance
    text += f' · {p.source} · latency {p.latency_ms:.0f} ms'
    return text if p.remote_age_ms is None else f'{text} · remote features {p.remote_age_ms:.0f} ms old'


class _Canvas:
    """Lays out the frames of the video: the picture, and the strip below."""

    def __init__(self, account: Account) -> None:
        self._account = account
        height, width = account.size
        scale = min(max(1.0, _NARROWEST / width), _WIDEST / width)
        self.picture_size = _even(width * scale), _even(height * scale)
        self.size = self.picture_size[0], self.picture_size[1] + _STRIP
        self._font = ImageFont.truetype(findfont('DejaVu Sans'), 13)
        self._bold = ImageFont.truetype(findfont('DejaVu Sans:bold'), 12)
        self._line = self._line_of_time()

    def draw(self, image: np.ndarray, row: int) -> Image.Image:
        """The frame of the video for the account's frame number ``row``."""
        frame = self._account.frames[row]
        picture = Image.fromarray(np.ascontiguousarray(image))
        if picture.size != self.picture_size:
            picture = picture.resize(self.picture_size, Image.Resampling.BILINEAR)
        canvas = Image.new('RGB', self.size, _BACK)
        canvas.paste(picture, (0, 0))
        pen = ImageDraw.Draw(canvas)
        top, width = self.picture_size[1], self.size[0]
        middle = top + (_STRIP - _BAR) // 2
        colour = rgb(SOURCE_COLOURS[frame.source])
        name = 'NO MASK' if frame.mask is None else (frame.source or 'unknown').upper()
        pen.rounded_rectangle((6, middle - 9, 80, middle + 9), radius=4, fill=colour)
        pen.text((43, middle), name, fill=_BACK if sum(colour) > 380 else (255, 255, 255), font=self._bold, anchor='mm')
        self._say(pen, frame, middle)
        right, state = self._state(frame)
        pen.text((width - 8, middle), right, fill=_QUIET, font=self._font, anchor='rm')
        if state and width >= 560:
            pen.text((width - 70, middle), state, fill=_ALARM, font=self._bold, anchor='rm')
        line = self._line.copy()
        reached = round((row + 1) * width / len(self._account.frames))
        line[:, reached:] = line[:, reached:] // 4 + np.array(_AHEAD, np.uint8) // 2
        canvas.paste(Image.fromarray(line), (0, self.size[1] - _BAR))
        return canvas

    def _say(self, pen: ImageDraw.ImageDraw, frame: DueFrame, middle: int) -> None:
        p = frame.provenance
        if frame.mask is None or p is None:
            return
        pen.text((92, middle), f'latency {p.latency_ms:.0f} ms', fill=_TEXT, font=self._font, anchor='lm')
        age = 'no remote features' if p.remote_age_ms is None else f'remote {p.remote_age_ms:.0f} ms old'
        pen.text(
            (196, middle), age, fill=_TEXT if p.remote_age_ms is not None else _QUIET, font=self._font, anchor='lm'
        )

    def _state(self, frame: DueFrame) -> tuple[str, str]:
        """The time, and what has happened to the cloud."""
        passed = [event for event in self._account.events if event.t_s <= frame.due_s]
        gone = bool(passed) and passed[-1].name == 'cloud killed'
        return f'{frame.due_s:.2f} s', 'CLOUD DEAD' if gone else ''

    def _line_of_time(self) -> np.ndarray:
        """uint8 [_BAR, width, 3]: the source of every frame of the run from left to right."""
        frames = self._account.frames
        columns = np.arange(self.size[0]) * len(frames) // self.size[0]
        colours = np.array([rgb(SOURCE_COLOURS[frame.source]) for frame in frames], np.uint8)
        return np.repeat(colours[columns][None], _BAR, axis=0)


def _even(length: float) -> int:
    """The next even number of pixels: the video's chroma has half the resolution."""
    return max(2, 2 * round(length / 2 + 0.25))


def _jpeg(picture: Image.Image, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    picture.crop((0, 0, *size)).save(buffer, 'JPEG', quality=88)
    return buffer.getvalue()
