"""`dedelayed train`: from nothing to an entry of the zoo, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.cli.options import add_footage
from dedelayed_ros.models.zoo import DEFAULT

HELP = 'train the street models, or a pair for footage of your own, stage by stage or all stages in order'

_STAGES = ('all', 'footage', 'local', 'remote', 'gate', 'joint', 'codec', 'conv', 'alone', 'export')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument('stage', choices=_STAGES, help='which stage to run; each goes on where it was stopped')
    parser.add_argument('--recipe', default=DEFAULT, help='what to train (default: %(default)s)')
    parser.add_argument(
        '--own', type=Path, metavar='DIR',
        help='train on the clips in DIR/train and judge by DIR/validation (`dedelayed footage` makes them), not by a '
        'recipe',
    )  # fmt: skip
    parser.add_argument('--base', default=DEFAULT, help='with --own: the pair to go on from (default: %(default)s)')
    parser.add_argument('--name', default='own', help='with --own: of the new entry (default: %(default)s)')
    add_footage(parser)
    parser.add_argument(
        '--runs',
        type=Path,
        default=Path('~/.cache/dedelayed/runs').expanduser(),
        metavar='DIR',
        help='checkpoints, curves and results (default: %(default)s)',
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='where export writes the entry (default: RUNS/RECIPE)')
    parser.add_argument(
        '--workers', type=int, default=2, metavar='N', help='processes that render (default: %(default)s)'
    )
    parser.add_argument('--threads', type=int, default=2, metavar='N', help='threads that train (default: %(default)s)')
    parser.add_argument(
        '--no-gate', action='store_true', help='do the joint stage even if the remote model is too weak'
    )
    parser.add_argument(
        '--single', action='store_true', help='export the single-frame models, before the joint stage was run'
    )


def run(args: argparse.Namespace) -> int:
    """Run one stage, or all."""
    import torch

    from dedelayed_ros.train.config import recipe
    from dedelayed_ros.train.own import own_recipe
    from dedelayed_ros.train.stages import Workshop

    torch.set_num_threads(args.threads)
    config = recipe(args.recipe) if args.own is None else own_recipe(args.name, args.own, args.base)
    shop = Workshop(config, args.data, args.runs / config.name, lambda text: print(text, flush=True))
    optional = {'codec': config.codec, 'conv': config.conv}
    every = tuple(name for name in _STAGES[1:] if name not in optional or optional[name] is not None)
    wanted = every if args.stage == 'all' else (args.stage,)
    if 'footage' in wanted:
        shop.footage(args.workers)
    if 'local' in wanted:
        shop.local()
    if 'remote' in wanted:
        shop.remote()
    if 'gate' in wanted or 'joint' in wanted:
        _gate(shop, args.no_gate)
    if 'joint' in wanted:
        shop.joint()
    if 'codec' in wanted:
        shop.codec()
    if 'alone' in wanted:
        shop.alone()
        shop.scores()
    if 'conv' in wanted:
        shop.conv()
    if 'export' in wanted:
        out = args.out or shop.runs
        print(shop.export('single' if args.single else 'joint', out))
        if shop.has('conv'):
            print(shop.export_conv(out))
    return 0


def _gate(shop: object, ignore: bool) -> None:
    from dedelayed_ros.errors import InputError

    try:
        shop.gate()  # type: ignore[attr-defined]
    except InputError as error:
        if not ignore:
            raise
        print(f'going on nevertheless: {error}', flush=True)
