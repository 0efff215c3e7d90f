"""`dedelayed street`: clips of the simulated street with exact labels, and contact sheets of many streets."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

HELP = 'write a clip of the simulated street with its labels, or a sheet of many streets'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add('--out', type=Path, required=True, metavar='DIR', help='folder for clip.mp4, overlay.mp4, labels/, sheet.png')
    add('--seed', type=int, metavar='S', help='which street: below 800000 train, 800000–899999 validation, above test')
    add('--frames', type=int, default=150, metavar='N', help='length of the clip (default: 150)')
    add('--size', default='640x320', metavar='WxH', help='pixels (default: 640x320)')
    add('--rate', type=float, default=30.0, metavar='R', help='frames a second (default: 30)')
    add('--sheet', metavar='A:B', help='write sheet.png: one frame and its labels of every seed from A to B − 1')


def run(args: argparse.Namespace) -> int:
    """Write what was asked for."""
    from dedelayed_ros.errors import InputError

    if args.seed is None and args.sheet is None:
        raise InputError('Nothing was asked for: give --seed S for a clip, --sheet A:B for a contact sheet, or both.')
    try:
        width, height = map(int, args.size.lower().split('x'))
    except ValueError:
        raise InputError(f'--size {args.size}: expected WIDTHxHEIGHT in pixels, such as 640x320.') from None
    if args.frames < 1:
        raise InputError(f'--frames {args.frames}: a clip has at least 1 frame.')
    size = height, width
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'--out {args.out} cannot be made: {error.strerror}; choose another folder.') from error
    if args.seed is not None:
        _clip(args.seed, args.out, size, args.rate, args.frames)
    if args.sheet is not None:
        _sheet(args.sheet, args.out / 'sheet.png', size, args.rate)
    return 0


def _clip(seed: int, out: Path, size: tuple[int, int], rate: float, frames: int) -> None:
    from dedelayed_ros.sim.street.classes import NAMES
    from dedelayed_ros.sim.street.export import write_clip

    progress = _progress(f'street {seed}', frames)
    shares = write_clip(seed, out, size=size, rate=rate, frames=frames, progress=progress)
    seen = sorted(((share, name) for share, name in zip(shares, NAMES, strict=False) if share), reverse=True)
    print(', '.join(f'{name} {share * 100:.1f} %' for share, name in seen))
    for name in ('clip.mp4', 'overlay.mp4', 'labels'):
        print(out / name)


def _progress(what: str, total: int) -> Callable[[int], None]:
    begun = time.monotonic()

    def show(done: int) -> None:
        if sys.stderr.isatty() or done == total or done % 100 == 0:
            end = '\n' if done == total or not sys.stderr.isatty() else '\r'
            speed = done / (time.monotonic() - begun)
            print(f'{what}: {done}/{total}, {speed:.1f} a second', end=end, file=sys.stderr)

    return show


def _sheet(words: str, file: Path, size: tuple[int, int], rate: float) -> None:
    from dedelayed_ros.errors import InputError
    from dedelayed_ros.sim.street.export import write_sheet

    try:
        first, last = map(int, words.split(':'))
    except ValueError:
        raise InputError(f'--sheet {words}: expected two seeds, such as 0:12.') from None
    if not 0 <= first < last <= first + 200:
        raise InputError(f'--sheet {words}: expected 1 to 200 seeds in rising order, such as 0:12.')
    progress = _progress('sheet', last - first)
    write_sheet(range(first, last), file, size=size, rate=rate, progress=progress)
    print(file)
