"""`dedelayed calibrate`: how much accuracy the sparse engine may give up, and where, for one model."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.cli.options import add_footage, add_model, add_seeds
from dedelayed_ros.cli.output import write_figures, write_plots

HELP = "find the sparse engine's thresholds and tolerances for a model, within an accuracy budget"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches."""
    add_model(parser)
    parser.add_argument(
        '--clip', metavar='FILE', help="calibrate on this video and the dense model's masks; default: labelled streets"
    )
    add_seeds(parser, '700000:700024')
    parser.add_argument('--clips', type=Path, metavar='DIR', help='folder of rendered clips, in place of --seeds')
    parser.add_argument('--count', type=int, default=24, metavar='N', help='how many of them (default: 24)')
    parser.add_argument(
        '--tile',
        type=int,
        default=32,
        metavar='PIXELS',
        help="side of a tile (default: 32); 0: thresholds and tolerances for every layer, the mode 'calibrated'",
    )
    parser.add_argument(
        '--margin',
        type=float,
        default=2.0,
        metavar='LOGITS',
        help='with tiles: what differs counts half where the first class leads by so much (default: 2); 0: fully '
        'everywhere',
    )
    parser.add_argument('--frames', type=int, default=24, metavar='N', help='frames of each clip (default: 24)')
    parser.add_argument(
        '--loss', type=float, default=0.03, metavar='SHARE', help='accuracy to give up, relative (default: 0.03)'
    )
    parser.add_argument(
        '--share',
        type=float,
        default=2 / 3,
        metavar='SHARE',
        help="with --tile 0: part of it for the input's threshold (default: 2/3)",
    )
    parser.add_argument(
        '--uplink',
        type=int,
        default=0,
        metavar='KBPS',
        help="calibrate on what an H.264 uplink of so many kbit/s delivers, for offloading (default: the camera's own "
        'pictures)',
    )
    add_footage(parser)
    parser.add_argument('--save', type=Path, metavar='FILE', help='write the calibration there, not beside the weights')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write every trial there')
    parser.add_argument('--out', type=Path, default=Path('out/calibrate'), metavar='DIR', help='folder of the plot')


def run(args: argparse.Namespace) -> int:
    """Search, print what was found, write calibration, figures and plot."""
    import torch

    from dedelayed_ros.eval.calibrate import CalibrateSettings, calibrate
    from dedelayed_ros.eval.delay_command import parse_seeds
    from dedelayed_ros.eval.engine_figures import calibration_figure
    from dedelayed_ros.reuse import calibration_path

    torch.set_num_threads(1)
    settings = CalibrateSettings(
        model=args.model,
        clip=args.clip,
        seeds=parse_seeds(args.seeds, training=True),
        frames=args.frames,
        loss=args.loss,
        share=args.share,
        cache=args.data,
        tile=args.tile,
        margin=args.margin,
        clips=args.clips,
        count=args.count,
        uplink_kbps=args.uplink,
    )
    calibration, found = calibrate(settings, lambda text: print(text, flush=True))
    print(
        f'\n{args.model}: mIoU {found["dense_miou"]:.4f} → {found["miou"]:.4f} ({-found["relative_loss"]:+.2%}), '
        f'compute ratio {found["exact_compute_ratio"]:.3f} → {found["compute_ratio"]:.3f}, input recompute ratio '
        f'{found["recompute_ratio"]:.3f}\n'
    )
    path = args.save or calibration_path(args.model)
    calibration.save(path)
    print(f'  calibration {path}')
    write_plots(args.out, {'calibration.png': calibration_figure(found)})
    write_figures(found, args.json)
    return 0
