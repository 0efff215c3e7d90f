"""The system that the demo plays: a cloud behind a network, a robot, and somebody who watches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dedelayed_ros.cli.processes import Child, Processes
from dedelayed_ros.cli.ros import RosInstall, free_domain, free_port
from dedelayed_ros.errors import InputError
from dedelayed_ros.report import Event, Tail, TrafficSample, Window, traffic_within
from dedelayed_ros.report.recording import DIAGNOSTICS, OBSERVER, PROVENANCE

# What the robot needs comes first: on a machine that both share, a cloud that serves takes what is left.
CLOUD_NICENESS = 10
_START_S = 90.0  # seconds that any part may take to get ready, on a machine that is busy with other things
_FUSED_S = 20.0  # seconds to wait for the first answer of a cloud that is connected
_SETTLE_S = 1.0  # seconds between the first mask of the expected kind and the counted window


@dataclass(frozen=True)
class Plan:
    """What is to be played. Times in seconds of the counted window; ``rate`` of the source in frames a second;
    ``trace`` of the uplink's bandwidth, as `dedelayed relay` takes it, or None; ``rate_mbps``: limit of the network
    each way, or None; ``adapt_bitrate``: the camera sends no more than the uplink carries.
    """

    input: str
    rate: float
    seconds: float
    mode: str
    model: str
    rtt_ms: float
    out: Path
    kill_cloud_at: float | None = None
    restart_cloud_at: float | None = None
    trace: str | None = None
    offload_model: str = 'street-conv'
    uplink: str = 'h264'
    rate_mbps: float | None = None
    adapt_bitrate: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 86_400:
            raise InputError(f'--seconds is {self.seconds:g}; expected more than 0 and at most 86400')
        if not 0 <= self.rtt_ms <= 60_000:
            raise InputError(f'--rtt-ms is {self.rtt_ms:g}; expected 0 to 60000')
        if self.rate_mbps is not None and not 0 < self.rate_mbps <= 100_000:
            raise InputError(f'--rate-mbps is {self.rate_mbps:g}; expected more than 0 and at most 100000')
        if self.trace is not None:
            from dedelayed_ros.sim.traces import open_trace

            open_trace(self.trace)
        kill, restart = self.kill_cloud_at, self.restart_cloud_at
        if kill is None and restart is not None:
            raise InputError('--restart-cloud-at needs --kill-cloud-at: only a cloud that was killed can be restarted')
        if kill is not None and self.mode == 'local':
            raise InputError('--kill-cloud-at has no meaning with --mode local: there is no cloud')
        if kill is not None and not 0 < kill < self.seconds:
            raise InputError(f'--kill-cloud-at is {kill:g}; expected a moment of the {self.seconds:g} s of the window')
        if kill is not None and restart is not None and not kill < restart < self.seconds:
            raise InputError(
                f'--restart-cloud-at is {restart:g}; expected a moment after the kill at {kill:g} s '
                f'and before the end at {self.seconds:g} s'
            )

    @property
    def offloads(self) -> bool:
        """Whether frames may be computed in the cloud."""
        return self.mode in ('offload', 'auto')

    @property
    def recording(self) -> Path:
        """Folder of what the observer writes."""
        return self.out / 'recording'


class Robot(Protocol):
    """The robot's side: started as processes, observed through the recording that one of them writes."""

    def start(self, processes: Processes, plan: Plan, endpoint: str | None) -> None:
        """Start it; ``endpoint`` is where the cloud is, None without one."""

    @property
    def children(self) -> Mapping[str, Child]:
        """Its processes by name."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was told, for the report."""


@dataclass
class RosRobot:
    """Camera, perception and bridge as ROS nodes in processes of their own (or one, ``composed``), and the recorder."""

    install: RosInstall
    composed: bool = False
    domain: int = field(default_factory=free_domain)
    children: dict[str, Child] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def start(self, processes: Processes, plan: Plan, endpoint: str | None) -> None:
        """Start the recorder first, so that it hears the others come up."""
        env = self.install.environment(self.domain)
        env['OMP_NUM_THREADS'] = '1'
        self.settings['ROS_DOMAIN_ID'] = self.domain
        for name, parameters in self._nodes(plan, endpoint).items():
            command = [*self.install.command(name), '--ros-args']
            for key, value in parameters.items():
                command += ['-p', f'{key}:={value}']
            self.children[name] = processes.start(name, command, env=env)
            self.settings[name] = parameters

    def _nodes(self, plan: Plan, endpoint: str | None) -> dict[str, dict[str, Any]]:
        """Parameters of each node, by the name of its executable."""
        camera = {'input': plan.input, 'loop': 'true', 'adapt_bitrate': str(plan.adapt_bitrate).lower()}
        perception: dict[str, Any] = {'mode': plan.mode, 'model': plan.model, 'threads': 1}
        bridge = None
        if endpoint and plan.mode != 'offload':
            bridge = {'endpoint': endpoint, 'model': plan.model, 'mode': plan.mode}
        if endpoint and plan.offloads:
            perception |= {'endpoint': endpoint, 'offload_model': plan.offload_model, 'uplink': plan.uplink}
        nodes: dict[str, dict[str, Any]] = {'recorder': {'folder': str(plan.recording)}}
        if self.composed:
            nodes['edge'] = {**camera, **perception, **(bridge or {})}
        else:
            nodes |= {'camera': camera, 'perception': perception}
            if bridge:
                nodes['bridge'] = bridge
        return nodes


