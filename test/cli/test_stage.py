from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dedelayed_ros.cli.ros import RosInstall
from dedelayed_ros.cli.stage import Plan, RosRobot
from dedelayed_ros.errors import InputError


def plan(**changes: Any) -> Plan:
    told: dict[str, Any] = {
        'input': 'clip.mp4', 'rate': 25.0, 'seconds': 20.0, 'mode': 'fused', 'model': 'street-v2', 'rtt_ms': 100.0,
        'out': Path('out'),
    }  # fmt: skip
    return Plan(**{**told, **changes})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'seconds': 0.0}, '--seconds is 0'),
        ({'seconds': float('nan')}, '--seconds is nan'),
        ({'rtt_ms': -5.0}, '--rtt-ms is -5'),
        ({'trace': 'slow'}, "trace is 'slow'"),
        ({'rate_mbps': 0.0}, '--rate-mbps is 0'),
        ({'rate_mbps': float('nan')}, '--rate-mbps is nan'),
        ({'restart_cloud_at': 3.0}, 'needs --kill-cloud-at'),
        ({'kill_cloud_at': 25.0}, '--kill-cloud-at is 25'),
        ({'kill_cloud_at': 5.0, 'restart_cloud_at': 4.0}, '--restart-cloud-at is 4'),
        ({'kill_cloud_at': 5.0, 'mode': 'local'}, 'there is no cloud'),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(**changes)


def test_three_nodes_or_one_with_the_same_parameters() -> None:
    install = RosInstall(Path('/ws'), None)
    three = RosRobot(install, domain=1)._nodes(plan(), 'tcp/127.0.0.1:1')
    assert list(three) == ['recorder', 'camera', 'perception', 'bridge']
    one = RosRobot(install, composed=True, domain=1)._nodes(plan(), 'tcp/127.0.0.1:1')
    assert list(one) == ['recorder', 'edge']
    assert one['edge'] == {**three['camera'], **three['perception'], **three['bridge']}


def test_a_camera_may_be_told_to_send_what_it_likes() -> None:
    for adapt in (True, False):
        nodes = RosRobot(RosInstall(Path('/ws'), None), domain=1)._nodes(plan(adapt_bitrate=adapt), 'tcp/127.0.0.1:1')
        assert nodes['camera']['adapt_bitrate'] == str(adapt).lower()


def test_local_mode_has_no_bridge() -> None:
    nodes = RosRobot(RosInstall(Path('/ws'), None), domain=1)._nodes(plan(mode='local'), None)
    assert list(nodes) == ['recorder', 'camera', 'perception']
    assert nodes['perception']['mode'] == 'local'


def test_offloading_is_perceptions_own_link() -> None:
    install, endpoint = RosInstall(Path('/ws'), None), 'tcp/127.0.0.1:1'
    nodes = RosRobot(install, domain=1)._nodes(plan(mode='offload', uplink='bounded'), endpoint)
    assert list(nodes) == ['recorder', 'camera', 'perception']
    assert nodes['perception'] == {
        'mode': 'offload', 'model': 'street-v2', 'threads': 1, 'endpoint': endpoint, 'offload_model': 'street-conv',
        'uplink': 'bounded',
    }  # fmt: skip
    both = RosRobot(install, domain=1)._nodes(plan(mode='auto'), endpoint)
    assert both['bridge'] == {'endpoint': endpoint, 'model': 'street-v2', 'mode': 'auto'}
    assert both['perception']['endpoint'] == endpoint
