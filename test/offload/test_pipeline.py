"""Offload mode from camera to mask, over a real cloud and a relay: no frame without a mask, and it says whose it is."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from dedelayed_ros import masks
from dedelayed_ros.cloud import CloudServer, CloudSettings, LoadedModel, ServedModel
from dedelayed_ros.dispatch import Decision, LatencyProfile, Situation, decide
from dedelayed_ros.edge import EdgeResult
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import Frame, H264Decoder, MotionField
from dedelayed_ros.link import LinkSettings
from dedelayed_ros.models import zoo
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.offload import load_model
from dedelayed_ros.offload.pipeline import OffloadPipeline, OffloadSettings
from dedelayed_ros.robot import Robot, RobotSettings
from dedelayed_ros.sim.relay import Relay, RelaySettings

pytestmark = pytest.mark.timeout(90)
SIZE = (64, 96)


def no_features() -> ServedModel:
    return ServedModel('none', '', 19, lambda size: (size, (1, 1, 1)), lambda: LoadedModel(lambda hello: None))  # type: ignore[return-value]


@pytest.fixture
def cloud(free_port):
    port = free_port()
    with CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), threads=1), no_features()) as server:
        yield server, port


def choose(where: str):
    """A dispatcher of one opinion."""
    return lambda situation: Decision(where, f'always {where}', (), situation)  # type: ignore[arg-type]


@pytest.fixture
def relayed(free_port):
    """A relay to a port, and a link through it."""
    relays = []

    def start(port: int, rtt_ms: float) -> LinkSettings:
        through = free_port()
        relays.append(Relay(RelaySettings(f'127.0.0.1:{through}', f'127.0.0.1:{port}', rtt_ms=rtt_ms)))
        relays[-1].start()
        return LinkSettings(endpoint=f'127.0.0.1:{through}')

    yield start
    for relay in relays:
        relay.stop()


def until_connected(side: OffloadPipeline | Robot) -> None:
    end_s = time.monotonic() + 10
    while side.link is None or not side.link.connected:
        assert time.monotonic() < end_s, side.link
        time.sleep(0.01)


def step(pipeline: OffloadPipeline, sequence: int, moved) -> EdgeResult:
    return pipeline.step(moved.picture, stamp_ns=sequence, sequence=sequence, motion=moved.motion)


def stream(pipeline: OffloadPipeline, sequence: int, moved, camera) -> EdgeResult:
    """A step with the camera's own H.264."""
    coded = camera.see(moved.picture, sequence)
    return pipeline.step(
        moved.picture, stamp_ns=sequence, sequence=sequence, motion=coded.picture.motion,
        intra_ratio=coded.picture.intra_ratio, keyframe=coded.picture.keyframe, coded=coded,
    )  # fmt: skip


def test_each_frame_gets_the_edges_mask_through_delay_and_death(cloud, relayed, footage) -> None:
    server, port = cloud
    settings = OffloadSettings(deadline_ms=2000, uplink='lossless')
    sources = []
    with (
        OffloadPipeline(settings, SIZE, 25.0, relayed(port, 20), decide=choose('cloud')) as robot,
        OffloadPipeline(settings, SIZE, 25.0) as alone,
    ):
        until_connected(robot)
        for sequence, moved in enumerate(footage[:40]):
            if sequence == 25:
                server.stop()
            result, expected = step(robot, sequence, moved), step(alone, sequence, moved)
            assert np.array_equal(result.mask, expected.mask), sequence
            assert np.array_equal(result.confidence, expected.confidence), sequence
            sources.append(result.provenance)
    assert sum(p.source == 'cloud' for p in sources[:25]) > 20
    assert all(p.source == 'local' for p in sources[27:])
    assert sources[-1].degraded == ('no server is connected',)
    answered = [p for p in sources if p.source == 'cloud']
    assert all(p.decision == 'always cloud' and p.bytes_up > 0 and p.bytes_down > 0 for p in answered)
    assert all(p.stages_ms['cloud'] >= 20 for p in answered)


def test_the_dispatcher_decides_and_the_robot_counts_what_it_sends(cloud, relayed, footage) -> None:
    _, port = cloud
    link = relayed(port, 10)
    with Robot(RobotSettings(cloud=link.endpoint, offload=OffloadSettings()), SIZE, 25.0) as robot:
        until_connected(robot)
        made = [
            robot.see(Frame(moved.picture, time.time_ns(), sequence)).provenance
            for sequence, moved in enumerate(footage[:15])
        ]
        traffic = robot.traffic
    assert made[0].decision.startswith('cloud')
    assert all(p.decision or p.degraded for p in made)
    assert traffic == (sum(p.bytes_up for p in made), sum(p.bytes_down for p in made))
    assert all('encode' in p.stages_ms for p in made)


