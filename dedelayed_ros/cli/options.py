"""Options that several commands have, and how their texts are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.zoo import DEFAULT


def add_model(parser: argparse.ArgumentParser, default: str = DEFAULT) -> None:
    """``--model``."""
    parser.add_argument('--model', default=default, help='entry of the zoo, or path of one (default: %(default)s)')


def add_mode(parser: argparse.ArgumentParser) -> None:
    """``--mode`` and what belongs to it: ``--model``, and ``--offload-model`` and ``--uplink``."""
    parser.add_argument(
        '--mode', choices=('fused', 'local', 'offload', 'auto'), default='fused',
        help='fused: with remote features; local: without; offload: one model on robot and cloud, each frame on one of '
        'them; auto: whatever is best for each frame (default: %(default)s)',
    )  # fmt: skip
    add_model(parser)
    parser.add_argument(
        '--offload-model', default='street-conv', metavar='MODEL',
        help="the model that robot and cloud both run in modes 'offload' and 'auto' (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--uplink', choices=('h264', 'lossless', 'bounded'), default='h264',
        help="how frames are offloaded: as the camera's H.264, or as what differs from what the cloud holds "
        '(default: %(default)s)',
    )  # fmt: skip


def add_fixed_bitrate(parser: argparse.ArgumentParser) -> None:
    """``--fixed-bitrate``."""
    parser.add_argument(
        '--fixed-bitrate', action='store_true', help='encode at the same rate however little the uplink carries'
    )


def add_seeds(parser: argparse.ArgumentParser, default: str) -> None:
    """``--seeds``, of simulated streets."""
    parser.add_argument('--seeds', default=default, metavar='A:B', help='streets A to B-1 (default: %(default)s)')


def add_footage(parser: argparse.ArgumentParser) -> None:
    """``--data``, where rendered streets are kept."""
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('~/.cache/dedelayed/footage').expanduser(),
        metavar='DIR',
        help='cache of rendered clips, up to several GB (default: %(default)s)',
    )


def add_size(parser: argparse.ArgumentParser) -> None:
    """``--size`` of the camera; :func:`parse_size` reads it."""
    parser.add_argument('--size', default='640x320', metavar='WxH', help="the camera's size (default: %(default)s)")


def parse_size(text: str) -> tuple[int, int]:
    """'WIDTHxHEIGHT' as (H, W).

    Raises:
        InputError: it is something else.
    """
    width, _, height = text.partition('x')
    if not (width.isdigit() and height.isdigit()):
        raise InputError(f'--size is {text!r}; expected WIDTHxHEIGHT in pixels, such as 640x320')
    return int(height), int(width)
