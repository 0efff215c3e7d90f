"""Offload mode from camera to mask, over a real cloud and a relay: no frame without a mask, and it says whose it is."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dedelayed_ros.cloud import CloudServer, CloudSettings, ServedModel
from dedelayed_ros.dispatch import Decision, Situation
from dedelayed_ros.edge import EdgeResult
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import Frame
from dedelayed_ros.link import LinkSettings
from dedelayed_ros.offload.pipeline import OffloadPipeline, OffloadSettings
from dedelayed_ros.robot import Robot, RobotSettings
from dedelayed_ros.sim.relay import Relay, RelaySettings

pytestmark = pytest.mark.timeout(90)
SIZE = (64, 96)


def no_features() -> ServedModel:
    return ServedModel('none', '', 19, lambda size: (size, (1, 1, 1)), lambda: lambda hello: None)  # type: ignore[return-value]


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


def test_each_frame_gets_the_edges_mask_through_delay_and_death(cloud, relayed, footage) -> None:
    server, port = cloud
    settings = OffloadSettings(deadline_ms=2000)
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

    with OffloadPipeline(OffloadSettings(deadline_ms=30), SIZE, 25.0, relayed(port, 300), decide=always) as pipeline:
        until_connected(pipeline)
        results = [step(pipeline, i, moved) for i, moved in enumerate(footage[:6])]
    assert [r.provenance.source for r in results] == ['local'] * 6
    said = [r.provenance.degraded[-1] for r in results]
    assert said[0] == 'no mask of the cloud within 30 ms'
    assert 'the uplink is busy with earlier frames' in said
    assert situations[0].cached is False
    assert situations[0].edge_ratio == 1.0
    assert situations[0].propagation_ms >= 150
    assert situations[1].cached
    assert situations[1].bytes_up > 0


def test_without_a_cloud_everything_is_local(footage) -> None:
    with Robot(RobotSettings(offload=OffloadSettings()), SIZE, 25.0) as robot:
        provenance = [robot.see(Frame(m.picture, i, i)).provenance for i, m in enumerate(footage[:3])]
    assert [p.source for p in provenance] == ['local'] * 3
    assert all(p.degraded == () and p.decision == '' for p in provenance)


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match='deadline_ms is 0'):
        OffloadPipeline(OffloadSettings(deadline_ms=0), SIZE, 25.0)
    with pytest.raises(InputError, match='4x4 pixels'):
        OffloadPipeline(OffloadSettings(), (4, 4), 25.0)