def test_a_mask_that_does_not_come_in_time_is_the_edges(cloud, relayed, footage) -> None:
    _, port = cloud
    situations: list[Situation] = []

    def always(situation: Situation) -> Decision:
        situations.append(situation)
        return choose('cloud')(situation)

    settings = OffloadSettings(deadline_ms=30, uplink='lossless')
    with OffloadPipeline(settings, SIZE, 25.0, relayed(port, 300), decide=always) as pipeline:
        until_connected(pipeline)
        results = [step(pipeline, i, moved) for i, moved in enumerate(footage[:6])]
    assert [r.provenance.source for r in results] == ['local'] * 6
    said = [r.provenance.degraded[-1] for r in results]
    assert said[0] == 'no mask of the cloud in time'
    assert 'the uplink is busy with earlier frames' in said
    assert situations[0].cached is False
    assert situations[0].edge_ratio == 1.0
    assert situations[0].propagation_ms >= 150
    assert situations[1].cached
    assert situations[1].bytes_up > 0


def test_the_robot_begins_with_its_own_mask_before_the_deadline(cloud, relayed, footage) -> None:
    _, port = cloud
    # The server has its model then: making it, in this very process, would keep the robot's threads from waking.
    with OffloadPipeline(
        OffloadSettings(deadline_ms=20_000, uplink='lossless'), SIZE, 25.0, relayed(port, 10), decide=choose('cloud')
    ) as first:
        until_connected(first)
        assert step(first, 0, footage[0]).provenance.source == 'cloud'
    slow = LatencyProfile(np.array([0.0, 1.0]), np.array([200.0, 200.0]))  # as is believed of the edge
    settings = OffloadSettings(deadline_ms=380, uplink='lossless', edge_profile=slow)
    with OffloadPipeline(settings, SIZE, 25.0, relayed(port, 400), decide=choose('cloud')) as pipeline:
        until_connected(pipeline)
        provenance = step(pipeline, 0, footage[0]).provenance
    assert provenance.degraded == ('no mask of the cloud in time',)
    # Half of the deadline, more than the 180 ms that the edge would leave: nothing was said of when the cloud answers.
    assert 100 < provenance.stages_ms['cloud'] < 300


def test_without_a_cloud_everything_is_local(footage) -> None:
    with Robot(RobotSettings(offload=OffloadSettings()), SIZE, 25.0) as robot:
        provenance = [robot.see(Frame(m.picture, i, i)).provenance for i, m in enumerate(footage[:3])]
    assert [p.source for p in provenance] == ['local'] * 3
    assert all(p.degraded == () and p.decision == '' for p in provenance)


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match='deadline_ms is 0'):
        OffloadPipeline(OffloadSettings(deadline_ms=0), SIZE, 25.0)
    with pytest.raises(InputError, match='bound is 200; expected 0 to 127 grey levels'):
        OffloadPipeline(OffloadSettings(bound=200), SIZE, 25.0)
    with pytest.raises(InputError, match="uplink is 'jpeg'"):
        OffloadPipeline(OffloadSettings(uplink='jpeg'), SIZE, 25.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match='4x4 pixels'):
        OffloadPipeline(OffloadSettings(), (4, 4), 25.0)


