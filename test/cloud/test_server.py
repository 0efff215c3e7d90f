"""The server against a robot that speaks the records by hand: what it answers, refuses, and survives."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import zenoh
from tiny import HELLO, SHAPE, SIZE, Camera, TinyModel, served, serves, wait_until

from dedelayed_ros.cloud import CloudServer, CloudSettings, ServedModel
from dedelayed_ros.errors import LinkError, WeightsError
from dedelayed_ros.link import Code, FeaturesDown, FrameUp, HelloReply, Notice, unpack, unpack_features
from dedelayed_ros.link.session import WORKERS, open_session

pytestmark = pytest.mark.timeout(60)


class Robot:
    """Sends records as they are and keeps what comes back."""

    def __init__(self, port: int, robot: str = 'r', camera: str = 'c', session: int = 77) -> None:
        self.zenoh = open_session(connect=[f'127.0.0.1:{port}'])
        self.key = f'dedelayed/{robot}/{camera}'
        self.session = session
        self.worker = 0
        self.down: list = []
        self._keep = [
            self.zenoh.declare_subscriber(f'{self.key}/down', lambda s: self.down.append(unpack(s.payload.to_bytes()))),
            self.zenoh.liveliness().declare_token(f'{self.key}/alive'),
        ]
        self.camera = Camera()

    def hello(self, **changes) -> HelloReply:
        record = replace(HELLO, session=self.session, stamp_ns=5, **changes)
        (reply,) = self.query(record.pack())
        self.worker = reply.worker
        return reply

    def query(self, payload: bytes) -> list[HelloReply]:
        return [
            unpack(r.ok.payload.to_bytes()) for r in self.zenoh.get(f'{self.key}/hello', payload=payload, timeout=5)
        ]

    def frame(self, **changes) -> FrameUp:
        """The camera's next picture as a record, referring to the one before."""
        picture, sequence, stamp_ns = self.camera.take()
        reference = sequence if picture.keyframe else sequence - 1
        record = FrameUp(
            sequence, reference, stamp_ns, 9, 120.0, picture.keyframe, SIZE[1], SIZE[0], picture.data,
            self.session, self.worker,
        )  # fmt: skip
        return replace(record, **changes)

    def put(self, data: bytes) -> None:
        self.zenoh.put(f'{self.key}/up', data)

    def send(self, **changes) -> FrameUp:
        record = self.frame(**changes)
        self.put(record.pack())
        return record

    def answers(self) -> list[FeaturesDown]:
        return [r for r in self.down if isinstance(r, FeaturesDown)]

    def notices(self, code: Code) -> list[Notice]:
        return [r for r in self.down if isinstance(r, Notice) and r.code == code]

    def close(self) -> None:
        self.camera.close()
        self.zenoh.close()


@pytest.fixture
def start(free_port):
    """Starts a server with tiny models on a port; returns (server, port)."""
    servers = []

    def run(model: ServedModel | None = None, **settings) -> tuple[CloudServer, int]:
        port = free_port()
        server = CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), **settings), model or served())
        servers.append(server)
        server.start()
        return server, port

    yield run
    for server in servers:
        server.stop()


@pytest.fixture
def meet(start):
    """A server and robots that it has accepted."""
    robots = []

    def greet(port: int, *names: str, **identity) -> Robot:
        robot = Robot(port, *names, **identity)
        robots.append(robot)
        assert robot.hello().accepted
        return robot

    yield greet
    for robot in robots:
        robot.close()


def test_a_frame_is_acknowledged_and_answered_with_its_own_times(start, meet):
    server, port = start()
    robot = meet(port)
    sent = robot.send()
    wait_until(robot.answers)
    (answer,) = robot.answers()
    assert (answer.sequence, answer.stamp_ns, answer.sent_ns) == (0, sent.stamp_ns, 9)
    assert (answer.predicted_delay_ms, answer.received_sequence, answer.shape) == (120.0, 0, SHAPE)
    assert (answer.session, answer.worker) == (77, server.worker)
    assert serves(0, unpack_features(answer.data))
    assert [n.received_sequence for n in robot.notices(Code.ACK)] == [0]
    stream = server.streams['r', 'c']
    assert stream._model.delays == [120.0]
    assert stream.counts['answered'] == 1


