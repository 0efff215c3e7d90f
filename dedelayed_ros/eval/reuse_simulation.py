"""The second stage of the reuse tables: recorded frames over a link, two kinds of machine and a dispatcher, in virtual
time.

A client takes the next frame of its clip when the result of the last one is there, at most 30 a second. Everything that
a frame passes is first in, first out: the uplink that all clients share, the server, the downlink.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dedelayed_ros.dispatch import LatencyProfile, Situation, decide
from dedelayed_ros.eval.reuse_record import ClipRecord, Expected
from dedelayed_ros.link import BandwidthEstimator
from dedelayed_ros.sim.network import Link, Server
from dedelayed_ros.sim.traces import BandwidthTrace

CLOUD_DENSE_MS = 27.6
EDGE_FACTOR = 446.8 / 27.6
PROPAGATION_MS = 20.0
HEADER_BYTES = 64
FRAME_S = 1 / 30
EDGE_WATTS = 6.86 / 0.4468
"""Power of the robot's board while it computes: 6.86 J in 446.8 ms (FluxShard, Table I)."""
WAIT_WATTS = 4.6
"""Power while it sends and waits: 4.43 J in 955 ms of offloading (section V-B)."""


@dataclass(frozen=True)
class Machines:
    """Both ends. ``curve``: time of a sparse pass over its compute ratio, in units of a dense pass."""

    curve: LatencyProfile
    cloud_dense_ms: float = CLOUD_DENSE_MS
    edge_factor: float = EDGE_FACTOR

    def cloud_ms(self, method: Method, compute: float) -> float:
        """Time in the cloud of a frame with a compute ratio, by a method."""
        return self.cloud_dense_ms * (1.0 if method.dense else self.curve(compute) + method.front)

    def edge_ms(self, method: Method, compute: float) -> float:
        """The same on the robot."""
        return self.edge_factor * self.cloud_ms(method, compute)


@dataclass(frozen=True)
class Method:
    """How the frames of a record are handled.

    dispatched: the dispatcher chooses; else all frames go to ``always``. ``dense``: whatever is reused, the time of a
    dense pass is taken. ``profile``: expected compute ratio over the recompute ratio (0–1 both), from other footage.
    front: what the method's own motion and comparing take beyond the curve, in units of a dense pass.
    coding_ms: on the robot, for each frame. ``epsilon_ms`` toward the cloud. ``stall_limit_ms``: how long an answer may
    be overdue before the robot computes the frame itself as well.
    """

    name: str
    dispatched: bool = True
    always: str = 'cloud'
    dense: bool = False
    profile: LatencyProfile | None = None
    front: float = 0.0
    coding_ms: float = 0.0
    epsilon_ms: float = 2.0
    stall_limit_ms: float = 200.0


@dataclass
class Frames:
    """What became of every frame of a simulation, one entry each; times in ms."""

    latency: list[float] = field(default_factory=list)
    cloud: list[bool] = field(default_factory=list)
    tx: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    parts: list[tuple[float, float, float, float]] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    counts: np.ndarray | int = 0

    def add(
        self, latency_ms: float, cloud: bool, tx: float, expected: Expected, compute: float, parts: Sequence[float],
        edge_ms: float,
    ) -> None:  # fmt: skip
        """``parts``: coding, waiting and transmission, propagation, computing (the server's queue with it)."""
        self.latency.append(latency_ms)
        self.cloud.append(cloud)
        self.tx.append(tx)
        self.compute.append(compute)
        self.parts.append((parts[0], parts[1], parts[2], parts[3]))
        self.energy.append((edge_ms * EDGE_WATTS + max(latency_ms - edge_ms, 0.0) * WAIT_WATTS) / 1e3)
        self.counts = self.counts + expected.counts


def _estimator() -> BandwidthEstimator:
    return BandwidthEstimator(half_life_s=1.0, min_bytes=100.0, most_bytes=8000.0, probe_after_s=0.25)


@dataclass
class _Client:
    """One robot: where it is in its clips, when either end last computed, and what it has learned."""

    number: int
    clip: int
    frame: int = 0
    edge_last: int = 0
    cloud_last: int = 0
    estimator: BandwidthEstimator = field(default_factory=_estimator)
    edge: LatencyProfile | None = None
    cloud: LatencyProfile | None = None
    queue_ms: float = 0.0
    down_bytes: float = 1000.0
    overdue_s: float = -math.inf  # when an answer that was given up arrives
    learned: list[tuple[float, int, float]] = field(default_factory=list)  # (known at, bytes, seconds)