def test_h264_goes_up_frame_by_frame_and_masks_are_those_of_what_the_cloud_decodes(
    cloud, relayed, footage, camera
) -> None:
    server, port = cloud
    decoder = H264Decoder()
    settings = OffloadSettings(deadline_ms=5000, dtype='float32')  # the cloud computes in the format that suits it
    wants: list[str] = []
    size = zoo.entry('street-conv').input_size(SIZE)
    decoded_end, camera_end = (load_model('street-conv', dtype=dtype).endpoint(size) for dtype in ('auto', 'float32'))
    sources = []
    with OffloadPipeline(
        settings, SIZE, 25.0, relayed(port, 20), decide=lambda situation: choose(wants[-1])(situation),
        request_keyframe=camera.request_keyframe,
    ) as robot:  # fmt: skip
        until_connected(robot)
        frames = 0  # until the server has made its model
        while not sources or sources[-1] != 'cloud':
            wants.append('cloud')
            coded = camera.see(footage[0].picture, frames)
            decoder.decode(coded.picture.data, SIZE)
            result = robot.step(
                footage[0].picture, stamp_ns=frames, sequence=frames, motion=coded.picture.motion, coded=coded
            )
            sources.append(result.provenance.source)
            frames += 1
        sources.clear()
        for sequence, moved in enumerate(footage[:30], frames):
            wants.append('edge' if (sequence - frames) % 5 == 4 else 'cloud')
            coded = camera.see(moved.picture, sequence)
            seen = decoder.decode(coded.picture.data, SIZE)
            result = robot.step(
                moved.picture, stamp_ns=sequence, sequence=sequence, motion=coded.picture.motion, coded=coded
            )
            sources.append(result.provenance.source)
            end, picture = (decoded_end, seen) if sources[-1] == 'cloud' else (camera_end, moved.picture)
            end.reset()
            expected, _ = masks.render(end.infer(scaled(picture, size))[0], SIZE)
            assert np.array_equal(result.mask, expected), sequence
        counts = server.streams['robot', 'camera', 'offload'].counts
        wait_until(lambda: counts['frames'] == frames + 30)
        assert 24 < counts['answered'] <= frames + 24, 'what the edge computes is only decoded'
    assert sources.count('cloud') == 24
    assert sources[4::5] == ['local'] * 6


def test_an_h264_stream_begins_again_with_one_key_frame_after_the_cloud_was_away(
    relayed, footage, camera, free_port
) -> None:
    port = free_port()
    serve = CloudSettings(listen=(f'127.0.0.1:{port}',), threads=1)
    sources, sequence = [], 0
    with OffloadPipeline(
        OffloadSettings(deadline_ms=5000), SIZE, 25.0, relayed(port, 10), decide=choose('cloud'),
        request_keyframe=camera.request_keyframe,
    ) as robot:  # fmt: skip

        def see_until(source: str) -> None:
            nonlocal sequence
            end_s = time.monotonic() + 30
            while not sources or sources[-1].source != source:
                assert time.monotonic() < end_s, robot.link
                result = stream(robot, sequence, footage[sequence % 40], camera)
                assert result.mask.shape == SIZE
                sources.append(result.provenance)
                sequence += 1
                time.sleep(0.02)

        with CloudServer(serve, no_features()):
            see_until('cloud')
        see_until('local')
        asked = camera.requests
        with CloudServer(serve, no_features()) as server:
            see_until('cloud')
            assert camera.requests > asked
            assert server.streams['robot', 'camera', 'offload'].counts['undecodable'] == 0
    assert 'no server is connected' in {reason for p in sources for reason in p.degraded}


def test_several_frames_wait_for_the_cloud_at_a_time(cloud, relayed, footage, camera) -> None:
    _, port = cloud
    with OffloadPipeline(
        OffloadSettings(deadline_ms=20_000), SIZE, 25.0, relayed(port, 400), decide=choose('cloud'),
        request_keyframe=camera.request_keyframe,
    ) as robot:  # fmt: skip
        until_connected(robot)
        stream(robot, 0, footage[0], camera)
        begun_s = time.monotonic()
        taken = []
        for sequence, moved in enumerate(footage[1:7], 1):
            coded = camera.see(moved.picture, sequence)
            taken.append(
                robot.take(
                    moved.picture, stamp_ns=sequence, sequence=sequence, motion=coded.picture.motion, coded=coded
                )
            )
        assert [one.choice for one in taken] == ['cloud'] * 6
        results = [robot.finish(one) for one in taken]
        took_s = time.monotonic() - begun_s
    assert [r.provenance.source for r in results] == ['cloud'] * 6
    assert [r.provenance.sequence for r in results] == list(range(1, 7))
    assert took_s < 6 * 0.4  # one after the other each would take a round trip