def test_hello_agrees_and_repeats_as_resumed(start, meet):
    server, port = start(name='cloud-a')
    robot = meet(port)
    again = robot.hello()
    assert again == HelloReply(
        True, '', 'cloud-a', 'tiny', 'c0ffee', resumed=True, session=77, worker=server.worker, stamp_ns=5
    )
    robot.session = 78
    assert not robot.hello().resumed


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'model': 'other'}, "serves model 'tiny', the robot expects 'other'"),
        ({'model_checksum': 'abad1dea'}, 'checksum c0ffee here and abad1dea on the robot'),
        ({'classes': 7}, '19 classes, the robot expects 7'),
        ({'feature_shape': (3, 8, 6)}, 'computes features 3x4x6 at 64x96, the robot expects 3x8x6'),
        ({'remote_size': (64, 64)}, 'the robot expects 3x4x6 at 64x64'),
        ({'protocol': 9}, 'speaks protocol 9, this cloud 1'),
    ],
)
def test_a_mismatch_is_refused_with_its_reason(start, meet, changes, words):
    server, port = start()
    robot = meet(port, 'other')
    reply = robot.hello(**changes)
    assert not reply.accepted
    assert words in reply.reason
    assert list(server.streams) == [('other', 'c')]


def test_hellos_that_are_none(start, meet):
    server, port = start()
    robot = meet(port)
    (noise,) = robot.query(b'good morning')
    assert 'cannot be read' in noise.reason
    (wrong,) = robot.query(Notice(Code.ACK).pack())
    assert 'expected a hello' in wrong.reason
    assert server.strays['malformed: short'] == 1


def test_no_room_and_room_again(start, meet):
    _server, port = start(max_streams=1)
    first, second = meet(port, 'first'), Robot(port, 'second')
    reply = second.hello()
    assert not reply.accepted
    assert 'serves 1 of at most 1 streams' in reply.reason
    first.close()
    wait_until(lambda: second.hello().accepted, what='the place of a robot that left')
    second.close()


def test_a_gap_asks_for_a_key_frame_seldom_and_goes_on_with_it(start, meet):
    server, port = start()
    robot = meet(port)
    robot.send()
    robot.frame()  # lost
    for _ in range(6):
        robot.send()
    stream = server.streams['r', 'c']
    wait_until(lambda: stream.counts['undecodable'] == 6)
    wait_until(lambda: len(robot.notices(Code.NEED_KEYFRAME)) + len(robot.notices(Code.ACK)) == 7)
    assert len(robot.notices(Code.NEED_KEYFRAME)) <= 2
    assert robot.notices(Code.NEED_KEYFRAME)[0].sequence == 2
    robot.camera.request_keyframe()
    sent = robot.send()
    wait_until(lambda: robot.answers()[-1].sequence == sent.sequence)
    assert serves(sent.sequence, unpack_features(robot.answers()[-1].data))


def test_doubles_and_stragglers_are_counted_and_do_no_harm(start, meet):
    server, port = start()
    robot = meet(port)
    records = [robot.frame() for _ in range(4)]
    for i in (0, 0, 1, 2, 1, 3):
        robot.put(records[i].pack())
    stream = server.streams['r', 'c']
    wait_until(lambda: stream.counts['old'] == 2)
    wait_until(lambda: robot.answers() and robot.answers()[-1].sequence == 3)
    assert stream.counts['undecodable'] == 0
    sequences = [answer.sequence for answer in robot.answers()]
    assert sequences == sorted(set(sequences))
    assert all(serves(a.sequence, unpack_features(a.data)) for a in robot.answers())
    assert robot.notices(Code.STALE)


