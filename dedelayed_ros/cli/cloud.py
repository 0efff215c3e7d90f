"""`dedelayed cloud`: serve remote features to robots until told to stop."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import threading
from pathlib import Path

from dedelayed_ros.cli.options import add_model

HELP = 'serve the remote model to robots'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        '--listen',
        action='append',
        metavar='ENDPOINT',
        help='where robots connect, as tcp/0.0.0.0:7447 (the default) or host:port; may be given several times',
    )
    parser.add_argument(
        '--connect', action='append', default=[], metavar='ENDPOINT', help='a Zenoh router to connect to'
    )
    parser.add_argument('--config', type=Path, metavar='FILE', help='a Zenoh configuration file (see config/zenoh)')
    add_model(parser)
    parser.add_argument(
        '--dtype', default='auto', choices=('auto', 'float32', 'bfloat16'), help='number format (default: auto)'
    )
    parser.add_argument(
        '--offload-model',
        default='street-conv',
        metavar='MODEL',
        help="the robots' own model, for frames that they offload; '' for none (default: street-conv)",
    )
    parser.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda'), help='where the model computes (default: auto)'
    )
    parser.add_argument(
        '--max-batch',
        type=int,
        default=0,
        metavar='N',
        help='streams whose waiting frames are computed together (default: 8 on a GPU, 1 on a processor)',
    )
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='of the model (default: torch decides)')
    parser.add_argument('--max-streams', type=int, default=8, metavar='N', help='cameras served at once (default: 8)')
    parser.add_argument('--name', default='', help='name of this server (default: host name and process number)')
    parser.add_argument(
        '--report-seconds', type=float, default=10.0, metavar='S', help='between status lines, 0 for none (default: 10)'
    )
    parser.add_argument(
        '--ready-file', type=Path, metavar='FILE', help='written when robots can connect, and removed at the end'
    )
    parser.add_argument('--verbose', action='store_true', help='log each hello and each ended stream')


def run(args: argparse.Namespace) -> int:
    """Runs until SIGTERM (exit 0) or Ctrl-C (exit 130)."""
    from dedelayed_ros.errors import InputError

    for option, least in (('max_streams', 1), ('threads', 0), ('max_batch', 0)):
        value = getattr(args, option)
        if value < least:
            raise InputError(f'--{option.replace("_", "-")} is {value}; expected {least} or more')
    # A restarted server has robots waiting: collecting garbage while modules load only costs time, for they stay.
    gc.disable()
    from dedelayed_ros.cloud import CloudServer, CloudSettings

    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format='%(message)s')
    stop = threading.Event()
    received: list[int] = []

    def told(number: int, frame: object) -> None:
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    listen = tuple(args.listen or (() if args.connect or args.config else CloudSettings.listen))
    settings = CloudSettings(
        listen, tuple(args.connect), args.config, args.model, args.dtype, args.offload_model, args.threads,
        args.max_streams, report_s=args.report_seconds, name=args.name, device=args.device, max_batch=args.max_batch,
    )  # fmt: skip
    try:
        with CloudServer(settings, report=lambda line: print(line, flush=True)) as server:
            gc.freeze()
            gc.enable()
            places = ', '.join((*listen, *args.connect)) or str(args.config)
            served = f'{args.model} at {places} as {server.name}, up to {args.max_streams} streams, on {server.place}'
            print(f'ready: {served}', flush=True)
            if args.ready_file is not None:
                args.ready_file.write_text(f'{places}\n')
            stop.wait()
    finally:
        gc.enable()
        if args.ready_file is not None:
            args.ready_file.unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 130 if received[:1] == [signal.SIGINT] else 0