@dataclass
class CoreRobot:
    """The ROS-free core in one process: `dedelayed run`, which writes down its own masks."""

    children: dict[str, Child] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def start(self, processes: Processes, plan: Plan, endpoint: str | None) -> None:
        """Start it."""
        options = ['--rate', 'own', '--loop', '--record-only', '--mode', plan.mode, '--model', plan.model]
        if plan.offloads:
            options += ['--offload-model', plan.offload_model, '--uplink', plan.uplink]
        options += [] if plan.adapt_bitrate else ['--fixed-bitrate']
        options += ['--cloud', endpoint] if endpoint else ['--no-cloud']
        self.settings['run'] = {'input': plan.input, 'options': ' '.join(options)}
        command = _dedelayed('run', plan.input, '--out', str(plan.out), *options)
        self.children['run'] = processes.start('run', command, env=_quiet_environment())


@dataclass
class Cloud:
    """`dedelayed cloud` and the relay in front of it that makes it far away."""

    processes: Processes
    plan: Plan
    port: int = field(default_factory=free_port)
    relay_port: int = field(default_factory=free_port)
    child: Child | None = None
    _serving: bool = False

    @property
    def endpoint(self) -> str:
        """Where a robot finds it."""
        return f'tcp/127.0.0.1:{self.relay_port}'

    @property
    def counters(self) -> Path:
        """Where the relay writes how many bytes went through it."""
        return self.plan.out / 'recording' / 'network.jsonl'

    def start(self) -> None:
        """Start the server; :meth:`tend` it until it serves."""
        command = _dedelayed(
            'cloud', '--listen', f'tcp/127.0.0.1:{self.port}', '--model', self.plan.model, '--threads', '1',
            '--offload-model', self.plan.offload_model,
        )  # fmt: skip
        self.child = self.processes.start('cloud', command, env=_quiet_environment())
        self._serving = False

    def start_network(self) -> None:
        """Start the relay."""
        self.counters.parent.mkdir(parents=True, exist_ok=True)
        self.counters.unlink(missing_ok=True)
        relay = self.processes.start(
            'relay',
            _dedelayed(
                'relay', '--listen', f'127.0.0.1:{self.relay_port}', '--to', f'127.0.0.1:{self.port}',
                '--rtt-ms', f'{self.plan.rtt_ms:g}', '--stats', str(self.counters),
                *(() if self.plan.trace is None else ('--trace', self.plan.trace)),
                *(() if self.plan.rate_mbps is None else ('--rate-mbps', f'{self.plan.rate_mbps:g}')),
            ),
            env=_quiet_environment(),
        )  # fmt: skip
        self._wait_for('the relay', relay)

    def wait(self) -> None:
        """Wait until it serves."""
        assert self.child is not None
        self._wait_for('the cloud', self.child)
        self.tend()

    def tend(self) -> bool:
        """Lower its priority as soon as it serves; True when that happens."""
        if self.child is None or self._serving or not self.child.says('ready'):
            return False
        self._serving = True
        self.processes.lower_priority(self.child, CLOUD_NICENESS)
        return True

    def kill(self) -> None:
        """End it without a word."""
        assert self.child is not None
        self.processes.kill(self.child)

    def _wait_for(self, name: str, child: Child) -> None:
        what = f'{name} did not get ready'
        self.processes.wait_for(what, lambda: child.says('ready'), seconds=_START_S, who=[child])

    def traffic(self, window: Window) -> tuple[TrafficSample, ...]:
        """What went through the relay during the window."""
        return traffic_within(window, Tail(self.counters).read())


@dataclass(frozen=True)
class Played:
    """What was played: the counted window, what was done in it, the traffic, and remarks for who reads the figures.

    ``cpu_percent``: of one core, by process, for those that lived through the window.
    """

    window: Window
    events: tuple[Event, ...]
    traffic: tuple[TrafficSample, ...]
    notes: tuple[str, ...]
    cpu_percent: dict[str, float]


