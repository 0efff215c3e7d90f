"""`dedelayed profile`: the latency profile of a model on this machine, which the dispatcher decides by."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.cli.options import add_model, add_size, parse_size
from dedelayed_ros.cli.output import write_figures, write_plots

HELP = 'measure how long the sparse engine takes on this machine, over the share of the frame that is new'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches."""
    add_model(parser, 'street-conv')
    add_size(parser)
    parser.add_argument('--rounds', type=int, default=15, metavar='N', help='measurements of each (default: 15)')
    parser.add_argument('--threads', type=int, default=1, metavar='N', help='threads of the engine (default: 1)')
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda', 'reference'], default='auto', help='where it runs (default: auto)'
    )
    parser.add_argument(
        '--dtype', choices=['auto', 'float32', 'bfloat16'], default='auto', help='number format (default: auto)'
    )
    parser.add_argument(
        '--processor-time', action='store_true', help='not wall time: for one thread on a machine that is shared'
    )
    parser.add_argument('--save', type=Path, metavar='FILE', help='write the profile there (default: in --out)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there')
    parser.add_argument('--out', type=Path, default=Path('out/profile'), metavar='DIR', help='folder of the plot')


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write profile, figures and plot."""
    import torch

    from dedelayed_ros.eval.profile import ProfileSettings, markdown, profile
    from dedelayed_ros.eval.profile_figure import profile_figure

    torch.set_num_threads(1)
    settings = ProfileSettings(
        model=args.model,
        camera=parse_size(args.size),
        rounds=args.rounds,
        threads=args.threads,
        device=args.device,
        dtype=args.dtype,
        clock='processor' if args.processor_time else 'wall',
    )
    measured, found = profile(settings, lambda text: print(text, flush=True))
    print('\n' + markdown(found))
    path = args.save or args.out / f'{Path(args.model).stem}.json'
    measured.save(path)
    print(f'  profile     {path}')
    write_plots(args.out, {f'{Path(args.model).stem}.png': profile_figure(found)})
    write_figures(found, args.json)
    return 0
