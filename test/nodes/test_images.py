from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip('sensor_msgs.msg', reason='sensor_msgs does not import: no ROS here')

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dedelayed_ros.errors import InputError
from dedelayed_ros.nodes.images import ENCODINGS, octets, to_image, to_rgb


def message(encoding: str, values: np.ndarray, *, padding: int = 0, big: bool = False, cut: int = 0) -> Image:
    """An image message of uint8 rows [H, row bytes] with `padding` bytes after each row and `cut` bytes missing."""
    height, row = values.shape
    rows = np.full((height, row + padding), 77, np.uint8)
    rows[:, :row] = values
    image = Image(encoding=encoding, height=height, width=5, step=row + padding, is_bigendian=int(big))
    image.data = array.array('B', rows.tobytes()[: rows.size - cut])
    return image


def rows_of(values: np.ndarray) -> np.ndarray:
    return values.reshape(values.shape[0], -1).view(np.uint8)


RGB = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
ALPHA = np.full((3, 5, 1), 9, np.uint8)


@pytest.mark.parametrize('padding', [0, 1, 7])
@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [
        ('rgb8', RGB),
        ('bgr8', RGB[..., ::-1]),
        ('8UC3', RGB[..., ::-1]),
        ('rgba8', np.concatenate([RGB, ALPHA], 2)),
        ('bgra8', np.concatenate([RGB[..., ::-1], ALPHA], 2)),
    ],
)
def test_colour_comes_out_the_same_whatever_its_order_and_row_padding(
    encoding: str, pixels: np.ndarray, padding: int
) -> None:
    rgb = to_rgb(message(encoding, rows_of(np.ascontiguousarray(pixels)), padding=padding))
    assert np.array_equal(rgb, RGB)
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable


@pytest.mark.parametrize('padding', [0, 3])
def test_gray_becomes_three_equal_channels(padding: int) -> None:
    rgb = to_rgb(message('mono8', RGB[..., 0], padding=padding))
    assert np.array_equal(rgb, np.repeat(RGB[..., :1], 3, 2))


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize(('encoding', 'order'), [('mono16', None), ('rgb16', [0, 1, 2]), ('bgra16', [2, 1, 0, 3])])
def test_sixteen_bits_keep_their_upper_eight_in_either_byte_order(
    encoding: str, order: list[int] | None, big: bool
) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (3, 5, 4 if order and len(order) == 4 else 3), np.uint16)
    expected = (values[..., :3] >> 8).astype(np.uint8)
    if order is None:
        sent, expected = values[..., :1], np.repeat(expected[..., :1], 3, 2)
    else:
        sent = values[..., order]
    stored = np.ascontiguousarray(sent).astype('>u2' if big else '<u2')
    assert np.array_equal(to_rgb(message(encoding, rows_of(stored), padding=2, big=big)), expected)


def test_the_last_row_may_come_without_its_padding() -> None:
    image = message('rgb8', rows_of(RGB), padding=4, cut=4)
    assert np.array_equal(to_rgb(image), RGB)


@pytest.mark.parametrize(('encoding', 'luma'), [('yuv422', 1), ('uyvy', 1), ('yuv422_yuy2', 0), ('yuyv', 0)])
def test_packed_yuv_has_the_right_luma_and_hue(encoding: str, luma: int) -> None:
    pixels = np.empty((4, 8, 2), np.uint8)
    pixels[..., luma] = 120
    pixels[:, 0::2, 1 - luma] = 90  # U
    pixels[:, 1::2, 1 - luma] = 240  # V: red
    image = message(encoding, rows_of(pixels), padding=6)
    image.width = 8
    red, green, blue = to_rgb(image)[2, 4].astype(int)
    assert red > 230
    assert green < 60
    assert blue < 80


@pytest.mark.parametrize(('encoding', 'first'), [('nv12', 'u'), ('nv21', 'v')])
def test_planar_yuv_has_the_right_hue(encoding: str, first: str) -> None:
    rows = np.full((6, 8), 120, np.uint8)
    rows[4:, 0::2], rows[4:, 1::2] = (90, 240) if first == 'u' else (240, 90)
    image = message(encoding, rows)
    image.height, image.width = 4, 8
    red, green, _ = to_rgb(image)[1, 3].astype(int)
    assert red > 230
    assert green < 60


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_gives_back_the_colour_behind_the_filter(pattern: str) -> None:
    colour = {'r': 200, 'g': 100, 'b': 30}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    rows = np.tile(tile, (8, 8))
    image = message(f'bayer_{pattern}8', rows, padding=2)
    image.width = 16
    assert np.abs(to_rgb(image)[4:-4, 4:-4].astype(int) - (200, 100, 30)).max() <= 2


def test_what_is_published_reads_back_as_it_was() -> None:
    for picture, encoding in ((RGB, 'rgb8'), (RGB[..., 0], 'mono8')):
        image = to_image(picture, Header(frame_id='front'), encoding)
        assert (image.width, image.height, image.step) == (5, 3, 15 if encoding == 'rgb8' else 5)
        assert image.header.frame_id == 'front'
        assert isinstance(image.data, array.array)
        expected = picture if encoding == 'rgb8' else np.repeat(picture[..., None], 3, 2)
        assert np.array_equal(to_rgb(image), expected)


def test_octets_are_the_array_type_that_rclpy_copies_whole() -> None:
    assert octets(b'abc') == array.array('B', b'abc')


def test_errors_say_what_came_and_what_to_do() -> None:
    unknown = message('32FC1', np.zeros((3, 20), np.uint8))
    with pytest.raises(InputError, match="'32FC1'; expected one of rgb8, .*bgr8.*cv_bridge"):
        to_rgb(unknown)
    with pytest.raises(InputError, match='at least 15 and 45 bytes'):
        to_rgb(message('rgb8', rows_of(RGB), cut=1))
    narrow = message('rgb8', rows_of(RGB))
    narrow.step = 14
    with pytest.raises(InputError, match='step 14'):
        to_rgb(narrow)
    with pytest.raises(InputError, match='0x0'):
        to_rgb(Image(encoding='rgb8'))
    odd = message('yuv422', np.zeros((3, 10), np.uint8))
    with pytest.raises(InputError, match='even'):
        to_rgb(odd)
    assert '32FC1' not in ENCODINGS