def play(plan: Plan, robot: Robot, processes: Processes, *, say: Callable[[str], None]) -> Played:
    """Start everything, wait until it works, then play the counted window and what is to happen in it.

    Raises:
        ProcessError: a process did not get ready or ended; the message has the end of its log.
    """
    started = time.monotonic()
    cloud = None
    if plan.mode != 'local':
        cloud = Cloud(processes, plan)
        cloud.start()
        cloud.start_network()
    robot.start(processes, plan, cloud.endpoint if cloud else None)
    if cloud:
        cloud.wait()
    notes: list[str] = []
    last = _wait_for_masks(plan, robot, processes, notes)
    say(f'ready after {time.monotonic() - started:.0f} s; counting {plan.seconds:g} s from now on')
    window = Window.after(
        time.time_ns() + int(_SETTLE_S * 1e9), seconds=plan.seconds, rate=plan.rate,
        sequence=last['sequence'], stamp_ns=last['stamp_ns'],
    )  # fmt: skip
    processes.sleep_until(window.start_ns)
    before = processes.cpu_seconds()
    events = _act(plan, cloud, window, processes, say)
    after = processes.cpu_seconds()
    cpu = {
        name: round(100 * (after[name][1] - used) / window.seconds, 1)
        for name, (pid, used) in before.items()
        if name in after and after[name][0] == pid
    }
    # What was taken in the window may still be on its way, and so may the network's last count.
    processes.sleep_until(window.end_ns + 1_000_000_000)
    return Played(window, events, cloud.traffic(window) if cloud else (), tuple(notes), cpu)


def _wait_for_masks(plan: Plan, robot: Robot, processes: Processes, notes: list[str]) -> dict[str, Any]:
    """Wait for the observer, the first mask, the connection and the first mask that the cloud had a part in, or where
    frames are offloaded could have had; return the newest provenance.
    """
    children = robot.children
    observer = children.get('recorder') or children['run']
    listening = plan.recording / OBSERVER
    processes.wait_for('the observer did not begin to listen', listening.exists, seconds=_START_S, who=[observer])

    tail = Tail(plan.recording / PROVENANCE)
    newest: dict[str, Any] = {}
    used = False

    def mask_came() -> bool:
        nonlocal used
        for line in tail.read():
            newest.update(line)
            used = used or line['source'] in ('fused', 'cloud') or _could_offload(line)
        return bool(newest)

    processes.wait_for('no mask arrived at the observer', mask_came, seconds=_START_S, who=children.values())
    if plan.mode != 'local':
        deadline = time.monotonic() + _FUSED_S
        while mask_came() and not used and time.monotonic() < deadline:
            processes.check()
            time.sleep(0.05)
        if not used:
            reason = _bridge_says(plan) or 'see logs/'
            notes.append(f'No mask used the cloud in the {_FUSED_S:g} s before the counted window: {reason}.')
    mask_came()
    return newest


def _could_offload(line: dict[str, Any]) -> bool:
    """Whether the dispatcher had a choice of ends: the cloud shares this machine, and may never be the faster one."""
    return bool(line['choice']) and (line['inputs'].get('uplink_kbps') or 0) > 0 and line['inputs']['connected'] == 1


def _bridge_says(plan: Plan) -> str:
    """The last message of the bridge's diagnostics; in mode 'offload' there is none."""
    said = [line['message'] for line in Tail(plan.recording / DIAGNOSTICS).read() if 'bridge' in line['name']]
    return f'the bridge says: {said[-1]}' if said else ''


def _act(
    plan: Plan, cloud: Cloud | None, window: Window, processes: Processes, say: Callable[[str], None]
) -> tuple[Event, ...]:
    """Do what the plan says at its times. A time that is noted lies never after the deed."""
    deeds: list[tuple[float, str, Callable[[], None]]] = []
    if cloud and plan.kill_cloud_at is not None:
        deeds.append((plan.kill_cloud_at, 'cloud killed', cloud.kill))
    if cloud and plan.restart_cloud_at is not None:
        deeds.append((plan.restart_cloud_at, 'cloud restarted', cloud.start))
    events = []

    def happens(name: str) -> None:
        events.append(Event(name, window.seconds_at(time.time_ns())))
        say(f'{events[-1].t_s:6.2f} s  {name}')

    def tend() -> None:
        if cloud and cloud.tend():
            happens('cloud ready')

    for at_s, name, deed in deeds:
        processes.sleep_until(window.start_ns + round(at_s * 1e9), tend)
        happens(name)
        deed()
    processes.sleep_until(window.end_ns, tend)
    return tuple(events)


def _dedelayed(*words: str) -> list[str]:
    return [sys.executable, '-m', 'dedelayed_ros.cli', *words]


def _quiet_environment() -> dict[str, str]:
    """One thread a process: on a robot's few cores, more of them only get in each other's way."""
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
