"""`dedelayed eval`: what the models and the engine are worth, each a table, a plot and a file of figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.cli.options import add_footage, add_model, add_seeds
from dedelayed_ros.cli.output import write_figures, write_plots, write_table

HELP = 'measure: accuracy over the delay of the cloud, the sparse engine, latency of every way to share the work'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command an evaluation."""
    parsers = parser.add_subparsers(metavar='WHAT', dest='what', required=True)
    delay = parsers.add_parser('delay', help='mIoU of every method over the delay of the cloud, on simulated streets')
    add_model(delay)
    add_seeds(delay, '800000:800016')
    delay.add_argument('--frames', type=int, default=52, metavar='N', help='frames of each, at 30 Hz (default: 52)')
    delay.add_argument(
        '--own', type=Path, metavar='DIR', help='measure on the clips there (`dedelayed footage`), not on streets'
    )
    delay.add_argument(
        '--uplink', default='h264:4000', metavar='HOW', help="'raw' or 'h264:KBPS' (default: %(default)s)"
    )
    delay.add_argument(
        '--jitter',
        metavar='MEAN,DEVIATION,LOSS',
        help="also delays drawn log-normally (ms, ms, share lost), such as '120,60,0.05'",
    )
    delay.add_argument('--json', type=Path, metavar='FILE', help='write the figures there')
    delay.add_argument('--out', type=Path, default=Path('out/eval'), metavar='DIR', help='folder of plot and table')
    add_footage(delay)
    delay.add_argument(
        '--workers', type=int, default=2, metavar='N', help='processes that render (default: %(default)s)'
    )
    delay.add_argument(
        '--threads', type=int, default=2, metavar='N', help='threads that compute (default: %(default)s)'
    )
    delay.add_argument('--store', action='store_true', help="write the table into the model's entry too")
    engine = parsers.add_parser('engine', help='what the sparse engine computes and what that costs, in every mode')
    add_model(engine)
    add_seeds(engine, '800000:800008')
    engine.add_argument('--frames', type=int, default=52, metavar='N', help='frames of each street (default: 52)')
    engine.add_argument('--clip', metavar='FILE', help='also this video, whose truth is the mask of the dense model')
    engine.add_argument(
        '--full', action='store_true', help="run the model at the camera's size, not at its own fraction of it"
    )
    engine.add_argument('--calibration', type=Path, metavar='FILE', help="another calibration than the model's own")
    engine.add_argument('--json', type=Path, metavar='FILE', help='write the figures there')
    engine.add_argument('--out', type=Path, default=Path('out/eval'), metavar='DIR', help='folder of plot and table')
    add_footage(engine)
    _add_reuse(parsers.add_parser('reuse', help='latency of every way to share the work between robot and cloud'))


def _add_reuse(reuse: argparse.ArgumentParser) -> None:
    add_model(reuse, 'street-conv')
    add_seeds(reuse, '800000:800016')
    reuse.add_argument('--each', type=int, default=4, metavar='N', help='streets in each set (default: %(default)s)')
    reuse.add_argument('--frames', type=int, default=40, metavar='N', help='frames of each street (default: 40)')
    reuse.add_argument('--clip', action='append', default=[], metavar='FILE', help='also this video; may be repeated')
    reuse.add_argument('--clip-frames', type=int, default=60, metavar='N', help='frames judged of it (default: 60)')
    reuse.add_argument(
        '--traces', type=Path, metavar='CSV', help='bandwidth (tier, trace, second, mbps); default: made up'
    )
    reuse.add_argument('--rounds', type=int, default=24, metavar='N', help='traces of every cell (default: 24)')
    reuse.add_argument('--quick', action='store_true', help='two short clips a set, three traces: to see that it runs')
    reuse.add_argument('--json', type=Path, metavar='FILE', help='write the figures there')
    reuse.add_argument('--out', type=Path, default=Path('out/eval'), metavar='DIR', help='folder of plots and table')
    add_footage(reuse)
    reuse.add_argument(
        '--records', type=Path, metavar='DIR', help='keep what was computed there, and use what is there already'
    )


def run(args: argparse.Namespace) -> int:
    """Run one evaluation."""
    return {'delay': _delay, 'engine': _engine, 'reuse': _reuse}[args.what](args)


def _reuse(args: argparse.Namespace) -> int:
    from dataclasses import replace

    import torch

    from dedelayed_ros.eval.delay_command import parse_seeds
    from dedelayed_ros.eval.reuse_figures import details_figure, latency_figure
    from dedelayed_ros.eval.reuse_markdown import markdown
    from dedelayed_ros.eval.reuse_methods import ReuseSettings
    from dedelayed_ros.eval.reuse_table import reuse_table

    torch.set_num_threads(1)
    settings = ReuseSettings(
        model=args.model,
        seeds=parse_seeds(args.seeds),
        each=args.each,
        frames=args.frames,
        clips=tuple(args.clip),
        clip_frames=args.clip_frames,
        traces=args.traces,
        rounds=args.rounds,
        cache=args.data,
        records=args.records,
    )
    if args.quick:
        settings = replace(
            settings, each=1, frames=6, clip_frames=6, rounds=3, tuning_frames=3, profile_rounds=2, clients=(1, 3)
        )
    found = reuse_table(settings, lambda text: print(text, flush=True))
    text = markdown(found)
    print('\n' + text)
    write_plots(args.out, {'reuse_latency.png': latency_figure(found), 'reuse_details.png': details_figure(found)})
    write_table(args.out / 'reuse.md', text)
    write_figures(found, args.json)
    return 0


def _engine(args: argparse.Namespace) -> int:
    import torch

    from dedelayed_ros.eval.delay_command import parse_seeds
    from dedelayed_ros.eval.engine_figures import engine_figure
    from dedelayed_ros.eval.engine_table import EngineSettings, engine_table, markdown

    torch.set_num_threads(1)
    settings = EngineSettings(
        model=args.model,
        seeds=parse_seeds(args.seeds),
        frames=args.frames,
        clip=args.clip,
        full=args.full,
        calibration=args.calibration,
        cache=args.data,
    )
    found = engine_table(settings, lambda text: print(text, flush=True))
    text = markdown(found)
    print('\n' + text)
    write_plots(args.out, {'engine.png': engine_figure(found)})
    write_table(args.out / 'engine.md', text)
    write_figures(found, args.json)
    return 0


def _delay(args: argparse.Namespace) -> int:
    import torch

    from dedelayed_ros.eval.delay_command import DelayCommand, parse_seeds, parse_uplink
    from dedelayed_ros.eval.delay_figure import delay_figure
    from dedelayed_ros.eval.delay_table import markdown
    from dedelayed_ros.eval.jitter import parse_jitter

    torch.set_num_threads(args.threads)
    command = DelayCommand(
        model=args.model,
        seeds=parse_seeds(args.seeds),
        frames=args.frames,
        uplink_kbps=parse_uplink(args.uplink),
        jitter=None if args.jitter is None else parse_jitter(args.jitter),
        cache=args.data,
        workers=args.workers,
        own=args.own,
    )
    found, sheet = command.run(lambda text: print(text, flush=True))
    text = markdown(found)
    print('\n' + text)
    write_plots(args.out, {'delay.png': delay_figure(found)})
    write_table(args.out / 'delay.md', text)
    pictures = args.out / 'delay_masks.jpg'
    sheet.save(pictures, quality=88)
    print(f'  masks       {pictures}')
    write_figures(found, args.json)
    if args.store:
        print(f'  entry       {command.store(found)}')
    return 0