class Simulation:
    """``clients`` play all ``clips`` once each, beginning with different ones, over one link; see ``run``."""

    def __init__(
        self,
        method: Method,
        clips: Sequence[ClipRecord],
        trace: BandwidthTrace,
        machines: Machines,
        *,
        clients: int = 1,
        start_s: float = 0.0,
    ) -> None:
        self._method = method
        self._clips = clips
        self._machines = machines
        self._up = Link(trace, propagation_ms=PROPAGATION_MS, start_s=start_s)
        self._down = Link(trace, propagation_ms=PROPAGATION_MS, start_s=start_s)
        self._server = Server()
        self._clients = [_Client(number, number % len(clips)) for number in range(clients)]
        self._left = [len(clips)] * clients
        for client in self._clients:
            client.edge, client.cloud = self._profile(machines.edge_ms), self._profile(machines.cloud_ms)

    def run(self) -> Frames:
        """Play everything; what became of the frames, first ones left out."""
        frames = Frames()
        events = [(client.number * FRAME_S / len(self._clients), client.number) for client in self._clients]
        heapq.heapify(events)
        while events:
            now_s, number = heapq.heappop(events)
            client = self._clients[number]
            next_s = self._first(client, now_s) if client.frame == 0 else self._frame(client, now_s, frames)
            client.frame += 1
            if client.frame == self._clips[client.clip].length:
                client.frame, client.clip = 0, (client.clip + 1) % len(self._clips)
                self._left[number] -= 1
            if self._left[number]:
                heapq.heappush(events, (max(now_s + FRAME_S, next_s), number))
        return frames

    def _profile(self, ms: Callable[[Method, float], float]) -> LatencyProfile:
        expected = self._method.profile or LatencyProfile(np.array([0.0, 1.0]), np.ones(2))
        return LatencyProfile(expected.ratios, np.array([ms(self._method, compute) for compute in expected.ms]))

    def _first(self, client: _Client, now_s: float) -> float:
        """Both ends get the first frame whole; it is not counted."""
        record = self._clips[client.clip]
        transfer = self._up.send(record.whole, now_s + self._method.coding_ms / 1e3, client.number)
        client.learned.append((transfer.arrived_s, record.whole, transfer.end_s - transfer.sent_s))
        done_s = self._server.run(transfer.arrived_s, self._machines.cloud_dense_ms)
        client.edge_last = client.cloud_last = 0
        return self._down.send(round(client.down_bytes), done_s, client.number).arrived_s

    def _frame(self, client: _Client, now_s: float, frames: Frames) -> float:
        method, record, n = self._method, self._clips[client.clip], client.frame
        for_edge, for_cloud = record.at(n, n - client.edge_last), record.at(n, n - client.cloud_last)
        if for_cloud.reused:
            # Nothing is sent and nothing computed: the output is that of the frame before.
            frames.add(method.coding_ms, False, 0.0, for_cloud, 0.0, (method.coding_ms, 0, 0, 0), 0.0)
            return now_s + method.coding_ms / 1e3
        for known_s, size, seconds in [item for item in client.learned if item[0] <= now_s]:
            client.estimator.observe(size, seconds, known_s)
        client.learned = [item for item in client.learned if item[0] > now_s]
        send_s = now_s + method.coding_ms / 1e3
        size = round(for_cloud.up) + HEADER_BYTES
        expected_ms, choice = math.inf, method.always
        if method.dispatched:
            decision = decide(self._situation(client, now_s, size, for_edge, for_cloud))
            choice = decision.choice
            expected_ms = decision.estimate('cloud').latency_ms
            if choice == 'edge' and client.estimator.probe_due(now_s) and client.overdue_s <= now_s:
                self._probe(client, send_s)
        if choice == 'edge':
            return self._on_edge(client, now_s, for_edge, frames)
        return self._in_cloud(client, now_s, size, expected_ms, for_edge, for_cloud, frames)

    def _situation(
        self, client: _Client, now_s: float, size: int, for_edge: Expected, for_cloud: Expected
    ) -> Situation:
        assert client.edge is not None and client.cloud is not None
        bandwidth = client.estimator.predict(now_s)
        return Situation(
            edge_ms=client.edge(for_edge.recompute),
            cloud_ms=client.cloud(for_cloud.recompute),
            edge_ratio=for_edge.recompute,
            cloud_ratio=for_cloud.recompute,
            bytes_up=size,
            bytes_down=client.down_bytes,
            uplink_kbps=bandwidth,
            downlink_kbps=bandwidth,
            propagation_ms=PROPAGATION_MS,
            queue_ms=client.queue_ms,
            stalled_ms=math.inf if client.overdue_s > now_s else 0.0,
            stall_limit_ms=self._method.stall_limit_ms,
            epsilon_ms=self._method.epsilon_ms,
        )

    def _probe(self, client: _Client, at_s: float) -> None:
        size = client.estimator.probe_bytes
        transfer = self._up.send(size, at_s, client.number)
        client.estimator.probing(at_s)
        client.learned.append((transfer.arrived_s + PROPAGATION_MS / 1e3, size, transfer.end_s - at_s))

    def _on_edge(self, client: _Client, now_s: float, expected: Expected, frames: Frames) -> float:
        method = self._method
        took_ms = self._machines.edge_ms(method, expected.compute)
        latency_ms = method.coding_ms + took_ms
        compute = 1.0 if method.dense else expected.compute
        frames.add(latency_ms, False, 0.0, expected, compute, (method.coding_ms, 0, 0, took_ms), took_ms)
        assert client.edge is not None
        client.edge = client.edge.refined(expected.recompute, took_ms)
        client.edge_last = client.frame
        return now_s + latency_ms / 1e3

    def _in_cloud(
        self,
        client: _Client,
        now_s: float,
        size: int,
        expected_ms: float,
        for_edge: Expected,
        for_cloud: Expected,
        frames: Frames,
    ) -> float:
        method, record = self._method, self._clips[client.clip]
        sent = self._up.send(size, now_s + method.coding_ms / 1e3, client.number)
        took_ms = self._machines.cloud_ms(method, for_cloud.compute)
        client.queue_ms = self._server.queue_ms(sent.arrived_s)
        done_s = self._server.run(sent.arrived_s, took_ms)
        client.down_bytes = for_cloud.down
        back = self._down.send(round(for_cloud.down) + HEADER_BYTES, done_s, client.number)
        client.learned.append((back.arrived_s, size, max(sent.end_s - sent.sent_s, 1e-6)))
        client.cloud_last = client.frame
        assert client.cloud is not None
        client.cloud = client.cloud.refined(for_cloud.recompute, took_ms)
        compute = 1.0 if method.dense else for_cloud.compute
        given_up_s = now_s + (expected_ms + method.coding_ms + method.stall_limit_ms) / 1e3
        if method.dispatched and back.arrived_s > given_up_s:
            edge_ms = self._machines.edge_ms(method, for_edge.compute)
            if given_up_s + edge_ms / 1e3 < back.arrived_s:
                client.overdue_s = back.arrived_s
                client.edge_last = client.frame
                done_s = given_up_s + edge_ms / 1e3
                waited_ms = (given_up_s - now_s) * 1e3 - method.coding_ms
                latency_ms = (done_s - now_s) * 1e3
                both = compute + (1.0 if method.dense else for_edge.compute)
                parts = (method.coding_ms, waited_ms, 0.0, edge_ms)
                frames.add(latency_ms, False, size / record.whole, for_edge, both, parts, edge_ms)
                return done_s
        latency_ms = (back.arrived_s - now_s) * 1e3
        carried_ms = (sent.end_s - sent.sent_s + back.end_s - back.sent_s) * 1e3
        parts = (method.coding_ms, carried_ms, 2 * PROPAGATION_MS, (done_s - sent.arrived_s) * 1e3)
        frames.add(latency_ms, True, size / record.whole, for_cloud, compute, parts, 0.0)
        return back.arrived_s


def simulate(
    method: Method,
    clips: Sequence[ClipRecord],
    traces: Sequence[BandwidthTrace],
    machines: Machines,
    *,
    clients: int = 1,
) -> Frames:
    """All clips over every trace, each begun at another second; one ``Frames`` of everything."""
    total = Frames()
    for number, trace in enumerate(traces):
        start_s = float(number * 37 % len(trace.mbps))
        found = Simulation(method, clips, trace, machines, clients=clients, start_s=start_s).run()
        for name in ('latency', 'cloud', 'tx', 'compute', 'parts', 'energy'):
            getattr(total, name).extend(getattr(found, name))
        total.counts = total.counts + found.counts
    return total


def with_factor(machines: Machines, factor: float) -> Machines:
    """The same cloud with an edge that takes ``factor`` times as long."""
    return replace(machines, edge_factor=factor)
