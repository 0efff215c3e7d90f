"""Mode auto over a real cloud: the camera's pictures go up once, or twice where they must, and all have a mask."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dedelayed_ros.cloud import CloudServer, CloudSettings
from dedelayed_ros.dispatch import Decision, Situation
from dedelayed_ros.edge import EdgeSettings
from dedelayed_ros.frames import Frame
from dedelayed_ros.offload import auto
from dedelayed_ros.offload.pipeline import OffloadSettings
from dedelayed_ros.provenance import Provenance
from dedelayed_ros.robot import Robot, RobotSettings

pytestmark = pytest.mark.timeout(120)
SIZE = (64, 96)


@pytest.fixture
def always_cloud(monkeypatch) -> None:
    def decided(situation: Situation) -> Decision:
        choice = 'local' if not situation.connected else 'cloud'
        return Decision(choice, f'always {choice}', (), situation)  # type: ignore[arg-type]

    monkeypatch.setattr(auto, 'decide', decided)


class Seen:
    """What a robot made of the footage, frame by frame."""

    def __init__(self, robot: Robot, footage) -> None:
        self.robot, self.footage = robot, footage
        self.provenance: list[Provenance] = []

    def until(self, true: Callable[[], object], *, wait_s: float = 40.0) -> None:
        end_s = time.monotonic() + wait_s
        while not true():
            assert time.monotonic() < end_s, (self.robot.link, self.provenance[-3:])
            number = len(self.provenance)
            image = self.footage[number % len(self.footage)].picture
            result = self.robot.see(Frame(image, 10**9 + number * 40_000_000, number))
            assert result.mask.shape == SIZE
            assert result.provenance.sequence == number
            self.provenance.append(result.provenance)
            time.sleep(0.02)

    def until_of_cloud(self, number: int = 5) -> list[Provenance]:
        """So many more masks of the cloud in a row; those."""
        begin = len(self.provenance)
        self.until(lambda: [p.source for p in self.provenance[begin:][-number:]] == ['cloud'] * number)
        return self.provenance[-number:]


def settings(port: int, mode: str = 'fused') -> RobotSettings:
    offload = OffloadSettings(deadline_ms=2000)
    return RobotSettings(EdgeSettings(mode=mode), f'127.0.0.1:{port}', 800, offload=offload, auto=True)  # type: ignore[arg-type]


def test_pictures_go_up_once_through_the_death_and_return_of_the_cloud(always_cloud, footage, free_port) -> None:
    port = free_port()
    serve = CloudSettings(listen=(f'127.0.0.1:{port}',), threads=1)
    with Robot(settings(port), SIZE, 25.0) as robot:
        seen = Seen(robot, footage)
        with CloudServer(serve) as server:
            seen.until(lambda: robot.link.pictures == 'asked for')
            for made in seen.until_of_cloud():
                assert made.inputs['added_bytes_up'] == 57
                assert made.inputs['bytes_up'] > 200
                assert made.bytes_up < 5 * 57
            assert robot.link.pictures == 'asked for'
            counts = server.streams['robot', 'camera', 'offload'].counts
            before = counts['frames']
            seen.until_of_cloud(20)
            assert counts['frames'] == before
        seen.until(lambda: seen.provenance[-1].source != 'cloud')
        seen.until(lambda: not robot.link.connected)
        assert robot.link.pictures == ''
        with CloudServer(serve) as server:
            seen.until(lambda: robot.link.pictures == 'asked for')
            seen.until_of_cloud()
            assert robot.link.pictures == 'asked for'
            assert server.streams['robot', 'camera'].counts['frames'] > 0


def test_without_a_stream_of_features_pictures_are_sent_and_that_is_said(always_cloud, footage, free_port) -> None:
    port = free_port()
    with (
        CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), threads=1)),
        Robot(settings(port, 'local'), SIZE, 25.0) as robot,
    ):
        seen = Seen(robot, footage)
        made = seen.until_of_cloud()
        assert all(p.inputs['added_bytes_up'] == p.inputs['bytes_up'] > 200 for p in made)
        assert robot.link.pictures == "sent once more: this cloud does not have the camera's other stream"
