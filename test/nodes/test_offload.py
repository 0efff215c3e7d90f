"""Offload mode in the real nodes: masks of the clip with and without a cloud, and provenance that tells which."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from dedelayed_ros.msg import MaskProvenance
from sensor_msgs.msg import Image

from dedelayed_ros.cloud import CloudServer, CloudSettings, LoadedModel, ServedModel
from dedelayed_ros.link import OffloadHello
from dedelayed_ros.nodes.lifecycle import RELIABLE

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize('uplink', ['h264', 'bounded'])
def test_every_frame_has_a_mask_with_a_choice_of_ends_and_without(
    observer, start, free_port, real_clip, uplink
) -> None:
    port = free_port()
    nothing = ServedModel('none', '', 19, lambda size: (size, (1, 1, 1)), lambda: LoadedModel(lambda hello: None))
    provenance = observer.hear(MaskProvenance, 'segmentation/provenance', RELIABLE)
    masks = observer.hear(Image, 'segmentation/mask', RELIABLE)
    with CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), threads=1), nothing) as server:
        running = start(
            'edge', observer.namespace, input=real_clip, loop=True, width=96, height=64, mode='offload',
            offload_model='street-conv', endpoint=f'tcp/127.0.0.1:{port}', uplink=uplink, robot=uplink,
        )  # fmt: skip
        # The cloud of a test shares the robot's processor and is never faster: that it could be asked is what shows.
        observer.until(lambda: provenance and not provenance[-1].degraded, 'a choice of ends', 60, log=running)
        decided = [origin for origin in provenance if not origin.degraded][-1]
        assert decided.choice in ('cloud', 'edge')
        assert decided.decision
        inputs = dict(zip(decided.input_names, decided.inputs, strict=True))
        assert inputs['bytes_up'] > 0 and inputs['connected'] == 1
        assert isinstance(server.streams[uplink, 'camera', 'offload'].hello, OffloadHello)
        assert decided.source in ('local', 'cloud')
        assert 'plan' in decided.stage_names
    seen = len(provenance)
    observer.until(lambda: len(provenance) > seen + 20, 'masks without a cloud', 30, log=running)
    alone = [origin for origin in provenance if origin.source != 'carried'][-1]  # for which a busy machine had time
    assert alone.source == 'local'
    assert list(alone.degraded) == ['no server is connected']
    assert (masks[-1].height, masks[-1].width) == (64, 96)
    running.stop()


def test_features_and_offloaded_frames_go_side_by_side_in_mode_auto(observer, start, free_port, real_clip) -> None:
    port = free_port()
    provenance = observer.hear(MaskProvenance, 'segmentation/provenance', RELIABLE)
    with CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), threads=1)) as server:
        running = start(
            'edge', observer.namespace, input=real_clip, loop=True, width=96, height=64, mode='auto', robot='auto',
            endpoint=f'tcp/127.0.0.1:{port}',
        )  # fmt: skip
        both = {('auto', 'camera'), ('auto', 'camera', 'offload')}
        observer.until(lambda: both <= set(server.streams), 'both streams', 60, log=running)
        # Features that come between a frame's decision and its mask are used, so that the first may be fused unasked.
        chosen: list[MaskProvenance] = []

        def fused() -> bool:
            chosen[:] = [origin for origin in provenance if origin.source == origin.choice == 'fused']
            return bool(chosen)

        observer.until(fused, 'a fused mask that was chosen', 60, log=running)
        inputs = dict(zip(chosen[-1].input_names, chosen[-1].inputs, strict=True))
        assert inputs['fused_age_ms'] >= 0  # known; none where the answer was there before its frame was taken up
    running.stop()