def test_damaged_video_asks_for_a_key_frame_and_gives_no_wrong_answer(start, meet):
    server, port = start()
    robot = meet(port)
    robot.send()
    wait_until(robot.answers)
    good = robot.frame()
    robot.put(replace(good, data=good.data[: len(good.data) // 2]).pack())
    robot.send()
    wait_until(lambda: robot.notices(Code.NEED_KEYFRAME))
    robot.camera.request_keyframe()
    sent = robot.send()
    wait_until(lambda: robot.answers()[-1].sequence == sent.sequence)
    assert [a.sequence for a in robot.answers()] == [0, sent.sequence]
    assert server.streams['r', 'c'].counts['damaged'] == 1


def test_malformed_records_are_counted_and_told_once_a_second(start, meet):
    server, port = start()
    robot = meet(port)
    packed = bytearray(robot.frame().pack())
    packed[60] ^= 1
    other_version = bytearray(packed)
    other_version[4] += 1
    begun = time.monotonic()
    for data in (b'', b'noise', bytes(packed), bytes(other_version), bytes((8 << 20) + 1), *[bytes(packed)] * 5):
        robot.put(data)
    stream = server.streams['r', 'c']
    wait_until(lambda: sum(n for what, n in stream.counts.items() if what.startswith('malformed')) == 10)
    expected = {'malformed: short': 2, 'malformed: checksum': 6, 'malformed: version': 1, 'malformed: too_large': 1}
    assert {what: stream.counts[what] for what in expected} == expected
    wait_until(lambda: robot.notices(Code.MALFORMED))
    assert len(robot.notices(Code.MALFORMED)) <= 1 + (time.monotonic() - begun)
    robot.camera.request_keyframe()
    robot.send()
    wait_until(robot.answers, what='service after the noise')


def test_another_size_than_agreed_is_refused(start, meet):
    _, port = start()
    robot = meet(port)
    robot.send(width=80)
    wait_until(lambda: robot.notices(Code.REFUSED))
    assert 'picture of 80x64, agreed were 96x64' in robot.notices(Code.REFUSED)[0].text


def test_a_stream_that_never_said_hello_is_told_to(start, meet):
    server, port = start()
    stranger = Robot(port)
    stranger.worker = server.worker
    stranger.send()
    wait_until(lambda: stranger.notices(Code.UNKNOWN_SESSION))
    assert stranger.notices(Code.UNKNOWN_SESSION)[0].session == stranger.session
    stranger.close()


def test_frames_for_an_earlier_server_or_session_are_not_taken(start, meet):
    server, port = start()
    robot = meet(port)
    robot.send(worker=server.worker + 1)
    robot.send(session=robot.session + 1)
    stream = server.streams['r', 'c']
    wait_until(lambda: stream.counts['another session'] == 2)
    assert stream.counts['frames'] == 0
    robot.camera.request_keyframe()
    sent = robot.send()
    wait_until(robot.answers)
    assert [a.sequence for a in robot.answers()] == [sent.sequence]


def test_the_newest_frame_wins_and_streams_take_turns(start, meet):
    server, port = start(served(lambda hello: TinyModel(pause_s=0.05)))
    robots = [meet(port, name) for name in ('a', 'b', 'c')]
    # One robot floods, the others send half as much: each still gets its third of the model.
    for i in range(40):
        for robot in robots if i % 2 else robots[:1]:
            robot.send()
        time.sleep(0.02)
    newest = [robot.camera.sequence - 1 for robot in robots]
    wait_until(lambda: [r.answers()[-1].sequence for r in robots] == newest)
    counts = [len(robot.answers()) for robot in robots]
    assert max(counts) - min(counts) <= 2
    stream = server.streams['a', 'c']
    assert stream.counts['passed over'] == 40 - counts[0]
    assert stream.counts['undecodable'] == 0
    for robot in robots:
        assert all(serves(a.sequence, unpack_features(a.data)) for a in robot.answers())
    assert max(a.queue_ms for r in robots for a in r.answers()) > 40


class Together:
    """Answers several streams' frames at once, or fails to; ``sizes`` of the batches that it was asked for."""

    def __init__(self, fails: bool = False) -> None:
        self.sizes: list[int] = []
        self._fails = fails

    def __call__(self, models, asked):
        self.sizes.append(len(models))
        if self._fails:
            raise RuntimeError('not together')
        time.sleep(0.05)
        return [model.step(*one) for model, one in zip(models, asked, strict=True)]


@pytest.mark.parametrize('fails', [False, True])
def test_streams_that_wait_are_answered_together(start, meet, fails):
    together = Together(fails)
    _, port = start(served(lambda hello: TinyModel(pause_s=0.01), together, at_once=3))
    robots = [meet(port, name) for name in ('a', 'b', 'c', 'd')]
    for _ in range(10):
        for robot in robots:
            robot.send()
        time.sleep(0.05)
    newest = [robot.camera.sequence - 1 for robot in robots]
    wait_until(lambda: [r.answers()[-1].sequence for r in robots] == newest)
    assert max(together.sizes) == 3
    for robot in robots:
        assert all(serves(a.sequence, unpack_features(a.data)) for a in robot.answers())
        assert not robot.notices(Code.FAILED)


class Moody(TinyModel):
    """Fails on its second picture, and gives NaN on its third."""

    def step(self, image, stamp_ns, delay_ms):
        features = super().step(image, stamp_ns, delay_ms)
        if len(self.delays) == 2:
            raise RuntimeError('out of temper')
        return features


def test_a_failing_model_is_told_and_hurts_nobody_else(start, meet):
    _, port = start(served(lambda hello: Moody() if hello.session == 1 else TinyModel()))
    bad, good = meet(port, 'bad', session=1), meet(port, 'good', session=2)
    for i in range(3):
        bad.send()
        good.send()
        wait_until(lambda n=i: len(good.answers()) == n + 1)
        wait_until(lambda n=i: len(bad.answers()) + len(bad.notices(Code.FAILED)) == n + 1)
    assert [a.sequence for a in bad.answers()] == [0, 2]
    assert 'out of temper' in bad.notices(Code.FAILED)[0].text


def test_features_that_are_not_finite_never_leave(start, meet):
    class Nan(TinyModel):
        def step(self, image, stamp_ns, delay_ms):
            return super().step(image, stamp_ns, delay_ms) * float('nan')

    _, port = start(served(lambda hello: Nan()))
    robot = meet(port)
    robot.send()
    wait_until(lambda: robot.notices(Code.FAILED))
    assert 'not finite' in robot.notices(Code.FAILED)[0].text
    assert not robot.answers()


def test_an_idle_stream_loses_its_place_and_is_told(start, meet):
    server, port = start(idle_s=0.3)
    robot = meet(port)
    robot.send()
    wait_until(lambda: robot.notices(Code.EVICTED))
    wait_until(lambda: not server.streams)


def test_a_second_process_of_the_same_name_takes_over_and_the_first_is_told(start, meet):
    server, port = start()
    first = meet(port, session=1)
    first.send()
    wait_until(first.answers)
    second = meet(port, session=2)
    wait_until(lambda: first.notices(Code.REPLACED))
    assert first.notices(Code.REPLACED)[0].session == 1
    second.send()
    wait_until(second.answers)
    assert len(server.streams) == 1


def test_the_server_is_alive_exactly_as_long_as_it_serves(start):
    server, port = start()
    robot = Robot(port)
    tokens = [reply.ok.key_expr for reply in robot.zenoh.liveliness().get(f'{WORKERS}/*', timeout=5)]
    assert [str(key) for key in tokens] == [f'{WORKERS}/{server.worker:x}']
    told = []
    # Kept by name, for Zenoh takes back what is no longer referred to; with history, as the robot's client does it, so
    # that the server knows of the watcher before it stops.
    watch = robot.zenoh.liveliness().declare_subscriber(f'{WORKERS}/*', lambda s: told.append(s.kind), history=True)
    wait_until(lambda: told == [zenoh.SampleKind.PUT])
    begun = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - begun < 2
    wait_until(lambda: told == [zenoh.SampleKind.PUT, zenoh.SampleKind.DELETE])
    watch.undeclare()
    robot.close()


def test_a_port_in_use_and_a_model_that_does_not_load(start, free_port):
    _, port = start()
    with pytest.raises(LinkError, match='already in use'):
        CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',)), served()).start()

    def broken():
        raise WeightsError('the weights are damaged')

    free = free_port()
    server = CloudServer(CloudSettings(listen=(f'127.0.0.1:{free}',)), replace(served(), load=broken))
    with pytest.raises(WeightsError, match='damaged'):
        server.start()
    with pytest.raises(LinkError):
        open_session(connect=[f'127.0.0.1:{free}'])


def test_the_status_line_counts(free_port, meet):
    lines = []
    port = free_port()
    settings = CloudSettings(listen=(f'127.0.0.1:{port}',), report_s=0.3)
    with CloudServer(settings, served(), report=lines.append):
        robot = meet(port)
        for _ in range(3):
            robot.send()
        wait_until(lambda: any(line.startswith('1 streams: ') and ' 0.0 answers/s' not in line for line in lines))
    assert 'kbit/s up' in lines[-1]
