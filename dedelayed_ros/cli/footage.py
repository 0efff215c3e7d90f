"""`dedelayed footage`: a video and the labels of its frames as clips that `dedelayed train --own` learns from."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.cli.options import add_model

HELP = 'make a video and the labels of its frames footage to train on'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches."""
    parser.add_argument('video', help='a video file, or a folder of images')
    parser.add_argument(
        'labels', type=Path,
        help='folder of PNGs whose pixels are class ids (255: unlabelled), named by the number of their frame from 0 '
        'on; frames without one are unlabelled',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='where the clips go: OWN/train or OWN/validation'
    )
    add_model(parser)
    parser.add_argument('--frames', type=int, default=24, metavar='N', help='of a clip (default: %(default)s)')
    parser.add_argument(
        '--uplink', type=int, default=4000, metavar='KBPS', help="bit rate of the robot's H.264 (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the clips."""
    from dedelayed_ros.models import zoo
    from dedelayed_ros.train.own import import_footage

    classes = zoo.entry(args.model).labels
    import_footage(args.video, args.labels, args.out, classes, frames=args.frames, bitrate_kbps=args.uplink)
    return 0
