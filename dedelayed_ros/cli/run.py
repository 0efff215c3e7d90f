"""`dedelayed run`: any video to masks, without ROS."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dedelayed_ros.cli.options import add_fixed_bitrate, add_mode
from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    from dedelayed_ros.edge import EdgeResult
    from dedelayed_ros.frames import Frame, Source
    from dedelayed_ros.link import LinkStatus
    from dedelayed_ros.report import Account, Recording, RecordingWriter, Window
    from dedelayed_ros.robot import Robot

HELP = 'masks of any video, with or without a cloud'
_CONNECT_S = 3.0  # seconds to wait for a cloud before the first frame; without it the robot goes on alone
_SAMPLE_S = 0.5  # seconds between two counts of the link's bytes
_PROGRESS_S = 0.5  # seconds between two lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches of run."""
    add = parser.add_argument
    add('input', metavar='INPUT', help='video, folder of images, street:SEED or a camera (/dev/video0)')
    add('--out', type=Path, default=Path('out/run'), metavar='DIR', help='where everything goes (default: out/run)')
    add('--json', type=Path, metavar='FILE', help='copy summary.json to this file too')
    cloud = parser.add_mutually_exclusive_group()
    cloud.add_argument(
        '--cloud', metavar='ENDPOINT', help='a running `dedelayed cloud`, for instance tcp/10.0.0.5:7447'
    )
    cloud.add_argument('--no-cloud', action='store_true', help='the local model alone (the default)')
    add(
        '--rate',
        choices=('own', 'fast'),
        help="the source's own rate, or as fast as possible (default: own with a cloud)",
    )
    add('--seconds', type=float, metavar='S', help='stop after so many seconds of the source')
    add('--masks', choices=('png', 'video', 'none'), default='png', help='masks/*.png of class ids, masks.mkv, or none')
    add_mode(parser)
    add_fixed_bitrate(parser)
    add('--loop', action='store_true', help='begin again at the end; stop with --seconds or Ctrl-C')
    add('--record-only', action='store_true', help='write the recording and no report')


def run(args: argparse.Namespace) -> int:
    """Segment the source and report."""
    from dedelayed_ros.cli.clips import again, open_clip, plays_again
    from dedelayed_ros.cli.output import finish, prepare
    from dedelayed_ros.edge import EdgeSettings
    from dedelayed_ros.lasting import keep_what_is_there
    from dedelayed_ros.models import zoo
    from dedelayed_ros.offload.pipeline import OffloadSettings
    from dedelayed_ros.report import Account, Recording, RecordingWriter, machine, match, traffic_within
    from dedelayed_ros.robot import Robot, RobotSettings

    pace = _pace(args)
    facts = machine.describe()
    mode = args.mode if args.cloud else 'local'
    edge = EdgeSettings(mode='local' if mode == 'local' else 'fused', model=args.model)
    offload = None
    if mode in ('offload', 'auto'):
        offload = OffloadSettings(model=args.offload_model, uplink=args.uplink, keep_up=pace == 'own')
    robot_settings = RobotSettings(
        edge, args.cloud, adapt_bitrate=not args.fixed_bitrate, offload=offload, auto=mode == 'auto'
    )
    entry = zoo.entry(args.offload_model if mode == 'offload' else args.model)
    counters: list[dict[str, int]] = []
    with open_clip(args.input, loop=args.loop, pace=pace) as source:
        if not args.record_only:
            prepare(args.out)
        size = source.size
        with (
            Robot(robot_settings, size, source.rate, _Teller()) as robot,
            RecordingWriter(args.out / 'recording') as writer,
        ):
            keep_what_is_there()
            _wait_for_cloud(robot)
            writer.observer({'observer': 'dedelayed run'})
            window = _segment(source, robot, writer, counters, pace=pace, seconds=args.seconds)
            link = robot.link
    if window is None:
        raise InputError(f'{args.input} has no frames; expected at least one')
    if args.record_only:
        return 0
    recording = Recording(args.out / 'recording')
    account = Account(
        title='dedelayed run', input_name=Path(args.input).name, size=size, mode=mode, window=window,
        frames=match(window, recording), staleness_s=entry.staleness_s,
        traffic=traffic_within(window, counters) if link else (),
        notes=_notes(link, mode), machine=facts,
        latency_is='camera stamp to mask' if pace == 'own' else 'computing time of a frame',
        settings={
            'input': args.input, 'rate': pace, 'cloud': args.cloud or 'none', 'mode': mode, 'model': args.model,
            **({'offload_model': args.offload_model, 'uplink': args.uplink} if offload else {}),
        },
    )  # fmt: skip
    _write_masks(account, recording, args.out, args.masks)
    span = {'first': window.first_sequence, 'last': window.first_sequence + window.frames - 1}
    images = again(args.input, loop=args.loop, **span) if plays_again(args.input) else None
    finish(account, recording, args.out, images=images, labels=entry.labels, copy=args.json)
    return 0


