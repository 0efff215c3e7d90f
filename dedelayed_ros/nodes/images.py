"""`sensor_msgs/Image` to RGB arrays and back, without a copy more than needed.

Packed 8-bit and 16-bit encodings are read in place with NumPy, honouring ``step`` and ``is_bigendian``. YUV and 8-bit
Bayer go through FFmpeg's scaler (PyAV, which the core has anyway). What is left is given to ROS 2's own ``cv_bridge``
where it is installed.
"""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

# encoding → (channels, bytes a channel, channels that are R, G, B)
_PACKED: dict[str, tuple[int, int, tuple[int, int, int]]] = {
    'rgb8': (3, 1, (0, 1, 2)),
    'bgr8': (3, 1, (2, 1, 0)),
    'rgba8': (4, 1, (0, 1, 2)),
    'bgra8': (4, 1, (2, 1, 0)),
    'mono8': (1, 1, (0, 0, 0)),
    '8UC1': (1, 1, (0, 0, 0)),
    '8UC3': (3, 1, (2, 1, 0)),
    '8UC4': (4, 1, (2, 1, 0)),
    'rgb16': (3, 2, (0, 1, 2)),
    'bgr16': (3, 2, (2, 1, 0)),
    'rgba16': (4, 2, (0, 1, 2)),
    'bgra16': (4, 2, (2, 1, 0)),
    'mono16': (1, 2, (0, 0, 0)),
    '16UC1': (1, 2, (0, 0, 0)),
}

# encoding → (FFmpeg's name, bytes in a row of width w, rows of all planes of height h)
_SCALED: dict[str, tuple[str, int, bool]] = {
    'uyvy': ('uyvy422', 2, False),
    'yuv422': ('uyvy422', 2, False),
    'yuyv': ('yuyv422', 2, False),
    'yuv422_yuy2': ('yuyv422', 2, False),
    'nv12': ('nv12', 1, True),
    'nv21': ('nv21', 1, True),
    'bayer_rggb8': ('bayer_rggb8', 1, False),
    'bayer_bggr8': ('bayer_bggr8', 1, False),
    'bayer_gbrg8': ('bayer_gbrg8', 1, False),
    'bayer_grbg8': ('bayer_grbg8', 1, False),
}

ENCODINGS = (*_PACKED, *_SCALED)


def to_rgb(message: Image) -> np.ndarray:
    """The picture as uint8 [H, W, 3] RGB, contiguous. 16-bit values keep their upper eight bits, alpha is left out.

    Raises:
        InputError: the encoding is unknown, or the sizes in the message contradict each other.
    """
    if not (message.width and message.height):
        raise InputError(
            f'an image of {message.width}x{message.height} pixels came; a camera driver that is not ready yet?'
        )
    if message.encoding in _PACKED:
        return _unpack(message)
    if message.encoding in _SCALED:
        return _scale(message)
    return _bridge(message)


def to_image(picture: np.ndarray, header: Header, encoding: str) -> Image:
    """A message of uint8 [H, W] (``mono8``) or [H, W, 3] (``rgb8``)."""
    from sensor_msgs.msg import Image

    picture = np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding, step=picture.nbytes // height)
    message.data = octets(picture.data)
    return message


def octets(data: bytes | memoryview) -> array.array:
    """Bytes as rclpy takes them fast: it copies an ``array`` whole, but looks at each element of anything else."""
    values = array.array('B')
    values.frombytes(data)
    return values


def _rows(message: Image, row_bytes: int, rows: int) -> np.ndarray:
    """The message's bytes as uint8 [rows, row_bytes], without the padding at the end of each row."""
    step = message.step or row_bytes
    data = np.frombuffer(message.data, np.uint8)
    # The last row may come without its padding.
    if step < row_bytes or data.size < step * (rows - 1) + row_bytes:
        raise InputError(
            f'an image {message.width}x{message.height} {message.encoding} came with step {message.step} and '
            f'{data.size} bytes; expected a step of at least {row_bytes} and {step * rows} bytes. The driver that '
            'publishes it is at fault'
        )
    return np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1), writeable=False)


def _unpack(message: Image) -> np.ndarray:
    channels, depth, order = _PACKED[message.encoding]
    rows = _rows(message, message.width * channels * depth, message.height)
    values = rows.reshape(message.height, message.width, channels, depth)
    values = values[..., 0 if depth == 1 or message.is_bigendian else 1]  # the more significant byte
    rgb = np.empty((message.height, message.width, 3), np.uint8)
    if order == (0, 1, 2):
        rgb[...] = values[..., :3]
    else:
        for target, source in enumerate(order):
            rgb[..., target] = values[..., source]
    return rgb


def _scale(message: Image) -> np.ndarray:
    name, pixel_bytes, planar = _SCALED[message.encoding]
    height, width = message.height, message.width
    if (planar and height % 2) or (not name.startswith('bayer') and width % 2):
        raise InputError(f'an image {width}x{height} {message.encoding} came; this encoding needs even sides')
    rows = _rows(message, width * pixel_bytes, height * 3 // 2 if planar else height)
    frame = av.VideoFrame(width, height, name)
    top = 0
    for plane in frame.planes:
        count = min(plane.buffer_size // plane.line_size, rows.shape[0] - top)
        padded = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        padded[:count, : rows.shape[1]] = rows[top : top + count]
        plane.update(padded.tobytes())
        top += count
    return np.ascontiguousarray(frame.reformat(format='rgb24').to_ndarray())


def _bridge(message: Image) -> np.ndarray:
    bridge = _cv_bridge()
    if bridge is None:
        raise InputError(
            f'images come as {message.encoding!r}; expected one of {", ".join(ENCODINGS)}. Let the camera driver '
            'publish one of these, or install cv_bridge (ros-$ROS_DISTRO-cv-bridge), which converts more'
        )
    try:
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, 'rgb8'))
    except Exception as error:  # its C++ part raises what it likes
        raise InputError(f'images come as {message.encoding!r}, which cv_bridge cannot convert: {error}') from error


def _cv_bridge() -> Any:
    """ROS 2's converter, or None. A package of that name outside ROS is ROS 1's and misreads these messages."""
    from ament_index_python.packages import get_package_share_directory

    try:
        get_package_share_directory('cv_bridge')
        from cv_bridge import CvBridge
    except (LookupError, OSError, ImportError):  # not installed, or no ROS environment is sourced
        return None
    return CvBridge()
