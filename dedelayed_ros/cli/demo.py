"""`dedelayed demo`: the whole system on a clip, with a cloud that is as far away as you say."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dedelayed_ros.cli.options import add_fixed_bitrate, add_mode
from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    from dedelayed_ros.cli.stage import Plan, Played, Robot

HELP = 'play a clip through the whole system, with the cloud behind a network, and report'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches of the demo."""
    add = parser.add_argument
    add(
        '--input', metavar='FILE', help="video, folder of images, street:SEED or /dev/video0 (default: the demo's clip)"
    )
    add('--seconds', type=float, default=20.0, help='length of the counted window (default: 20)')
    add('--out', type=Path, default=Path('out/demo'), metavar='DIR', help='where everything goes (default: out/demo)')
    add('--json', type=Path, metavar='FILE', help='copy summary.json to this file too')
    add('--rtt-ms', type=float, default=100.0, metavar='R', help='round-trip time to the cloud (default: 100)')
    add(
        '--trace',
        metavar='WHAT',
        help="the uplink's bandwidth, with stalls: 'low', 'medium', 'high', FILE:TIER[:NAME] (see dedelayed relay)",
    )
    add('--rate-mbps', type=float, metavar='R', help='limit of the network each way in Mbit/s (default: none)')
    add('--kill-cloud-at', type=float, metavar='S', help='kill the cloud at this second of the window')
    add('--restart-cloud-at', type=float, metavar='S', help='start it again at this second')
    add_mode(parser)
    add_fixed_bitrate(parser)
    add('--composed', action='store_true', help='camera, perception and bridge in one process')
    add('--no-ros', action='store_true', help='the core alone, without ROS nodes')


def run(args: argparse.Namespace) -> int:
    """Play, report, and say where the report is."""
    from dedelayed_ros.cli.clips import default_clip, open_clip
    from dedelayed_ros.cli.output import prepare
    from dedelayed_ros.cli.processes import Processes
    from dedelayed_ros.cli.stage import Plan, RosRobot, play
    from dedelayed_ros.report import machine

    uri = args.input or default_clip()
    with open_clip(uri) as source:
        rate, size = source.rate, source.size
    plan = Plan(
        input=_absolute(uri), rate=rate, seconds=args.seconds, mode=args.mode, model=args.model, rtt_ms=args.rtt_ms,
        out=args.out.absolute(), kill_cloud_at=args.kill_cloud_at, restart_cloud_at=args.restart_cloud_at,
        trace=args.trace, offload_model=args.offload_model, uplink=args.uplink, rate_mbps=args.rate_mbps,
        adapt_bitrate=not args.fixed_bitrate,
    )  # fmt: skip
    robot, note = choose_robot(no_ros=args.no_ros, composed=args.composed)
    facts = machine.describe()
    prepare(plan.out)
    _say(f'{Path(uri).name}: {size[1]}x{size[0]} at {rate:g} Hz; everything goes to {args.out}')
    if note:
        _say(note)
    if isinstance(robot, RosRobot):
        _say(f'to look on: ROS_DOMAIN_ID={robot.domain} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST rviz2')
    with _ending_on_signals(), Processes(plan.out / 'logs') as processes:
        played = play(plan, robot, processes, say=_say)
        pids = {name: child.pid for name, child in robot.children.items()}
    _say('rendering the report')
    _report(args, plan, played, robot, pids, size, facts, note)
    return 0


def choose_robot(*, no_ros: bool, composed: bool) -> tuple[Robot, str]:
    """The nodes where ROS is installed, otherwise the core; and a remark when it is not what was asked for."""
    from dedelayed_ros.cli.ros import find_ros
    from dedelayed_ros.cli.stage import CoreRobot, RosRobot

    if no_ros:
        if composed:
            raise InputError('--composed is about ROS nodes; leave out --no-ros')
        return CoreRobot(), ''
    install, reason = find_ros()
    if install is None:
        return CoreRobot(), f'Without ROS nodes, the core alone: {reason}.'
    return RosRobot(install, composed), ''


def _report(
    args: argparse.Namespace,
    plan: Plan,
    played: Played,
    robot: Robot,
    pids: dict[str, int],
    size: tuple[int, int],
    facts: dict[str, Any],
    note: str,
) -> None:
    from dedelayed_ros.cli.clips import again, plays_again
    from dedelayed_ros.cli.output import finish
    from dedelayed_ros.models import zoo
    from dedelayed_ros.report import Account, Recording, match

    recording = Recording(plan.recording)
    entry = zoo.entry(plan.offload_model if plan.mode == 'offload' else plan.model)
    ros = {**recording.observer, 'nodes': pids} if 'rmw' in recording.observer else None
    account = Account(
        title='dedelayed demo', input_name=Path(plan.input).name, size=size, mode=plan.mode, window=played.window,
        frames=match(played.window, recording), events=played.events, traffic=played.traffic,
        rtt_ms=None if plan.mode == 'local' else plan.rtt_ms, staleness_s=entry.staleness_s,
        notes=(*((note,) if note else ()), *played.notes), machine=facts, ros=ros, cpu_percent=played.cpu_percent,
        settings={
            'input': plan.input, 'mode': plan.mode, 'model': plan.model, 'trace': plan.trace or 'none',
            'rate_mbps': plan.rate_mbps or 'no limit', 'adapt_bitrate': plan.adapt_bitrate,
            **({'offload_model': plan.offload_model, 'uplink': plan.uplink} if plan.offloads else {}),
            **robot.settings,
        },
    )  # fmt: skip
    first, last = account.frames[0].sequence, account.frames[-1].sequence
    images = again(plan.input, first=first, last=last, loop=True) if plays_again(plan.input) else None
    finish(account, recording, plan.out, images=images, labels=entry.labels, copy=args.json)


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Being told to end (SIGTERM, SIGHUP) is like Ctrl-C: the children are ended first."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _absolute(uri: str) -> str:
    """A file's whole path, because a node need not share our working folder."""
    return str(Path(uri).absolute()) if Path(uri).exists() else uri


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
