"""`dedelayed import`: a network of one's own, exported by torch, as an entry that other commands and nodes take."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.cli.options import parse_size
from dedelayed_ros.errors import InputError

HELP = 'make a segmentation network of your own, exported by torch, a model of the zoo'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches."""
    parser.add_argument(
        'network', type=Path, metavar='FILE',
        help='what torch.export.save wrote: pictures [1, 3, H, W] in, logits [1, C, h, w] of any stride out. Only of '
        'people you trust: torch may run what it reads',
    )  # fmt: skip
    parser.add_argument(
        '--labels', default='cityscapes-19', metavar='FILE',
        help='its C classes, a line NAME or NAME RED GREEN BLUE each, in the order of their ids (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--name', help="of the entry (default: the file's)")
    parser.add_argument(
        '--mean', default='0,0,0', metavar='R,G,B', help='taken off RGB in 0–1 (default: %(default)s; of ImageNet '
        '0.485,0.456,0.406)',
    )  # fmt: skip
    parser.add_argument(
        '--std', default='1,1,1', metavar='R,G,B', help='what that is divided by (default: %(default)s; of ImageNet '
        '0.229,0.224,0.225)',
    )  # fmt: skip
    parser.add_argument('--size', metavar='WxH', help='of its input, for a network that was exported for any size')
    parser.add_argument('--licence', default='as the network came with', help='of its weights, for the entry')
    parser.add_argument(
        '--out', type=Path, default=Path('models'), metavar='DIR', help='where the entry goes (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Write the entry and say how it will run."""
    import torch

    from dedelayed_ros import sparse
    from dedelayed_ros.models import CITYSCAPES, zoo
    from dedelayed_ros.models.labels import Labels
    from dedelayed_ros.models.own import adopt

    labels = CITYSCAPES if args.labels == 'cityscapes-19' else Labels.read(_text(Path(args.labels)))
    path = adopt(
        args.network,
        args.name or args.network.stem,
        labels,
        args.out,
        size=None if args.size is None else parse_size(args.size),
        mean=_three(args.mean, '--mean'),
        std=_three(args.std, '--std'),
        licence=args.licence,
    )
    own = zoo.entry(str(path)).own
    assert own is not None
    h, w = own.size
    print(f'  entry       {path}')
    print(f'  network     {len(labels)} classes, pictures of {w}x{h}')
    try:
        engine = sparse.compile(zoo.load_local(str(path)), (torch.zeros(1, 3, h, w, dtype=torch.uint8),))
    except InputError as error:
        print(f'  engine      cannot run it, so that it is neither reused nor offloaded: {error}')
        return 0
    if engine.backend == 'reference':
        print(f'  engine      none that is fast, so that nothing is reused: {engine.backend_reason}')
        return 0
    print(f'  engine      {engine.backend}')
    print(f'  next        dedelayed run VIDEO --mode local --model {path} --out DIR')
    print(f'              dedelayed calibrate --model {path} --clip VIDEO')
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'cannot read the labels {path} ({error}); expected a text, a line for each class') from error


def _three(text: str, option: str) -> tuple[float, ...]:
    try:
        red, green, blue = (float(part) for part in text.split(','))
    except ValueError as error:
        raise InputError(f'{option} is {text!r}; expected three numbers, such as 0.485,0.456,0.406') from error
    return red, green, blue
