"""The camera node in a process of its own: what comes out of a topic, a clip, and of what is no clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from dedelayed_ros.msg import EncodedFrame
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from PIL import Image as Picture
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Float32
from std_srvs.srv import Trigger

from dedelayed_ros.frames import H264Decoder
from dedelayed_ros.nodes.images import to_image
from dedelayed_ros.nodes.lifecycle import CHAIN, LATCHED
from dedelayed_ros.nodes.messages import coded_frame, header


@pytest.mark.timeout(150)
def test_a_topic_is_encoded_with_the_stamps_and_frame_id_of_its_images(
    observer, start, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    camera = start('camera', observer.namespace, input='ros')
    encoded = observer.hear(EncodedFrame, 'encoded', CHAIN)
    raw = observer.hear(Image, 'image_raw')
    publisher = observer.node.create_publisher(Image, 'image_in', qos_profile_sensor_data)
    observer.until(
        lambda: publisher.get_subscription_count() and observer.node.count_publishers(f'{observer.namespace}/encoded'),
        'the camera',
        log=camera,
    )
    observer.spin(0.5)

    sent = {}
    for number in range(12):
        if number == 8:
            response = observer.call(Trigger, 'camera/request_keyframe', Trigger.Request())
            assert response.success, response.message
        stamp = 5_000_000_000 + number * 40_000_000
        sent[stamp] = np.roll(picture(1, 271, 641), 4 * number, axis=1)
        publisher.publish(to_image(sent[stamp], header(stamp, 'front'), 'rgb8'))
        count = len(encoded)
        observer.until(lambda count=count: len(encoded) > count, f'encoded frame {number}', log=camera)

    frames = [coded_frame(message) for message in encoded]
    assert [frame.stamp_ns for frame in frames] == list(sent)
    assert {frame.frame_id for frame in frames} == {'front'}
    assert [frame.sequence for frame in frames] == list(range(12))
    assert [frame.picture.keyframe for frame in frames] == [number in (0, 8) for number in range(12)]
    assert [frame.reference for frame in frames] == [0, 0, 1, 2, 3, 4, 5, 6, 8, 8, 9, 10]
    decoder = H264Decoder()
    for frame in frames:
        image = decoder.decode(frame.picture.data, frame.picture.size)
        assert image.shape == (271, 641, 3)
        assert np.abs(image.astype(int) - sent[frame.stamp_ns]).mean() < 12
    # The picture moves 4 pixels to the right: 16 quarter pixels, in most blocks.
    assert np.median(frames[5].picture.motion.qpel[..., 0]) == 16
    assert raw == []

    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=600)
    results = observer.call(
        SetParameters,
        'camera/set_parameters',
        SetParameters.Request(
            parameters=[Parameter(name='bitrate_kbps', value=value), Parameter(name='gop', value=value)]
        ),
    ).results
    assert results[0].successful
    assert not results[1].successful
    assert 'unconfigured' in results[1].reason
    code, seconds = camera.stop()
    assert code == 0
    assert seconds < 3
    assert 'Traceback' not in camera.output


@pytest.mark.timeout(120)
def test_a_folder_ends_the_process_when_it_is_told_to_and_a_missing_one_says_what_to_do(
    observer, start, tmp_path: Path, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    for number in range(3):
        Picture.fromarray(picture(number, 64, 96)).save(tmp_path / f'{number}.png')
    diagnostics = observer.hear(DiagnosticArray, '/diagnostics', QoSProfile(depth=20))
    short = start('camera', observer.namespace, input=tmp_path, rate=2.0, exit_at_end=True, sepeed=3, bitrat_kbps=3)
    missing = start('camera', f'{observer.namespace}/missing', input='/nowhere/clip.mp4')
    wrong = start('camera', f'{observer.namespace}/wrong', input=tmp_path, gop=0)
    codes = [short.process.wait(60), missing.process.wait(60), wrong.process.wait(60)]
    assert codes == [0, 2, 2], (short.output, missing.output, wrong.output)
    observer.spin(0.2)

    assert "no parameter 'bitrat_kbps', it is ignored: did you mean 'bitrate_kbps'?" in short.output
    assert 'is at its end after 3 frames' in short.output
    assert missing.output.count('/nowhere/clip.mp4') == 1
    assert 'the parameter gop is 0; expected a whole number from 1 to 100000' in wrong.output
    for one in (short, missing, wrong):
        assert 'Traceback' not in one.output
    states = [status for message in diagnostics for status in message.status if '/missing/' in status.name]
    assert all(status.level == b'\x02' and '/nowhere/clip.mp4' in status.message for status in states)


@pytest.mark.timeout(120)
def test_a_camera_that_is_not_there_is_waited_for(observer, start) -> None:
    diagnostics = observer.hear(DiagnosticArray, '/diagnostics', QoSProfile(depth=20))
    namespace = f'{observer.namespace}/absent'
    camera = start('camera', namespace, input='/dev/video99', retry_s=0.2)

    def states() -> list[DiagnosticStatus]:
        return [one for message in diagnostics for one in message.status if one.name.startswith(namespace[1:])]

    observer.until(lambda: any(status.level == b'\x02' for status in states()), 'an error', log=camera)
    observer.spin(1.5)
    assert camera.process.poll() is None
    assert '/dev/video99' in states()[-1].message
    assert camera.output.count('[ERROR]') == 1


@pytest.mark.timeout(150)
def test_it_encodes_at_less_where_the_uplink_carries_less(observer, start, real_clip: Path) -> None:
    namespace = f'{observer.namespace}/limited'
    diagnostics = observer.hear(DiagnosticArray, '/diagnostics', QoSProfile(depth=20))
    encoded = observer.hear(EncodedFrame, f'{namespace}/encoded', CHAIN)
    limits = observer.node.create_publisher(Float32, f'{namespace}/uplink_limit', LATCHED)
    limits.publish(Float32(data=600.0))  # before there is a camera
    camera = start('camera', namespace, input=real_clip, loop=True, gop=100_000)

    def sent_kbps(seconds: float) -> float:
        observer.spin(1.0)
        first = len(encoded)
        observer.spin(seconds)
        return sum(len(message.data) for message in encoded[first:]) * 8e-3 / seconds

    def target() -> list[str]:
        states = [one for message in diagnostics for one in message.status if one.name.startswith(namespace[1:])]
        return [pair.value for pair in states[-1].values if pair.key == 'bitrate target kbit/s'] if states else []

    observer.until(lambda: len(encoded) > 25, 'encoded frames', log=camera)
    assert sent_kbps(2.0) < 1000
    observer.until(lambda: [float(text) for text in target()] == [600.0], 'the target in the diagnostics', log=camera)
    limits.publish(Float32(data=math.inf))
    assert sent_kbps(2.0) > 2000
    limits.publish(Float32(data=0.0))
    complaint = 'uplink_limit says 0.0 kbit/s; expected 10.0 or more'
    observer.until(lambda: complaint in camera.output, 'a complaint', log=camera)
    limits.publish(Float32(data=500.0))
    assert sent_kbps(2.0) < 900
    value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=False)
    request = SetParameters.Request(parameters=[Parameter(name='adapt_bitrate', value=value)])
    assert observer.call(SetParameters, f'{namespace}/camera/set_parameters', request).results[0].successful
    assert sent_kbps(2.0) > 2000
    assert {message.keyframe for message in encoded[1:]} == {False}
