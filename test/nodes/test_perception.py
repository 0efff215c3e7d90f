"""The perception node alone, with the test as its camera: masks of every encoding and size, with and without motion."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from dedelayed_ros.msg import EncodedFrame, MaskProvenance, RemoteFeatures
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.clock import Clock
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from dedelayed_ros.carried_mask import CarriedMask
from dedelayed_ros.frames import EncoderSettings, H264Encoder
from dedelayed_ros.greeting import link_shape
from dedelayed_ros.link import FeatureRecord
from dedelayed_ros.models import model_sizes, zoo
from dedelayed_ros.nodes.images import octets, to_image, to_rgb
from dedelayed_ros.nodes.lifecycle import CHAIN, RELIABLE
from dedelayed_ros.nodes.messages import CodedFrame, encoded_message, features_message, header, stamp_ns


@pytest.fixture(scope='module')
def perception(observer, start) -> Any:
    """A running perception node, all its topics heard, and an image publisher of the test's."""
    running = start('perception', observer.namespace, dtype='float32', motion_wait_ms=5000.0)
    topics = {
        name: observer.hear(Image, f'segmentation/{name}') for name in ('mask', 'confidence', 'color_mask', 'overlay')
    }
    topics['provenance'] = observer.hear(MaskProvenance, 'segmentation/provenance', RELIABLE)
    images = observer.node.create_publisher(Image, 'image_raw', qos_profile_sensor_data)
    observer.until(images.get_subscription_count, 'the perception node', log=running)
    # Until it is active it takes no images.
    observer.until(lambda: _lifecycle_state(observer) == State.PRIMARY_STATE_ACTIVE, 'activation', log=running)
    observer.spin(0.5)

    def send(image: Image) -> dict[str, Any]:
        """Publish an image; the messages that came for it."""
        images.publish(image)
        stamp = stamp_ns(image.header)

        def found() -> dict[str, Any]:
            return {
                name: message
                for name, heard in topics.items()
                for message in heard
                if stamp_ns(message.header) == stamp
            }

        observer.until(lambda: len(found()) == len(topics), f'masks of {image.width}x{image.height}', 30, log=running)
        return found()

    send.running = running
    send.topics = topics
    return send


def _lifecycle_state(observer) -> int:
    return observer.call(GetState, 'perception/get_state', GetState.Request()).current_state.id


def _now_ns() -> int:
    return Clock().now().nanoseconds


def _as_bgra(picture: np.ndarray) -> Image:
    message = to_image(picture, header(_now_ns(), 'front'), 'rgb8')
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    rows = np.concatenate([picture[..., ::-1], alpha], 2).reshape(picture.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, 12)))
    message.encoding, message.step, message.data = 'bgra8', padded.shape[1], octets(padded.tobytes())
    return message


@pytest.mark.timeout(200)
@pytest.mark.parametrize(('height', 'width'), [(271, 641), (272, 640), (33, 47)])
def test_a_mask_has_the_stamp_frame_and_size_of_its_image_whatever_the_size(
    perception, picture: Callable[[int, int, int], np.ndarray], height: int, width: int
) -> None:
    stamp = _now_ns()
    image = picture(2, height, width)
    got = perception(to_image(image, header(stamp, 'front_left'), 'rgb8'))
    for name, message in got.items():
        assert stamp_ns(message.header) == stamp
        assert message.header.frame_id == 'front_left'
        if name != 'provenance':
            colour = name in ('color_mask', 'overlay')
            assert (message.height, message.width) == (height, width)
            assert message.encoding == ('rgb8' if colour else 'mono8')
            assert message.step == width * (3 if colour else 1)
            assert len(message.data) == message.step * height
    mask = to_rgb(got['mask'])[..., 0]
    palette = zoo.entry(zoo.DEFAULT).labels.palette
    assert mask.max() < 19
    assert np.array_equal(to_rgb(got['color_mask']), palette[mask])
    expected = (image.astype(int) + palette[mask]) / 2
    assert np.abs(to_rgb(got['overlay']) - expected).max() <= 1

    origin = got['provenance']
    assert origin.source == 'local'
    assert 0 < origin.latency_ms < 60_000
    assert origin.stage_names[0] == 'wait for motion'
    assert dict(zip(origin.stage_names, origin.stage_ms, strict=True))['model'] > 0
    assert np.isnan(origin.remote_age_ms)