def test_nothing_goes_up_while_nothing_is_wanted_and_probes_tell_the_bandwidth(cloud, relayed, footage, camera) -> None:
    server, port = cloud
    wants = ['cloud']
    situations: list[Situation] = []

    def opinion(situation: Situation) -> Decision:
        situations.append(situation)
        return choose(wants[-1])(situation)

    with OffloadPipeline(
        OffloadSettings(deadline_ms=5000), SIZE, 25.0, relayed(port, 10), decide=opinion,
        request_keyframe=camera.request_keyframe,
    ) as robot:  # fmt: skip
        until_connected(robot)
        uplink = robot._uplink
        uplink._rest_s = 0.2
        counts = server.streams['robot', 'camera', 'offload'].counts
        sequence = 0

        def see_until(true) -> EdgeResult:
            nonlocal sequence
            end_s = time.monotonic() + 30
            while True:
                result = stream(robot, sequence, footage[sequence % 40], camera)
                sequence += 1
                if true(result):
                    return result
                assert time.monotonic() < end_s
                time.sleep(0.02)

        see_until(lambda result: result.provenance.source == 'cloud')
        wants.append('edge')
        see_until(lambda result: uplink.client.resting)
        wait_until(lambda: not uplink.client.status.in_flight)
        before = counts['frames']
        see_until(lambda result: counts['probes'] and robot.link.uplink_capacity_kbps)
        assert counts['frames'] == before
        assert situations[-1].cached is False
        # As soon as an answer has come, what follows a picture is known to be smaller than one that stands alone.
        assert situations[-1].full_bytes_up > min(seen.bytes_up for seen in situations if seen.cached)
        wants.append('cloud')
        first = see_until(lambda result: True)
        assert first.provenance.source == 'local'
        see_until(lambda result: result.provenance.source == 'cloud')


def wait_until(true) -> None:
    end_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize(('uplink', 'bound'), [('bounded', 4), ('lossless', 0)])
def test_the_uplinks_bound_is_its_own_whatever_the_calibration_puts_up_with(
    cloud, relayed, footage, uplink, bound
) -> None:
    server, port = cloud
    settings = OffloadSettings(deadline_ms=20_000, reuse='calibrated', uplink=uplink)
    assert load_model('street-conv', reuse='calibrated').calibration is not None
    with OffloadPipeline(settings, SIZE, 25.0, relayed(port, 10), decide=choose('cloud')) as robot:
        until_connected(robot)
        worst = 0
        for sequence, moved in enumerate(footage[:12]):
            step(robot, sequence, moved)
            held = server.streams['robot', 'camera', 'offload']._receiver._held
            if held is not None and held[0] == sequence:
                sent = scaled(moved.picture, held[2].shape[:2])
                worst = max(worst, int(np.abs(held[2].astype(int) - sent).max()))
    assert worst == bound


def test_what_a_decision_was_made_of_is_in_the_provenance(cloud, relayed, footage, camera) -> None:
    _, port = cloud
    with OffloadPipeline(
        OffloadSettings(), SIZE, 25.0, relayed(port, 10), request_keyframe=camera.request_keyframe
    ) as robot:
        until_connected(robot)
        made = [stream(robot, i, moved, camera).provenance for i, moved in enumerate(footage[:5])]
    assert {p.choice for p in made} <= {'cloud', 'edge'}
    inputs = made[-1].inputs
    assert inputs['bytes_up'] > 0
    assert inputs['propagation_ms'] >= 5
    assert {'edge_ms', 'cloud_ms', 'uplink_kbps', 'cloud_expected_ms', 'edge_expected_ms'} <= set(inputs)


def test_a_cut_is_told_by_a_key_frame_that_looks_like_another_picture(footage) -> None:
    with OffloadPipeline(OffloadSettings(), SIZE, 25.0) as alone:

        def see(sequence, picture, **coded):
            return alone.step(picture, stamp_ns=sequence, sequence=sequence, motion=footage[1].motion, **coded)

        first = footage[0].picture
        see(0, first)
        same = see(1, first, intra_ratio=1.0, keyframe=True)
        other = see(2, 255 - first, intra_ratio=1.0, keyframe=True)
        moved = see(3, 255 - first, intra_ratio=0.5)
    assert [r.provenance.scene_cut for r in (same, other, moved)] == [False, True, True]


@pytest.mark.parametrize('keep_up', [True, False])
def test_the_dispatcher_is_told_the_cameras_period_where_frames_are_lost(keep_up: bool) -> None:
    told: list[float] = []

    def spy(situation: Situation) -> Decision:
        told.append(situation.period_ms)
        return decide(situation)

    with OffloadPipeline(
        OffloadSettings(keep_up=keep_up), SIZE, 25.0, decide=spy, possible=frozenset({'edge', 'local'})
    ) as pipeline:
        image = np.zeros((*SIZE, 3), np.uint8)
        still = MotionField.identity(SIZE)
        pipeline.take(image, stamp_ns=10**9, sequence=0, motion=None)
        pipeline.skip(stamp_ns=10**9 + 40_000_000, sequence=1, motion=still)
        pipeline.take(image, stamp_ns=10**9 + 120_000_000, sequence=3, motion=still)  # the one before it was lost
    assert told == [math.inf, pytest.approx(40.0) if keep_up else math.inf]