def _pace(args: argparse.Namespace) -> Literal['own', 'fast']:
    """How fast to play, once the switches are known to make sense."""
    pace: Literal['own', 'fast'] = args.rate or ('own' if args.cloud else 'fast')
    if args.cloud and pace == 'fast':
        raise InputError(
            '--rate fast with --cloud: the cloud answers in real time, so its features would be of another moment of a '
            'source that runs faster. Use --rate own, or --no-cloud'
        )
    if args.mode in ('offload', 'auto') and not args.cloud:
        raise InputError(f'--mode {args.mode} shares the work with a cloud: say where it is with --cloud ENDPOINT')
    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f'--seconds is {args.seconds:g}; expected more than 0')
    if args.loop and args.seconds is None and not args.record_only:
        raise InputError('--loop never ends by itself; say how long with --seconds')
    return pace


def _segment(
    source: Source,
    robot: Robot,
    writer: RecordingWriter,
    counters: list[dict[str, int]],
    *,
    pace: Literal['own', 'fast'],
    seconds: float | None,
) -> Window | None:
    """Every frame to its mask, written down; returns what was played, None of an empty source.

    ``counters`` gets the link's bytes over time. Ctrl-C ends the source early and is no error.
    """
    from dedelayed_ros.offload.underway import Underway
    from dedelayed_ros.report import Window

    first = last = None
    shown_s = 0.0

    def write(frame: Frame, result: EdgeResult) -> None:
        nonlocal shown_s
        provenance = result.provenance
        if pace == 'own':
            provenance = replace(provenance, latency_ms=(time.time_ns() - frame.stamp_ns) / 1e6)
        arrival_ns = frame.stamp_ns + round(provenance.latency_ms * 1e6)
        writer.provenance(provenance)
        writer.mask(result.mask, stamp_ns=frame.stamp_ns, arrival_ns=arrival_ns, frame_id=frame.frame_id)
        if not counters or frame.stamp_ns - counters[-1]['t_ns'] >= _SAMPLE_S * 1e9:
            up, down = robot.traffic
            counters.append({'t_ns': frame.stamp_ns, 'bytes_up': up, 'bytes_down': down})
        if time.monotonic() - shown_s > _PROGRESS_S:
            shown_s = time.monotonic()
            _progress(f'{frame.sequence + 1} frames; {provenance.source}, {provenance.latency_ms:.0f} ms')

    try:
        with Underway() as underway:
            for frame in source:
                first = first or frame
                since_s = (frame.sequence - first.sequence) / source.rate
                if seconds is not None and since_s >= seconds:
                    break
                underway.put(partial(_finish, robot.take(frame), frame, write), alone=not robot.waits)
                last = frame
    except KeyboardInterrupt:
        _progress('stopped')
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if first is None or last is None:
        return None
    return Window(first.sequence, first.stamp_ns, source.rate, last.sequence - first.sequence + 1)


def _finish(finish: Callable[[], EdgeResult], frame: Frame, write: Callable[[Frame, EdgeResult], None]) -> None:
    write(frame, finish())


class _Teller:
    """Says once each time the cloud comes or goes, and why."""

    def __init__(self) -> None:
        self._said: bool | None = None

    def __call__(self, status: LinkStatus) -> None:
        if status.connected == self._said:
            return
        self._said = status.connected
        text = f'connected to {status.worker}' if status.connected else f'going on without the cloud: {status.reason}'
        print(text, file=sys.stderr, flush=True)


def _wait_for_cloud(robot: Robot) -> None:
    deadline_s = time.monotonic() + _CONNECT_S
    while (link := robot.link) is not None and not link.connected and time.monotonic() < deadline_s:
        time.sleep(0.02)


def _notes(link: LinkStatus | None, mode: str) -> tuple[str, ...]:
    if link is None or link.received:
        return ()
    if mode in ('offload', 'auto'):
        return (f'The cloud computed no frame: {link.reason or "the robot was expected to be faster each time"}.',)
    return (f'The cloud sent no features: {link.reason or "none arrived before the end"}.',)


def _write_masks(account: Account, recording: Recording, out: Path, kind: str) -> None:
    """The masks as class ids (255: unlabelled), by the frame's number: masks/000000.png or one lossless video."""
    if kind == 'none':
        return
    from dedelayed_ros.report.masks import write_pictures, write_video

    if kind == 'png':
        write_pictures(account, recording, out / 'masks')
    else:
        write_video(account, recording, out / 'masks.mkv')


def _progress(text: str) -> None:
    """One line that renews itself; silent where nobody looks."""
    if sys.stderr.isatty():
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)