@pytest.mark.timeout(100)
def test_colour_orders_and_gray_give_the_masks_of_the_same_picture(
    perception, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    image = picture(3, 120, 161)
    plain = perception(to_image(image, header(_now_ns(), 'a'), 'rgb8'))['mask']
    bgra = perception(_as_bgra(image))['mask']
    assert bgra.data == plain.data
    gray = image[..., 1]
    as_colour = perception(to_image(np.repeat(gray[..., None], 3, 2), header(_now_ns(), 'a'), 'rgb8'))['mask']
    as_gray = perception(to_image(gray, header(_now_ns(), 'a'), 'mono8'))['mask']
    assert as_gray.data == as_colour.data


@pytest.mark.timeout(100)
def test_without_anybody_who_encodes_masks_say_that_motion_is_missing(
    perception, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    perception(to_image(picture(4, 96, 128), header(_now_ns(), 'a'), 'rgb8'))
    origin = perception(to_image(picture(4, 96, 128), header(_now_ns(), 'a'), 'rgb8'))['provenance']
    assert 'no motion' in origin.degraded
    waited = dict(zip(origin.stage_names, origin.stage_ms, strict=True))['wait for motion']
    assert waited < 1000  # of the 5 s that it would wait for motion


@pytest.mark.timeout(100)
def test_an_encoding_that_nobody_knows_is_told_once_and_the_next_image_works(
    observer, perception, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    strange = to_image(picture(5, 96, 128), header(_now_ns(), 'a'), 'rgb8')
    strange.encoding = '32FC3'
    images = observer.node.create_publisher(Image, 'image_raw', qos_profile_sensor_data)
    observer.until(images.get_subscription_count, 'the subscription')
    for _ in range(3):
        images.publish(strange)
        observer.spin(0.1)
    perception(to_image(picture(5, 96, 128), header(_now_ns(), 'a'), 'rgb8'))
    observer.until(lambda: "'32FC3'" in perception.running.output, 'the message')
    assert perception.running.output.count("'32FC3'") == 1
    observer.node.destroy_publisher(images)


@pytest.mark.timeout(100)
def test_features_of_an_earlier_frame_are_fused_when_its_motion_is_known(
    observer, perception, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    size = (272, 640)
    encoder = H264Encoder(EncoderSettings(size=size))
    encoded = observer.node.create_publisher(EncodedFrame, 'encoded', CHAIN)
    features = observer.node.create_publisher(RemoteFeatures, 'remote_features', RELIABLE)
    observer.until(lambda: encoded.get_subscription_count() and features.get_subscription_count(), 'subscriptions')
    observer.spin(0.5)  # and the node sees within 0.2 s that somebody encodes
    start_ns = _now_ns()
    origins = []
    for number in range(4):
        stamp = start_ns + number * 40_000_000
        image = np.roll(picture(6, *size), 3 * number, axis=1)
        coded = CodedFrame(number, max(number - 1, 0), stamp, 'a', encoder.encode(image))
        encoded.publish(encoded_message(coded))
        if number == 2:
            shape = link_shape(zoo.entry(zoo.DEFAULT), model_sizes(size))
            values = np.rint(3 * np.random.default_rng(0).normal(size=shape)).astype(np.float32)
            record = FeatureRecord(1, start_ns + 40_000_000, values, 77.0, 50.0, 20.0, 1234, 567)
            features.publish(features_message(record, 'a'))
            observer.spin(0.3)
        origins.append(perception(to_image(image, header(stamp, 'a'), 'rgb8'))['provenance'])
    observer.node.destroy_publisher(encoded)
    observer.node.destroy_publisher(features)
    encoder.close()

    assert [(origin.scene_cut, list(origin.degraded)) for origin in origins[2:]] == [(False, [])] * 2
    assert [origin.source for origin in origins] == ['local', 'local', 'fused', 'fused']
    assert [origin.sequence for origin in origins] == [0, 1, 2, 3]
    assert [round(origin.remote_age_ms) for origin in origins[2:]] == [40, 80]
    assert origins[2].predicted_delay_ms == 77.0
    assert [(origin.bytes_up, origin.bytes_down) for origin in origins[2:]] == [(1234, 567), (0, 0)]


@pytest.mark.timeout(100)
def test_images_that_there_was_no_time_for_have_the_mask_before_them_moved(
    observer, perception, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    size = (96, 128)
    encoder = H264Encoder(EncoderSettings(size=size))
    encoded = observer.node.create_publisher(EncodedFrame, 'encoded', CHAIN)
    observer.until(encoded.get_subscription_count, 'subscription')
    observer.spin(0.5)  # and the node sees within 0.2 s that somebody encodes
    start_ns = _now_ns()
    stamps = [start_ns + number * 40_000_000 for number in range(5)]
    pictures = [np.roll(picture(8, *size), 4 * number, axis=1) for number in range(5)]
    coded = [encoder.encode(image) for image in pictures]
    encoder.close()
    before = len(perception.topics['provenance'])

    def tell(number: int) -> None:
        frame = CodedFrame(number, max(number - 1, 0), stamps[number], 'a', coded[number])
        encoded.publish(encoded_message(frame))

    tell(0)
    first = perception(to_image(pictures[0], header(stamps[0], 'a'), 'rgb8'))
    for number in range(1, 5):
        tell(number)
    last = perception(to_image(pictures[4], header(stamps[4], 'a'), 'rgb8'))
    observer.node.destroy_publisher(encoded)

    heard = {name: [m for m in perception.topics[name] if stamp_ns(m.header) in stamps] for name in perception.topics}
    assert [stamp_ns(m.header) for m in heard['mask']] == stamps, 'a mask for each, in their order'
    assert [stamp_ns(m.header) for m in heard['confidence']] == stamps
    origins = perception.topics['provenance'][before:]
    assert [origin.source for origin in origins] == ['local', 'carried', 'carried', 'carried', 'local']
    assert [origin.sequence for origin in origins] == [0, 1, 2, 3, 4]
    assert all('no time' in origin.degraded[0] and origin.compute_ratio == 0 for origin in origins[1:4])
    assert 'carried' not in (first['provenance'].source, last['provenance'].source)
    carried = CarriedMask()
    carried.put(*(to_rgb(first[name])[..., 0] for name in ('mask', 'confidence')), stamps[0])
    for number in range(1, 4):
        moved = carried.move(coded[number].motion, stamps[number])
        assert moved is not None
        assert np.array_equal(to_rgb(heard['mask'][number])[..., 0], moved[0])
        assert np.array_equal(to_rgb(heard['confidence'][number])[..., 0], moved[1])
        assert not np.array_equal(moved[0], to_rgb(first['mask'])[..., 0]), 'the picture moved'


@pytest.mark.timeout(150)
def test_it_goes_through_its_lifecycle_again_and_again(
    observer, perception, picture: Callable[[int, int, int], np.ndarray]
) -> None:
    steps = [
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
    ]
    client = observer.node.create_client(ChangeState, 'perception/change_state')
    observer.until(client.service_is_ready, 'the lifecycle service')
    for _ in range(3):
        for transition, state in steps:
            request = ChangeState.Request()
            request.transition.id = transition
            future = client.call_async(request)
            observer.until(future.done, f'transition {transition}', log=perception.running)
            assert future.result().success
            assert _lifecycle_state(observer) == state
            if state == State.PRIMARY_STATE_INACTIVE:
                before = len(perception.topics['mask'])
                observer.spin(0.1)
                assert len(perception.topics['mask']) == before
    observer.spin(1.0)  # topics find each other again
    perception(to_image(picture(7, 96, 128), header(_now_ns(), 'again'), 'rgb8'))
    code, seconds = perception.running.stop()
    assert code == 0
    assert seconds < 3
    assert 'Traceback' not in perception.running.output


@pytest.mark.timeout(150)
@pytest.mark.skipif(find_spec('pycuda') is not None, reason='PyCUDA is installed: there may be a GPU')
def test_without_pycuda_device_cuda_says_what_is_missing(observer, start) -> None:
    """The node does not go on as another one than was asked for: it ends, as with any setting that cannot be used."""
    running = start('perception', f'{observer.namespace}/gpu', device='cuda', motion_wait_ms=0.0)
    assert running.process.wait(120) == 2
    assert "backend 'cuda' cannot run this plan: PyCUDA is not installed" in running.output
    assert 'Traceback' not in running.output
