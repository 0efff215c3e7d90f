"""`dedelayed relay`: a network of a stated delay, jitter and rate between a robot and a cloud on one machine."""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from pathlib import Path

HELP = 'put a delayed, limited network between two ports'
_STATS_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument('--listen', default='127.0.0.1:7448', metavar='HOST:PORT', help='default: 127.0.0.1:7448')
    parser.add_argument('--to', default='127.0.0.1:7447', metavar='HOST:PORT', help='default: 127.0.0.1:7447')
    parser.add_argument('--rtt-ms', type=float, default=100.0, metavar='R', help='round-trip time added (default: 100)')
    parser.add_argument('--rate-mbps', type=float, metavar='R', help='limit of each way in Mbit/s (default: none)')
    parser.add_argument('--jitter-ms', type=float, default=0.0, metavar='J', help='mean of the random extra round trip')
    parser.add_argument(
        '--trace',
        metavar='WHAT',
        help="bandwidth of the way up: 'low', 'medium' or 'high' (made up), or FILE:TIER[:NAME] of a CSV file with the "
        'columns tier, trace, second, mbps',
    )
    parser.add_argument('--seed', type=int, default=0, help='of jitter and trace (default: 0)')
    parser.add_argument('--stall-every', type=float, metavar='S', help='seconds between stalls')
    parser.add_argument('--stall-for', type=float, default=1.0, metavar='S', help='length of a stall (default: 1)')
    parser.add_argument(
        '--stats', type=Path, metavar='FILE', help='append a JSON line every half second: time and bytes each way'
    )


def run(args: argparse.Namespace) -> int:
    """Runs until SIGTERM (exit 0) or Ctrl-C (exit 130)."""
    from dedelayed_ros.sim.relay import Relay, RelaySettings
    from dedelayed_ros.sim.traces import open_trace

    stop = threading.Event()
    received: list[int] = []

    def told(number: int, frame: object) -> None:
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    trace = None if args.trace is None else open_trace(args.trace, args.seed)
    settings = RelaySettings(args.listen, args.to, args.rtt_ms, args.rate_mbps, args.jitter_ms, args.seed, trace)
    try:
        with Relay(settings) as relay:
            print(f'ready: {args.listen} to {args.to}, {args.rtt_ms:g} ms round trip', flush=True)
            stall_s = time.monotonic() + args.stall_every if args.stall_every else float('inf')
            while not stop.wait(_STATS_S):
                if args.stats is not None:
                    _append(args.stats, relay.bytes_up, relay.bytes_down)
                if time.monotonic() >= stall_s:
                    relay.stall(args.stall_for)
                    stall_s += args.stall_every
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 130 if received[:1] == [signal.SIGINT] else 0


def _append(path: Path, bytes_up: int, bytes_down: int) -> None:
    line = json.dumps({'t_ns': time.time_ns(), 'bytes_up': bytes_up, 'bytes_down': bytes_down})
    with path.open('a') as file:
        file.write(line + '\n')
