"""Each message over real DDS: another process builds it from records, this one reads the same records back."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from dedelayed_ros.msg import EncodedFrame, MaskProvenance, RemoteFeatures

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import EncodedPicture, MotionField
from dedelayed_ros.link import FeatureRecord
from dedelayed_ros.nodes.lifecycle import CHAIN, RELIABLE
from dedelayed_ros.nodes.messages import (
    CodedFrame,
    coded_frame,
    encoded_message,
    feature_record,
    features_message,
    header,
    provenance_message,
    stamp_ns,
)
from dedelayed_ros.provenance import Provenance

STAMP_NS = 1_700_000_000_123_456_789
SENDER = """
import sys, time, rclpy
from dedelayed_ros.nodes.lifecycle import CHAIN, RELIABLE
from dedelayed_ros.nodes.messages import encoded_message, features_message, provenance_message
sys.path.insert(0, sys.argv[1])
import test_messages as records
rclpy.init()
node = rclpy.create_node('sender', namespace=sys.argv[2])
messages = [
    (encoded_message(records.coded()), 'encoded', CHAIN),
    (features_message(records.features(), 'front'), 'remote_features', RELIABLE),
    (provenance_message(records.provenance(), 'front'), 'segmentation/provenance', RELIABLE),
]
publishers = [(node.create_publisher(type(message), topic, qos), message) for message, topic, qos in messages]
while not all(publisher.get_subscription_count() for publisher, _ in publishers):
    time.sleep(0.05)
for publisher, message in publishers:
    publisher.publish(message)
sys.stdin.read()
"""


def coded() -> CodedFrame:
    rng = np.random.default_rng(5)
    qpel = rng.integers(-300, 300, (17, 41, 2), np.int16)
    valid = rng.random((17, 41)) < 0.9
    motion = MotionField((271, 641), qpel, valid)
    picture = EncodedPicture(rng.bytes(70_000), False, (271, 641), motion, 0.25)
    return CodedFrame(2**40 + 7, 2**40 + 5, STAMP_NS, 'front', picture)


def features() -> FeatureRecord:
    values = np.random.default_rng(6).normal(size=(32, 16, 40)).astype(np.float32)
    values[3] = 0
    return FeatureRecord(9, STAMP_NS, values, 120.5, 101.25, 22.5, 15_000, 9_000)


def provenance() -> Provenance:
    return Provenance(
        sequence=11,
        stamp_ns=STAMP_NS,
        source='local',
        compute_ratio=0.5,
        recompute_ratio=0.25,
        bytes_up=3,
        bytes_down=4,
        stages_ms={'wait': 1.5, 'model': 12.25},
        latency_ms=30.5,
        scene_cut=True,
        degraded=('no motion',),
    )


@pytest.mark.timeout(100)
def test_every_message_arrives_from_another_process_as_it_was(observer, process_env: dict[str, str]) -> None:
    encoded = observer.hear(EncodedFrame, 'encoded', CHAIN)
    remote = observer.hear(RemoteFeatures, 'remote_features', RELIABLE)
    origins = observer.hear(MaskProvenance, 'segmentation/provenance', RELIABLE)
    command = [sys.executable, '-c', SENDER, str(__file__).rsplit('/', 1)[0], observer.namespace]
    with subprocess.Popen(command, env=process_env, stdin=subprocess.PIPE) as sender:
        try:
            observer.until(lambda: encoded and remote and origins, 'the three messages')
        finally:
            sender.kill()

    assert coded_frame(encoded[0]) == coded()
    assert encoded[0].codec == 'h264'
    assert (encoded[0].width, encoded[0].height) == (641, 271)

    sent, received = features(), feature_record(remote[0])
    assert (received.sequence, received.stamp_ns) == (9, STAMP_NS)
    assert (received.predicted_delay_ms, received.round_trip_ms, received.server_ms) == (120.5, 101.25, 22.5)
    assert (received.bytes_up, received.bytes_down) == (15_000, 9_000)
    assert np.abs(received.features - sent.features).max() < 0.05
    assert not received.features[3].any()
    assert remote[0].header.frame_id == 'front'

    origin = origins[0]
    assert stamp_ns(origin.header) == STAMP_NS
    assert (origin.sequence, origin.source, origin.scene_cut) == (11, 'local', True)
    assert math.isnan(origin.remote_age_ms)
    assert math.isnan(origin.predicted_delay_ms)
    assert dict(zip(origin.stage_names, origin.stage_ms, strict=True)) == {'wait': 1.5, 'model': 12.25}
    assert (origin.compute_ratio, origin.recompute_ratio, origin.latency_ms) == (0.5, 0.25, 30.5)
    assert (origin.bytes_up, origin.bytes_down, origin.degraded) == (3, 4, ['no motion'])


def test_stamps_survive_the_way_through_a_header() -> None:
    for value in (0, 1, 999_999_999, 10**9, STAMP_NS):
        assert stamp_ns(header(value, '')) == value


def test_numbers_of_a_fused_mask_are_kept() -> None:
    message = provenance_message(Provenance(1, STAMP_NS, 'fused', remote_age_ms=80.0, predicted_delay_ms=90.0), 'x')
    assert (message.source, message.remote_age_ms, message.predicted_delay_ms) == ('fused', 80.0, 90.0)


def test_damaged_messages_are_refused() -> None:
    message = encoded_message(coded())
    message.codec = 'hevc'
    with pytest.raises(InputError, match="'hevc'; expected h264"):
        coded_frame(message)
    message = encoded_message(coded())
    message.motion = message.motion[:-3]
    with pytest.raises(InputError):
        coded_frame(message)
    message = encoded_message(coded())
    message.width = 320
    with pytest.raises(InputError, match='motion for'):
        coded_frame(message)
    remote = features_message(features(), 'front')
    remote.data = remote.data[:-1]
    with pytest.raises(InputError, match='damaged'):
        feature_record(remote)
    remote = features_message(features(), 'front')
    remote.width = 39
    with pytest.raises(InputError, match='39'):
        feature_record(remote)
