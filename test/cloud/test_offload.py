"""Offloaded streams over real sessions: masks that are the edge's own, eviction, refusal, fairness, and loss."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import HELLO, Camera, Collected, Small, served, wait_until

from dedelayed_ros import masks, native
from dedelayed_ros.cloud import CloudServer, CloudSettings, ServedOffload
from dedelayed_ros.cloud.caches import CacheBudget
from dedelayed_ros.cloud.served_offload import OffloadModels
from dedelayed_ros.frames import MotionField
from dedelayed_ros.link import CloudClient, LinkSettings, OffloadHello, ShardClient
from dedelayed_ros.offload import OffloadModel, Sender

pytestmark = pytest.mark.timeout(60)

SIZE = (32, 48)
HELLO_OFFLOAD = OffloadHello('small', 'c0ffee', '', 4, SIZE, (64, 96), 25.0)
STILL = MotionField.identity(SIZE)


class Slow(OffloadModel):
    """Takes its time for each frame."""

    def endpoint(self, size):
        end = super().endpoint(size)
        infer = end.infer

        def slowly(picture):
            time.sleep(0.05)
            return infer(picture)

        end.infer = slowly
        return end


class LongInTheMaking(OffloadModel):
    """Its end takes its time before the first frame."""

    def endpoint(self, size):
        time.sleep(0.7)
        return super().endpoint(size)


def offload(make=OffloadModel) -> ServedOffload:
    return ServedOffload('small', 'c0ffee', 4, '', lambda calibrated, dtype: make(Small().eval()))


def test_only_where_frames_go_up_as_they_are_the_format_is_the_robot_s() -> None:
    loaded: list[tuple[bool, str]] = []

    def load(calibrated: bool, dtype: str) -> OffloadModel:
        loaded.append((calibrated, dtype))
        return OffloadModel(Small().eval())

    models = OffloadModels(lambda: ServedOffload('small', 'c0ffee', 4, 'tiles', load), 1, 'auto')
    for tolerance in ('', 'tiles'):
        for camera_size in (None, (64, 96), (64, 96)):
            models.endpoint(replace(HELLO_OFFLOAD, tolerance=tolerance, camera_size=camera_size))
    assert loaded == [(False, 'float32'), (False, 'auto'), (True, 'float32'), (True, 'auto')]


@pytest.mark.parametrize('device', ['reference', 'auto'])
def test_that_the_engine_is_slow_is_told(device: str, caplog: pytest.LogCaptureFixture) -> None:
    model = ServedOffload('small', 'c0ffee', 4, '', lambda *_: OffloadModel(Small().eval(), device=device))
    OffloadModels(lambda: model, 1, 'auto').endpoint(HELLO_OFFLOAD)
    slow = device == 'reference' or native.library() is None
    assert ('small is slow here, on the engine reference' in caplog.text) == slow


class Robot:
    """A robot that offloads every frame that it can."""

    def __init__(self, port: int, name: str, hello: OffloadHello = HELLO_OFFLOAD) -> None:
        self.client = ShardClient(LinkSettings(endpoint=f'127.0.0.1:{port}', robot=name), hello)
        self.sender = Sender(SIZE)
        self.sequence = 0
        self.life = self.client.life
        self.rng = np.random.default_rng(len(name))
        self.picture = self.rng.integers(0, 256, (*SIZE, 3), np.uint8)
        self.dense = 0
        self.client.start()

    def meet(self) -> Robot:
        wait_until(lambda: not self.client.obstacle, 10, self.client.status.reason)
        return self

    def send(self, wait_s: float = 5.0):
        self.sequence += 1
        self.picture = self.picture.copy()
        self.picture[self.sequence % SIZE[0], :8] ^= 255
        self.sender.observe(STILL)
        if self.client.life != self.life:
            self.life = self.client.life
            self.sender.reset()
        plan = self.sender.plan(self.picture)
        self.dense += plan.dense
        self.client.submit(self.sender.pack(plan, sequence=self.sequence, stamp_ns=self.sequence))
        return self.client.wait(self.sequence, time.monotonic() + wait_s)

    def is_right(self, answer) -> bool:
        with torch.inference_mode():
            logits, _ = OffloadModel(Small().eval()).endpoint(SIZE).infer(self.picture)
        mask, confidence = masks.render(logits, HELLO_OFFLOAD.mask_size)
        return np.array_equal(answer.mask, mask) and np.array_equal(answer.confidence, confidence)


@pytest.fixture
def start(free_port):
    stops = []

    def begin(make=OffloadModel, **settings):
        port = free_port()
        server = CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), **settings), served(), offload=offload(make))
        server.start()
        stops.append(server.stop)

        def robot(name: str, hello: OffloadHello = HELLO_OFFLOAD) -> Robot:
            made = Robot(port, name, hello)
            stops.insert(0, made.client.stop)
            return made

        return server, robot, port

    yield begin
    for stop in stops:
        stop()


def test_masks_are_the_edges_and_only_what_changed_goes_up(start) -> None:
    server, robot, port = start()
    one = robot('one').meet()
    got = Collected()
    settings = LinkSettings(endpoint=f'127.0.0.1:{port}')
    with CloudClient(settings, HELLO, got.on_features, request_keyframe=lambda: camera.request_keyframe()) as features:
        camera = Camera(features.submit, 25)
        # The first may take longer than an answer may: the model is made for it. The server has it all the same.
        wait_until(lambda: one.send() is not None)
        answers = [one.send() for _ in range(5)]
        assert all(answer is not None for answer in answers)
        assert one.is_right(answers[-1])
        assert one.dense == 1
        assert answers[-1].compute_ratio < 0.5
        assert answers[-1].bytes_up < SIZE[0] * SIZE[1] * 3 / 4
        assert answers[-1].queue_ms >= 0
        assert answers[-1].round_trip_ms >= answers[-1].server_ms > 0
        wait_until(lambda: len(got.features) >= 3, what='features beside masks')
        camera.close()
    status = one.client.status
    assert (status.connected, status.sent, status.received) == (True, one.sequence, 5 + 1)
    assert server.streams['one', 'camera', 'offload'].counts['frames'] == one.sequence


def test_the_evicted_is_told_and_is_served_after_one_whole_frame(start) -> None:
    server, robot, _ = start(max_caches=1)
    one, two = robot('one').meet(), robot('two').meet()
    assert one.send() is not None
    assert two.send() is not None
    wait_until(lambda: server.streams['one', 'camera', 'offload'].counts['evicted'] == 1)
    assert one.send() is None
    assert one.client.status.dropped['cloud: need_keyframe'] == 1
    answer = one.send()
    assert answer is not None
    assert one.is_right(answer)
    assert (one.dense, two.dense) == (2, 1)


def test_a_server_that_starts_again_needs_one_whole_frame(start, free_port) -> None:
    port = free_port()
    settings = CloudSettings(listen=(f'127.0.0.1:{port}',))
    first = CloudServer(settings, served(), offload=offload())
    first.start()
    robot = Robot(port, 'one').meet()
    try:
        assert robot.send() is not None
        first.stop()
        wait_until(lambda: robot.client.obstacle)
        with CloudServer(settings, served(), offload=offload()):
            robot.meet()
            answer = robot.send()
            assert answer is not None
            assert robot.is_right(answer)
            assert robot.dense == 2
            assert robot.send() is not None
            assert robot.dense == 2
    finally:
        robot.client.stop()
        first.stop()


def test_a_frame_that_is_lost_costs_one_whole_frame(start) -> None:
    _, robot, _ = start()
    one = robot('one').meet()
    assert one.send() is not None
    # A frame that the robot believes to be with the server.
    one.sequence += 1
    one.sender.observe(STILL)
    one.sender.pack(one.sender.plan(one.picture), sequence=one.sequence, stamp_ns=0)
    assert one.send() is None
    answer = one.send()
    assert answer is not None
    assert one.is_right(answer)
    assert one.dense == 2


def test_streams_take_turns_and_the_wait_is_reported(start) -> None:
    server, robot, _ = start(Slow)
    one, two = robot('one').meet(), robot('two').meet()
    # The model is made for the first, which may take longer than an answer may.
    wait_until(lambda: one.send() is not None)
    assert two.send() is not None
    # One floods the server, two asks once: it waits for the frame in hand and not for the flood.
    for _ in range(6):
        one.send(0.0)
    answer = two.send()
    assert answer is not None
    assert answer.queue_ms < 200

    # The flood itself waits: of frames that never cease, some come while another is in hand.
    def waited() -> bool:
        one.send(0.0)
        return server.streams['one', 'camera', 'offload'].queue_ms > 10

    wait_until(waited)


def test_of_what_waits_for_the_model_to_be_made_only_the_newest_is_computed(start) -> None:
    server, robot, _ = start(LongInTheMaking)
    one = robot('one').meet()
    for _ in range(4):
        one.send(0.0)
    # Once they are acknowledged, which a busy machine may do late, and long before the model is made.
    wait_until(lambda: one.client.overdue_ms(5000.0) == 0, 0.5)
    answer = one.client.wait(4, time.monotonic() + 5)
    assert answer is not None and one.is_right(answer)
    assert answer.recompute_ratio == 1.0
    assert all(one.client.wait(number, time.monotonic() + 0.1) is None for number in (1, 2, 3))
    assert server.streams['one', 'camera', 'offload'].counts['passed over'] == 3
    assert one.client.overdue_ms(100.0) == 0, 'nobody expects them any more'
    assert one.is_right(one.send())


def test_a_mask_that_never_comes_is_overdue_and_then_given_up(start) -> None:
    server, robot, _ = start()
    one = robot('one').meet()
    wait_until(lambda: one.send() is not None)
    server.streams['one', 'camera', 'offload'].take = lambda: None  # the frame is lost in the server
    assert one.send(0.5) is None
    assert 0 < one.client.overdue_ms(400.0) < 1000
    wait_until(lambda: one.client.overdue_ms(400.0) == 0, 5)
    assert not one.client.obstacle


@pytest.mark.parametrize(
    ('settings', 'hello', 'words'),
    [
        ({'max_streams': 0}, {}, 'serves 0 of at most 0 streams'),
        ({}, {'model': 'other'}, "of model 'small', the robot runs 'other'"),
        ({}, {'model_checksum': 'bad'}, 'install the same weights on both sides'),
        ({}, {'classes': 5}, 'the model has 4 classes, the robot expects 5'),
        ({}, {'tolerance': 'other'}, 'the robot runs the model with another calibration'),
    ],
)
def test_a_refusal_has_a_reason(start, settings, hello, words) -> None:
    from dataclasses import replace

    _, robot, _ = start(**settings)
    refused = robot('one', replace(HELLO_OFFLOAD, **hello))
    wait_until(lambda: words in refused.client.status.reason, what=refused.client.status.reason)
    assert refused.client.obstacle == 'no server is connected'


def test_a_busy_server_lets_nobody_else_in(start) -> None:
    server, robot, _ = start(Slow, max_queue_ms=0.0)
    one = robot('one').meet()
    one.send(0.0)
    one.send(0.0)
    one.send()
    wait_until(lambda: server.streams['one', 'camera', 'offload'].queue_ms > 0)
    two = robot('two')

    def refused() -> bool:
        one.send(0.05)
        return 'wait' in two.client.status.reason and 'at most 0 ms' in two.client.status.reason

    wait_until(refused)
    # What only probes is there, and what its last frame waited says nothing any more.
    wait_until(lambda: two.client.status.connected, 10, two.client.status.reason)


def test_the_cache_used_longest_ago_goes_first() -> None:
    budget: CacheBudget[str] = CacheBudget(number=3, size=100)
    assert budget.used('a', 30) == []
    assert budget.used('b', 30) == []
    assert budget.used('a', 30) == []
    assert budget.used('c', 60) == ['b']
    assert budget.bytes == 90
    assert budget.used('d', 5) == []
    assert budget.used('e', 1) == ['a']
    assert budget.used('f', 500) == ['c', 'd', 'e']  # the one in use always stays
    budget.forget('f')
    assert budget.bytes == 0
