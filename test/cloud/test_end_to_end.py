"""Robot and cloud over real sessions: which frame an answer belongs to, through delay, loss, death and return."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import HELLO, SIZE, Camera, Collected, TinyModel, served, serves, wait_until

from dedelayed_ros.cloud import CloudServer, CloudSettings
from dedelayed_ros.errors import LinkError
from dedelayed_ros.link import CloudClient, LinkSettings
from dedelayed_ros.sim.relay import Relay, RelaySettings

pytestmark = pytest.mark.timeout(60)
TINY = Path(__file__).with_name('tiny.py')


class Robot:
    """A client with a camera, and what its callbacks were given."""

    def __init__(self, port: int, *, rate: float = 25.0, first: int = 0, hello=HELLO, **settings) -> None:
        self.got = Collected()
        self.rate = rate
        self.client = CloudClient(
            LinkSettings(endpoint=f'127.0.0.1:{port}', **settings),
            hello,
            self.got.on_features,
            self.got.states.append,
            lambda: self.camera.request_keyframe(),
        )
        self.camera = Camera(self.client.submit, rate, first)
        self.client.start()

    def new_camera(self) -> None:
        self.camera.close()
        self.camera = Camera(self.client.submit, self.rate)

    def wait_for_features(self, number: int = 1, deadline_s: float = 10.0) -> None:
        """Until so many more answers have come than there were."""
        target = len(self.got.features) + number
        wait_until(lambda: len(self.got.features) >= target, deadline_s, f'{number} answers; {self.client.status}')

    def check(self, begin: int = 0) -> None:
        """Every answer is the one to the frame that it names, and they came in order."""
        records = self.got.features[begin:]
        assert all(serves(r.sequence, r.features) for r in records)
        assert [r.stamp_ns for r in records] == [self.camera.stamps[r.sequence] for r in records]
        assert all(a.sequence < b.sequence for a, b in itertools.pairwise(records))

    def close(self) -> None:
        self.camera.close()
        self.client.stop()


@pytest.fixture
def robots():
    started: list[Robot] = []

    def start(port: int, **options) -> Robot:
        started.append(Robot(port, **options))
        return started[-1]

    yield start
    for robot in started:
        robot.close()


@pytest.fixture
def cloud(free_port):
    """Starts a server in this process; returns it and its port."""
    servers = []

    def start(port: int | None = None, make=lambda hello: TinyModel(), **settings):
        port = port or free_port()
        server = CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), **settings), served(make))
        server.start()
        servers.append(server)
        return server, port

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def process(process_env):
    """Starts a server process at a port and waits until it is ready."""
    running: list[subprocess.Popen] = []

    def start(port: int) -> subprocess.Popen:
        env = dict(process_env, PYTHONPATH=os.pathsep.join(sys.path))
        command = [sys.executable, str(TINY), f'127.0.0.1:{port}']
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True))
        assert running[-1].stdout.readline() == 'ready\n'
        return running[-1]

    yield start
    for child in running:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture
def relay(free_port):
    relays = []

    def start(to: int, **settings) -> tuple[Relay, int]:
        port = free_port()
        relays.append(Relay(RelaySettings(f'127.0.0.1:{port}', f'127.0.0.1:{to}', **settings)))
        relays[-1].start()
        return relays[-1], port

    yield start
    for running in relays:
        running.stop()


def test_answers_belong_to_their_frames_and_the_delay_is_foreseen(cloud, relay, robots):
    models = []

    def make(hello):
        models.append(TinyModel())
        return models[-1]

    _, port = cloud(make=make)
    robot = robots(relay(port, rtt_ms=100)[1])
    robot.wait_for_features(30)
    robot.check()
    records = robot.got.features[5:]
    status = robot.client.status
    assert min(r.round_trip_ms for r in records) >= 100
    assert status.round_trip_ms.p50 < 150
    # Told to the model: what the robot predicted, and mostly enough.
    assert [r.predicted_delay_ms for r in records[:10]] == pytest.approx(models[0].delays[5:15])
    assert sum(r.predicted_delay_ms >= r.round_trip_ms - 5 for r in records) >= 0.7 * len(records)
    assert status.connected
    assert status.reason == ''
    assert status.worker
    assert all(record.bytes_up > 0 and record.bytes_down > 0 for record in records)
    assert 0 < status.in_flight <= 12


def test_a_killed_cloud_is_noticed_and_its_successor_used_within_two_seconds(process, relay, robots, free_port):
    port = free_port()
    first = process(port)
    robot = robots(relay(port, rtt_ms=100)[1])
    robot.wait_for_features(5)

    first.send_signal(signal.SIGKILL)
    killed_s = time.monotonic()
    wait_until(lambda: not robot.client.status.connected, 1.5, 'noticing the death')
    assert time.monotonic() - killed_s < 1.5
    first.wait()
    before = len(robot.got.features)
    assert 'trying again' in robot.client.status.reason
    old_worker = robot.got.states[-1].worker

    process(port)
    ready_s = time.monotonic()
    wait_until(lambda: len(robot.got.features) > before, 2.0, f'answers again; {robot.client.status}')
    assert robot.got.times_s[before] - ready_s < 2.0
    robot.wait_for_features(5)
    robot.check()
    assert robot.client.status.worker != old_worker
    assert robot.client.status.reason == ''


def test_a_cloud_that_ends_is_noticed_without_any_picture(cloud, robots):
    server, port = cloud()
    robot = robots(port)
    robot.wait_for_features(2)
    robot.camera.close()
    wait_until(lambda: robot.client.status.in_flight == 0)
    server.stop()
    wait_until(lambda: not robot.client.status.connected, 2.0, 'noticing the end by its token')


def test_a_frozen_cloud_is_noticed_and_welcome_back(process, robots, free_port):
    port = free_port()
    child = process(port)
    robot = robots(port)
    robot.wait_for_features(5)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: not robot.client.status.connected, 2.0, 'noticing the silence')
    assert 'has not answered for 1 s' in robot.client.status.reason
    assert robot.client.status.in_flight <= 12
    frozen = len(robot.got.features)
    child.send_signal(signal.SIGCONT)
    wait_until(lambda: robot.client.status.connected, 5.0)
    robot.wait_for_features(5)
    robot.check()
    assert len(robot.got.features) > frozen


def test_a_cloud_that_is_not_there_yet_is_a_status_and_then_used(cloud, robots, free_port):
    port = free_port()
    robot = robots(port)
    wait_until(lambda: robot.got.states)
    assert not robot.client.status.connected
    assert f'tcp/127.0.0.1:{port} cannot be reached' in robot.client.status.reason
    wait_until(lambda: robot.client.status.dropped.get('not connected', 0) > 5)
    cloud(port)
    robot.wait_for_features(3)
    robot.check()


def test_a_camera_that_starts_again_is_a_new_stream(cloud, relay, robots):
    server, port = cloud()
    # The first life counts from far on, and its last answers are still on their way when the second begins.
    robot = robots(relay(port, rtt_ms=60)[1], first=1000)
    robot.wait_for_features(5)
    session = server.streams['robot', 'camera'].hello.session
    robot.check()
    robot.new_camera()
    before = len(robot.got.features)
    wait_until(lambda: robot.got.features[-1].sequence < 1000)
    robot.wait_for_features(5)
    later = [i for i in range(before, len(robot.got.features)) if robot.got.features[i].sequence < 1000]
    robot.check(later[0])
    assert later == list(range(later[0], len(robot.got.features)))
    assert server.streams['robot', 'camera'].hello.session != session
    assert robot.client.status.connected


class Noisy(Camera):
    """A camera whose pictures take all the bits that they may, at most what it is limited to."""

    limit_kbps = math.inf

    def image(self, sequence):
        return np.random.default_rng(sequence).integers(0, 256, (*SIZE, 3), np.uint8)

    def take(self):
        self._encoder.set_bitrate(2000)
        self._encoder.set_limit(self.limit_kbps)
        return super().take()


def test_the_camera_is_told_what_the_uplink_carries(cloud, relay, robots):
    """Of 2000 kbit/s, over 800: two robots with a network each, of which one does as it is told."""
    _, port = cloud()

    def start(name: str) -> Robot:
        told = lambda kbps: setattr(robot.camera, 'limit_kbps', kbps if name == 'adapts' else math.inf)  # noqa: E731
        robot = robots(relay(port, rtt_ms=60, rate_mbps=0.8)[1], robot=name, limit_uplink=told, least_uplink_kbps=200.0)
        robot.camera.close()
        robot.camera = Noisy(robot.client.submit, robot.rate, first=1000)
        return robot

    adapts, goes_on = start('adapts'), start('goes-on')
    time.sleep(8)
    trips = {}
    for robot in (adapts, goes_on):
        robot.wait_for_features(40, deadline_s=20)
        trips[robot] = np.median([record.round_trip_ms for record in robot.got.features[-40:]])
        assert [r.stamp_ns for r in robot.got.features[-40:]] == [
            robot.camera.stamps[r.sequence] for r in robot.got.features[-40:]
        ]
    assert trips[adapts] < 250
    assert trips[goes_on] > 2 * trips[adapts]
    assert 200 <= adapts.client.status.uplink_limit_kbps < 2000
    assert 400 < adapts.client.status.kbps_up < 900


def test_two_robots_do_not_know_of_each_other(cloud, robots):
    server, port = cloud()
    # 7 frames apart, so that an answer to the other one's picture would show.
    one, two = robots(port, robot='one', rate=30), robots(port, robot='two', first=7, rate=20)
    one.wait_for_features(15)
    two.wait_for_features(15)
    one.check()
    two.check()
    assert set(server.streams) == {('one', 'camera'), ('two', 'camera')}
    session = server.streams['two', 'camera'].hello.session
    one.client.stop()
    two.wait_for_features(10)
    wait_until(lambda: set(server.streams) == {('two', 'camera')}, what='the place of the robot that left')
    two.check()
    assert server.streams['two', 'camera'].hello.session == session


def test_two_processes_of_one_name_are_told(cloud, robots):
    _, port = cloud()
    first = robots(port)
    first.wait_for_features(3)
    second = robots(port)
    second.wait_for_features(3)

    def told(robot):
        return any('another process uses the names' in state.reason for state in robot.got.states)

    wait_until(lambda: told(first))
    assert not told(second)
    second.check()
    first.check()


@pytest.mark.parametrize(
    ('hello', 'words'),
    [
        (replace(HELLO, model='other'), "this cloud serves model 'tiny'"),
        (replace(HELLO, model_checksum='0' * 64), 'install the same weights on both sides'),
    ],
)
def test_a_refusal_reaches_the_status(cloud, robots, hello, words):
    _, port = cloud()
    robot = robots(port, hello=hello)
    wait_until(lambda: words in robot.client.status.reason, what=robot.client.status.reason)
    assert not robot.client.status.connected
    assert robot.client.status.sent == 0


def test_a_full_cloud_refuses_and_later_serves(cloud, robots):
    _, port = cloud(max_streams=1)
    first = robots(port, robot='first')
    first.wait_for_features(2)
    second = robots(port, robot='second')
    wait_until(lambda: 'serves 1 of at most 1 streams' in second.client.status.reason)
    first.client.stop()
    second.wait_for_features(2)


def test_a_cloud_of_another_protocol_is_named(free_port, robots):
    from dedelayed_ros.link import HelloReply, unpack
    from dedelayed_ros.link.session import open_session

    port = free_port()
    with open_session(listen=[f'127.0.0.1:{port}']) as session:

        def answer(query):
            hello = unpack(query.payload.to_bytes())
            reply = bytearray(HelloReply(True, '', 'old', 'tiny', 'c0ffee', session=hello.session, worker=1).pack())
            reply[4] += 1
            query.reply(query.key_expr, bytes(reply))

        session.declare_queryable('dedelayed/*/*/hello', answer)
        robot = robots(port)
        wait_until(lambda: 'install the same version on both sides' in robot.client.status.reason)
        assert robot.client.status.dropped['malformed: version'] >= 1
        robot.close()


def test_an_idle_stream_is_given_up_and_taken_up_again(cloud, robots):
    server, port = cloud(idle_s=0.3)
    robot = robots(port)
    robot.wait_for_features(3)
    sequence = robot.camera.sequence
    stamps = robot.camera.stamps
    robot.camera.close()
    wait_until(lambda: 'idle' in robot.client.status.reason)
    wait_until(lambda: not server.streams)
    robot.camera = Camera(robot.client.submit, 25.0, first=sequence)
    robot.camera.stamps.update(stamps)
    robot.wait_for_features(3)
    robot.check()


def test_a_stalled_network_bounds_what_is_in_flight_and_recovers(cloud, relay, robots):
    _, port = cloud()
    link, relayed = relay(port, rtt_ms=40)
    robot = robots(relayed, max_in_flight=6, rate=50)
    robot.wait_for_features(10)
    link.stall(1.5)
    most, predicted = 0, 0.0
    end_s = time.monotonic() + 1.4
    while time.monotonic() < end_s:
        status = robot.client.status
        most, predicted = max(most, status.in_flight), max(predicted, status.predicted_delay_ms)
        time.sleep(0.01)
    assert most == 6
    assert predicted > 500  # what still waits is a lower bound of the delay
    assert any('has not answered' in state.reason for state in robot.got.states)
    robot.wait_for_features(10)
    robot.check()
    assert robot.client.status.connected
    assert robot.client.status.dropped['too many in flight'] > 0


def test_a_slow_network_still_gives_right_answers(cloud, relay, robots):
    _, port = cloud()
    robot = robots(relay(port, rtt_ms=60, rate_mbps=0.1, jitter_ms=30, seed=1)[1], max_in_flight=6)
    robot.wait_for_features(20, deadline_s=20)
    robot.check()


def test_a_callback_that_fails_does_not_end_the_link(cloud, robots):
    _, port = cloud()
    robot = robots(port)
    good = robot.client._on_features

    def bad(record):
        good(record)
        raise RuntimeError('the user made a mistake')

    robot.client._on_features = bad
    robot.wait_for_features(5)
    assert robot.client.status.dropped['callback failed'] >= 4


@pytest.mark.parametrize('there', [True, False])
def test_stopping_is_quick_and_final(cloud, robots, free_port, there):
    port = cloud()[1] if there else free_port()
    robot = robots(port)
    if there:
        robot.wait_for_features(2)
    begun = time.monotonic()
    robot.client.stop()
    robot.client.stop()
    assert time.monotonic() - begun < 2.5
    states, features = len(robot.got.states), len(robot.got.features)
    submitted = robot.client.status.submitted
    wait_until(lambda: robot.client.status.submitted > submitted + 3)
    assert (len(robot.got.states), len(robot.got.features)) == (states, features)
    with pytest.raises(LinkError, match='started before'):
        robot.client.start()


def test_settings_that_cannot_work_are_refused_at_once():
    for settings in (LinkSettings(endpoint='nowhere'), LinkSettings(robot='a/b'), LinkSettings(max_in_flight=0)):
        with pytest.raises(LinkError):
            CloudClient(settings, HELLO, print)
    with pytest.raises(LinkError, match='rate'):
        CloudClient(LinkSettings(), replace(HELLO, rate=0), print)
