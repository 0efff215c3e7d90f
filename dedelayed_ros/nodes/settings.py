"""What can be set on each node: one frozen dataclass a node, each field with its description, range and default.

These are the declared ROS parameters and nothing else; `table()` of :mod:`dedelayed_ros.nodes.parameters` prints them
for the README. A name means the same on every node that has it, so that one parameter file or one ``-p`` can serve the
three nodes of one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dedelayed_ros.models.zoo import DEFAULT
from dedelayed_ros.nodes.parameters import parameter

_MODE = (
    "'fused' adds the cloud's features while they are fresh, 'local' never does; 'offload' runs one model on robot and "
    "cloud, each frame on one of them, over perception's own link instead of the bridge's; 'auto' chooses from all of "
    'these for each frame'
)
_ENDPOINT = "the cloud's Zenoh endpoint, 'tcp/HOST:PORT'; empty: no cloud"
_ROBOT = 'name of this robot; robots that share a cloud need different ones'
_CAMERA = 'name of this camera; cameras of one robot need different ones'
_CAMERA_NODE = 'name of the camera node, whose service ~/request_keyframe is called'
_LEAST = 'to less than this the camera is never limited, however little the uplink carries (kbit/s)'
_ZENOH = 'a Zenoh configuration file (certificates, access control); see config/zenoh'


@dataclass(frozen=True)
class CommonSettings:
    """What every node has."""

    autostart: bool = parameter(
        True, 'configure and activate at start; without it the node waits for lifecycle transitions', change='never'
    )


@dataclass(frozen=True)
class CameraSettings(CommonSettings):
    """The camera node."""

    input: str = parameter(
        '/dev/video0',
        "where frames come from: a video file, a folder of images, a device (/dev/video0, 'device:FORMAT:NAME'), the "
        "simulated street ('street:SEED'), or 'ros' for the image topic `image_in`",
    )
    loop: bool = parameter(False, 'begin a file or folder again at its end')
    pace: Literal['own', 'fast'] = parameter('own', "a file's own rate, or as fast as it can be read")
    width: int = parameter(0, "scale frames to this width in pixels; 0: the source's own", low=0, high=8192)
    height: int = parameter(0, "scale frames to this height in pixels; 0: the source's own", low=0, high=8192)
    rate: float = parameter(0.0, "frames per second to take; 0: the source's own", low=0.0, high=1000.0)
    frame_id: str = parameter('camera', 'frame_id of the headers; images of a topic keep theirs')
    encoder: str = parameter('libx264', "FFmpeg's H.264 encoder, for example h264_nvenc, h264_vaapi, h264_v4l2m2m")
    preset: str = parameter('ultrafast', "libx264's speed, ultrafast to veryslow")
    bitrate_kbps: int = parameter(4000, 'target of the encoder in kbit/s', low=10, high=500_000, change='any')
    adapt_bitrate: bool = parameter(
        True, 'encode at less where the uplink carries less, as its `uplink_limit` says', change='any'
    )
    gop: int = parameter(300, 'frames from one key frame to the next', low=1, high=100_000)
    retry_s: float = parameter(2.0, 'seconds between attempts to open a lost source', low=0.1, high=3600.0)
    exit_at_end: bool = parameter(False, 'end the process at the end of a source that does not loop')


@dataclass(frozen=True)
class PerceptionSettings(CommonSettings):
    """The perception node."""

    mode: Literal['fused', 'local', 'offload', 'auto'] = parameter('fused', _MODE)
    model: str = parameter(
        DEFAULT, "name of a model of the zoo, or the path of an exported entry (.json); of all modes but 'offload'"
    )
    offload_model: str = parameter(
        'street-conv', "the same of the model that robot and cloud both run in modes 'offload' and 'auto'"
    )
    staleness_s: float = parameter(
        0.0,
        'remote features older than this are not used (s); 0: the age from which they no longer help this model',
        low=0.0,
        high=10.0,
    )
    mask_size: Literal['camera', 'model'] = parameter('camera', "masks at the camera's size or at the local model's")
    threads: int = parameter(1, 'threads that the model computes with', low=1, high=256)
    dtype: Literal['auto', 'float32', 'bfloat16'] = parameter(
        'auto',
        "number format of the model; 'auto' is bfloat16 where the processor multiplies it natively; always float32 for "
        'frames that are offloaded otherwise than as h264',
    )
    reuse: Literal['calibrated', 'exact', 'off'] = parameter(
        'exact',
        'what the model takes over from the frame before: within the accuracy that its calibration gives up, only what '
        'is exactly the same, or nothing',
    )
    device: Literal['cpu', 'cuda'] = parameter(
        'cpu', "where the model computes: 'cuda' is a GPU, through the sparse engine (see docs/cuda.md)"
    )
    scene_cut_ratio: float = parameter(
        0.45, 'share of blocks without a motion vector from which a frame counts as another scene', low=0.0, high=1.0
    )
    endpoint: str = parameter('', _ENDPOINT)
    robot: str = parameter('robot', _ROBOT)
    camera: str = parameter('camera', _CAMERA)
    zenoh_config: str = parameter('', _ZENOH)
    uplink: Literal['h264', 'lossless', 'bounded'] = parameter(
        'h264',
        "how frames are offloaded: as the camera's own H.264, or as what differs from the picture that the cloud "
        'holds, without loss or within uplink_bound',
    )
    uplink_bound: int = parameter(
        4, "grey levels (of 255) by which a pixel may be off with uplink 'bounded'", low=0, high=127
    )
    camera_node: str = parameter('camera', _CAMERA_NODE)
    min_bitrate_kbps: int = parameter(500, _LEAST, low=10, high=500_000)
    deadline_ms: float = parameter(
        250.0,
        "in modes 'offload' and 'auto': by when a mask is wanted, the cloud's or, begun in time, the robot's own (ms)",
        low=1.0,
        high=10_000.0,
    )
    motion_wait_ms: float = parameter(
        100.0,
        'how long an image waits for its motion on `encoded`; without it, features of earlier frames are dropped (ms)',
        low=0.0,
        high=10_000.0,
        change='any',
    )
    queue: int = parameter(
        3, 'images that may wait; with more all but the newest are dropped', low=1, high=100, change='any'
    )
    carry_masks: bool = parameter(
        True,
        'whether an image that there is no time for gets the mask before it, moved by the motion; provenance says so',
        change='any',
    )
    overlay_alpha: float = parameter(
        0.5, 'weight of the colours in `segmentation/overlay`', low=0.0, high=1.0, change='any'
    )


@dataclass(frozen=True)
class BridgeSettings(CommonSettings):
    """The cloud bridge."""

    mode: Literal['fused', 'local', 'offload', 'auto'] = parameter('fused', _MODE)
    endpoint: str = parameter('', _ENDPOINT)
    robot: str = parameter('robot', _ROBOT)
    camera: str = parameter('camera', _CAMERA)
    model: str = parameter(DEFAULT, 'the model that perception runs; the cloud must have the same')
    zenoh_config: str = parameter('', _ZENOH)
    camera_node: str = parameter('camera', _CAMERA_NODE)
    min_bitrate_kbps: int = parameter(500, _LEAST, low=10, high=500_000)
    max_in_flight: int = parameter(
        12, 'frames sent and not yet acknowledged; with more, frames are dropped until a key frame', low=1, high=1000
    )
    delay_quantile: float = parameter(
        0.9, 'which quantile of recent delays the cloud is told to predict for', low=0.0, high=1.0
    )


NODES: dict[str, type[CommonSettings]] = {
    'camera': CameraSettings,
    'perception': PerceptionSettings,
    'bridge': BridgeSettings,
}
