"""Camera, perception and bridge in three processes and in one: the same masks, whatever happens to camera and cloud."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from dedelayed_ros.msg import EncodedFrame, MaskProvenance
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image

from dedelayed_ros.nodes.lifecycle import CHAIN, RELIABLE
from dedelayed_ros.nodes.messages import stamp_ns

SIZE = (272, 640)
FRAMES = 12


class Seen:
    """Masks by frame number but for carried ones, heard as a foreign node with sensor-data QoS would."""

    def __init__(self, observer: Any, namespace: str) -> None:
        self.images = observer.hear(Image, f'{namespace}/image_raw', qos_profile_sensor_data)
        self.masks = observer.hear(Image, f'{namespace}/segmentation/mask', qos_profile_sensor_data)
        self.origins = observer.hear(MaskProvenance, f'{namespace}/segmentation/provenance', RELIABLE)

    def by_sequence(self) -> dict[int, Image]:
        made = [origin for origin in self.origins if origin.source != 'carried']
        sequences = {stamp_ns(origin.header): origin.sequence for origin in made}
        return {sequences[at]: mask for mask in self.masks if (at := stamp_ns(mask.header)) in sequences}


def _states(diagnostics: list[DiagnosticArray], namespace: str, node: str) -> list[Any]:
    name = f'{namespace[1:]}/{node}: status'
    return [status for message in diagnostics for status in message.status if status.name == name]


def _active(diagnostics: list[DiagnosticArray], namespace: str, node: str) -> bool:
    states = _states(diagnostics, namespace, node)
    return bool(states) and {pair.key: pair.value for pair in states[-1].values}['state'] == 'active'


@pytest.mark.timeout(300)
def test_three_processes_and_one_make_the_same_masks_and_survive(observer, start, real_clip: Path, free_port) -> None:
    apart, one = f'{observer.namespace}/apart', f'{observer.namespace}/one'
    nowhere = f'tcp/127.0.0.1:{free_port()}'
    # Slow, so that a busy machine keeps up; a full clip, so that both see frames of the same number.
    clip = {'input': real_clip, 'rate': 4.0}
    diagnostics = observer.hear(DiagnosticArray, '/diagnostics', QoSProfile(depth=50))
    three = Seen(observer, apart)

    perception = start('perception', apart, mode='local', motion_wait_ms=2000.0)
    bridge = start('bridge', apart, endpoint=nowhere)
    observer.until(lambda: _active(diagnostics, apart, 'perception'), 'the perception node', log=perception)
    camera = start('camera', apart, frame_id='front', **clip)

    def joined() -> list[tuple[Image, Image]]:
        images = {stamp_ns(image.header): image for image in three.images}
        return [(images[at], mask) for mask in three.masks if (at := stamp_ns(mask.header)) in images]

    observer.until(lambda: len(three.by_sequence()) >= FRAMES and len(joined()) >= FRAMES // 2, 'masks', log=perception)

    # Each mask is its image's.
    for image, mask in joined():
        assert mask.header == image.header
        assert mask.header.frame_id == 'front'
        assert (mask.height, mask.width, mask.step) == (*SIZE, SIZE[1])
        assert (image.height, image.width, image.step, image.encoding) == (*SIZE, 3 * SIZE[1], 'rgb8')

    # The cloud is nowhere: a status, and no mask is worse for it.
    at = nowhere.removeprefix('tcp/')
    observer.until(
        lambda: [state for state in _states(diagnostics, apart, 'bridge') if at in state.message],
        f'the bridge to say that nobody answers at {at}',
        log=bridge,
    )
    state = _states(diagnostics, apart, 'bridge')[-1]
    values = {pair.key: pair.value for pair in state.values}
    assert state.level == b'\x01'
    assert values['connected'] == 'False'
    assert at in state.message
    assert bridge.process.poll() is None
    taken = {pair.key: pair.value for pair in _states(diagnostics, apart, 'camera')[-1].values}
    assert int(taken['frames due']) >= int(taken['frames taken']) > 0

    # The camera dies without a word and comes back: masks resume.
    camera.stop(signal.SIGKILL)
    before = dict(three.by_sequence())
    three.masks.clear()
    three.origins.clear()
    observer.spin(0.5)
    camera = start('camera', apart, **clip)
    observer.until(lambda: len(three.by_sequence()) >= 3, 'masks of the camera that came back', log=perception)
    for running in (camera, bridge, perception):
        code, seconds = running.stop()
        assert (code, seconds < 3) == (0, True)
        assert 'Traceback' not in running.output

    # The same nodes in one process, without topics between them.
    encoded = observer.node.count_publishers(f'{one}/encoded')
    assert encoded == 0
    together = Seen(observer, one)
    edge = start('edge', one, mode='local', endpoint=nowhere, frame_id='front', **clip)
    observer.until(
        lambda: len(set(before) & set(together.by_sequence())) >= FRAMES // 2, 'masks of the same frames', log=edge
    )
    pictures = observer.hear(EncodedFrame, f'{one}/encoded', CHAIN)
    observer.until(lambda: pictures, 'encoded frames, now that somebody listens', log=edge)
    same = set(before) & set(together.by_sequence())
    masks = [np.frombuffer(before[number].data, np.uint8) for number in sorted(same)]
    for number, mask in zip(sorted(same), masks, strict=True):
        assert np.array_equal(mask, np.frombuffer(together.by_sequence()[number].data, np.uint8))
    assert len({mask.tobytes() for mask in masks}) > 1  # they are not equal for being all the same
    assert 'no motion' not in together.origins[-1].degraded
    code, seconds = edge.stop(signal.SIGTERM)
    assert (code, seconds < 3) == (0, True)
    assert 'Traceback' not in edge.output
