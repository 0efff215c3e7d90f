"""MotionField against slow loops that spell out what its words and Eq. 15 mean."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros import native
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField, motion_field

sizes = st.tuples(st.integers(1, 70), st.integers(1, 90))
blocks = st.sampled_from([4, 8, 16])


@st.composite
def fields(draw: st.DrawFn, size: tuple[int, int] | None = None, block: int | None = None) -> MotionField:
    """Random fields: few distinct vectors, so that neighbours often agree, small and far, some blocks invalid."""
    size = draw(sizes) if size is None else size
    block = draw(blocks) if block is None else block
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = (-(-size[0] // block), -(-size[1] // block))
    reach = draw(st.sampled_from([0, 3, 16, 64, 400]))
    palette = rng.integers(-reach, reach + 1, (draw(st.integers(1, 4)), 2))
    if draw(st.booleans()):
        palette = palette // 4 * 4
    valid = rng.random(grid) < draw(st.sampled_from([1.0, 0.9, 0.5]))
    return MotionField(size, palette[rng.integers(0, len(palette), grid)], valid, block)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[MotionField, MotionField]:
    size, block = draw(sizes), draw(blocks)
    return draw(fields(size, block)), draw(fields(size, block))


def half_away(value: int, divisor: int) -> int:
    return int(math.copysign(math.floor(abs(value) / divisor + 0.5), value))


def pixel_source(field: MotionField, y: int, x: int) -> tuple[int, int] | None:
    """Pixel that (y, x) came from, or None."""
    block = y // field.block, x // field.block
    if not field.valid[block]:
        return None
    m_x, m_y = (int(v) for v in field.qpel[block])
    source = y - half_away(m_y, 4), x - half_away(m_x, 4)
    return source if 0 <= source[0] < field.size[0] and 0 <= source[1] < field.size[1] else None


def centre(field: MotionField, row: int, column: int) -> tuple[int, int]:
    y, x = row * field.block, column * field.block
    return y + min(field.block, field.size[0] - y) // 2, x + min(field.block, field.size[1] - x) // 2


def uniform(size: tuple[int, int], x: int, y: int, block: int = 16) -> MotionField:
    grid = (-(-size[0] // block), -(-size[1] // block))
    return MotionField(size, np.broadcast_to(np.array([x, y]), (*grid, 2)), block=block)


def test_record_is_immutable_and_plain():
    field = uniform((64, 80), 4, -8)
    assert field.qpel.shape == (4, 5, 2) and field.qpel.dtype == np.int16 and field.valid.dtype == bool
    with pytest.raises(ValueError):
        field.qpel[0, 0] = 1
    with pytest.raises(ValueError):
        field.valid[0, 0] = False
    with pytest.raises(AttributeError):
        field.size = (1, 1)
    with pytest.raises(AttributeError):
        del field.size
    assert pickle.loads(pickle.dumps(field)) == field == copy.deepcopy(field)
    assert field != uniform((64, 80), 4, -4) and field != 'field' and field != uniform((64, 79), 4, -8)
    assert '(64, 80)' in repr(field) and 'moving=100%' in repr(field)


def test_making_a_field_copies_the_arrays_of_the_caller():
    qpel = np.zeros((4, 4, 2), np.int16)
    field = MotionField((64, 64), qpel)
    qpel[0, 0] = 7
    assert not field.qpel.any()


@pytest.mark.parametrize(
    ('size', 'qpel', 'valid'),
    [
        ((64, 64), np.zeros((4, 5, 2), int), None),
        ((64, 64), np.zeros((4, 4, 2), float), None),
        ((64, 64), np.zeros((4, 4, 2), int), np.ones((4, 4), int)),
        ((0, 64), np.zeros((0, 4, 2), int), None),
        ((9000, 16), np.zeros((563, 1, 2), int), None),
    ],
)
def test_wrong_shapes_are_refused(size, qpel, valid):
    with pytest.raises(ValueError):
        MotionField(size, qpel, valid)


def test_source_outside_of_the_frame_is_invalid_and_far_vectors_do_not_wrap():
    assert uniform((64, 64), 4 * 8, 0).valid.all()  # centre of the first column came from column 0
    assert uniform((64, 64), 4 * 9, 0).valid.tolist() == [[False, True, True, True]] * 4
    assert uniform((64, 64), -4 * 8, 0).valid.tolist() == [[True, True, True, False]] * 4
    far = MotionField((64, 64), np.full((4, 4, 2), 65536))  # is 0 in int16
    assert not far.valid.any()


@settings(deadline=None)
@given(fields())
def test_identity_is_neutral_on_both_sides(field):
    identity = MotionField.identity(field.size, field.block)
    assert identity.compose(field) == field
    assert field.compose(identity) == field


@settings(deadline=None)
@given(pairs())
def test_compose_is_equation_15_at_block_centres(pair):
    older, newer = pair
    total = older.compose(newer)
    for row, column in np.ndindex(total.valid.shape):
        y, x = centre(newer, row, column)
        source = pixel_source(newer, y, x)
        expected = None
        if source is not None:
            block = source[0] // older.block, source[1] // older.block
            if older.valid[block]:
                m_x, m_y = (int(a) + int(b) for a, b in zip(older.qpel[block], newer.qpel[row, column], strict=True))
                origin = y - half_away(m_y, 4), x - half_away(m_x, 4)
                if 0 <= origin[0] < older.size[0] and 0 <= origin[1] < older.size[1]:
                    expected = [m_x, m_y]
        assert total.valid[row, column] == (expected is not None)
        if expected is not None:
            assert total.qpel[row, column].tolist() == expected


@pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'the kernels are there')
@settings(deadline=None)
@given(pairs())
def test_the_kernel_composes_as_its_definition_does(pair):
    older, newer = pair
    assert newer.compose(older) == motion_field._composed(newer, older)
    assert older.compose(newer) == motion_field._composed(older, newer)


def test_composition_does_not_depend_on_how_arrays_lie_in_memory():
    rng = np.random.default_rng(0)
    qpel, valid = rng.integers(-99, 99, (6, 8, 2)), rng.random((6, 8)) < 0.7
    turned = MotionField((96, 128), np.asfortranarray(qpel), np.asfortranarray(valid))
    straight = MotionField((96, 128), qpel, valid)
    assert turned == straight and turned.compose(turned) == straight.compose(straight)


@settings(deadline=None)
@given(pairs())
def test_invalid_is_absorbing(pair):
    older, newer = pair
    total = older.compose(newer)
    assert not total.valid[~newer.valid].any()
    nowhere = MotionField(older.size, older.qpel, np.zeros_like(older.valid), older.block)
    assert not nowhere.compose(newer).valid.any() and not older.compose(nowhere).valid.any()


@settings(deadline=None, max_examples=40)
@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(-6, 6), st.integers(-6, 6))
def test_uniform_composition_equals_sequential_warping(x1, y1, x2, y2):
    size = (64, 80)
    older, newer = uniform(size, 4 * x1, 4 * y1), uniform(size, 4 * x2, 4 * y2)
    picture = torch.arange(64 * 80).reshape(1, 64, 80)
    once, valid_once = older.compose(newer).warp(picture)
    first, valid_first = older.warp(picture)
    twice, valid_second = newer.warp(first)
    carried, _ = newer.warp(valid_first[None].to(torch.uint8))
    both = valid_once & valid_second & carried[0].bool()
    assert both.float().mean() >= 0.5
    assert torch.equal(once[:, both], twice[:, both])


def test_quarter_pixels_add_up_without_drift():
    size, step = (480, 640), uniform((480, 640), 1, -1)
    total = MotionField.identity(size)
    for _ in range(100):
        total = total.compose(step)
    assert total.valid.mean() > 0.8
    assert (total.qpel[total.valid] == [100, -100]).all()
    picture = torch.arange(480 * 640).reshape(480, 640)
    warped, valid = total.warp(picture)
    assert torch.equal(warped[:-32, 32:], picture[25:-7, 7:-25]) and valid[:-32, 32:].all()
    assert not valid[-25:].any() and not valid[:, :25].any()


def test_invalid_grows_from_the_border_under_a_constant_pan():
    total = MotionField.identity((64, 640))
    for frame in range(1, 41):
        total = total.compose(uniform((64, 640), 16, 0))
        columns = [8 + 16 * column >= 4 * frame for column in range(40)]
        assert total.valid[0].tolist() == columns


def test_compose_refuses_another_grid():
    with pytest.raises(ValueError, match='resized'):
        MotionField.identity((64, 64)).compose(MotionField.identity((64, 65)))
    with pytest.raises(ValueError, match='resized'):
        MotionField.identity((64, 64)).compose(MotionField.identity((64, 64), block=8))


@settings(deadline=None, max_examples=40)
@given(fields(), st.integers(1, 40))
def test_at_stride_is_usable_only_where_all_pixels_agree(field, stride):
    vectors, usable = field.at_stride(stride)
    height, width = field.size
    assert usable.shape == (-(-height // stride), -(-width // stride)) and vectors.shape == (*usable.shape, 2)
    for i, j in np.ndindex(usable.shape):
        seen = set()
        for y in range(i * stride, min((i + 1) * stride, height)):
            for x in range(j * stride, min((j + 1) * stride, width)):
                source = pixel_source(field, y, x)
                seen.add(source and tuple(field.qpel[y // field.block, x // field.block].tolist()))
        assert usable[i, j] == (len(seen) == 1 and None not in seen)
        assert vectors[i, j].tolist() == (list(seen.pop()) if usable[i, j] else [0, 0])


@settings(deadline=None, max_examples=40)
@given(fields(), st.sampled_from([1, 2, 4, 8, 16, 3, 24, 32]))
def test_nearest_warp_is_exact(field, stride):
    height, width = (-(-length // stride) for length in field.size)
    tensor = torch.arange(2 * height * width).reshape(2, height, width)
    warped, valid = field.warp(tensor, stride, fill=-1)
    for i, j in np.ndindex(height, width):
        cells = {
            tuple(field.qpel[y, x].tolist()) if field.valid[y, x] else None
            for y in range(i * stride // field.block, -(-min((i + 1) * stride, field.size[0]) // field.block))
            for x in range(j * stride // field.block, -(-min((j + 1) * stride, field.size[1]) // field.block))
        }
        expected, known = [-1, -1], False
        if len(cells) == 1 and None not in cells:
            m_x, m_y = cells.pop()
            y, x = i - half_away(m_y, 4 * stride), j - half_away(m_x, 4 * stride)
            if 0 <= y < height and 0 <= x < width:
                expected, known = tensor[:, y, x].tolist(), True
        assert valid[i, j].item() == known and warped[:, i, j].tolist() == expected


@settings(deadline=None, max_examples=40)
@given(fields())
def test_pixel_warp_and_stride_one_agree_on_what_is_valid(field):
    _, valid = field.warp(torch.zeros(field.size))
    assert np.array_equal(valid.numpy(), field.at_stride(1).usable)


@settings(deadline=None, max_examples=40)
@given(st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([4, 8, 16]))
def test_bilinear_equals_nearest_on_whole_cells(x, y, stride):
    field = uniform((128, 160), 4 * stride * x, 4 * stride * y)
    tensor = torch.rand(3, 128 // stride, 160 // stride)
    nearest, valid_nearest = field.warp(tensor, stride)
    bilinear, valid_bilinear = field.warp(tensor, stride, mode='bilinear')
    assert torch.equal(valid_nearest, valid_bilinear) and torch.equal(nearest, bilinear)


def test_bilinear_interpolates_is_differentiable_and_keeps_batches():
    field = uniform((64, 64), 4 * 4, 0)  # half a cell at stride 8
    ramp = torch.arange(8.0).expand(2, 3, 8, 8).clone().requires_grad_()
    warped, valid = field.warp(ramp, 8, mode='bilinear')
    assert warped.shape == ramp.shape and valid.all()
    assert torch.equal(warped[0, 0, 0], torch.tensor([0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]))
    warped.sum().backward()
    assert ramp.grad is not None and ramp.grad.sum() == warped.numel()
    with pytest.raises(ValueError, match='floating-point'):
        field.warp(torch.zeros(8, 8, dtype=torch.uint8), 8, mode='bilinear')
    with pytest.raises(ValueError, match='nearest'):
        field.warp(torch.zeros(8, 8), 8, mode='cubic')
    with pytest.raises(ValueError, match=r'\[..., 8, 8\]'):
        field.warp(torch.zeros(8, 9), 8)


@settings(deadline=None)
@given(fields())
def test_bytes_round_trip(field):
    again = MotionField.from_bytes(field.to_bytes())
    assert again == field and np.array_equal(again.qpel, field.qpel)
    assert MotionField.from_bytes(bytearray(field.to_bytes())) == field


def test_bytes_of_little_motion_are_few():
    assert len(MotionField.identity((720, 1280)).to_bytes()) < 20
    assert len(uniform((720, 1280), 5, -3).to_bytes()) < 100


def test_every_truncation_and_every_changed_byte_is_refused():
    rng = np.random.default_rng(0)
    field = MotionField((90, 130), rng.integers(-30, 30, (6, 9, 2)), rng.random((6, 9)) < 0.8)
    data = field.to_bytes()
    for length in range(len(data)):
        with pytest.raises(InputError):
            MotionField.from_bytes(data[:length])
    for position in range(len(data)):
        with pytest.raises(InputError):
            MotionField.from_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
    with pytest.raises(InputError):
        MotionField.from_bytes(data + b'\0')


@pytest.mark.parametrize('length', [0, 3, 5, 2**28])
def test_forged_lengths_are_refused(length):
    head = b'MF\x01\x00' + struct.pack('<HHB', 16, 16, 16)
    payload = zstandard.ZstdCompressor().compress(bytes(length))
    with pytest.raises(InputError, match='bytes of vectors'):
        MotionField.from_bytes(head + struct.pack('<I', zlib.crc32(payload, zlib.crc32(head))) + payload)


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_forged_records_with_a_right_checksum_are_refused_or_read(body, header):
    """A peer can compute a checksum too: whatever it sends, the answer is a field or an InputError."""
    data = b'MF\x01' + body if header else body
    if header and len(data) >= 13:
        head = data[:9]
        data = head + struct.pack('<I', zlib.crc32(data[13:], zlib.crc32(head))) + data[13:]
    with contextlib.suppress(InputError):
        MotionField.from_bytes(data)


@settings(deadline=None)
@given(fields(), sizes, blocks)
def test_resized_takes_the_block_under_each_centre(field, size, block):
    new = field.resized(size, block)
    assert new.size == size and new.block == block
    for row, column in np.ndindex(new.valid.shape):
        y, x = centre(new, row, column)
        old = (
            int((y + 0.5) * field.size[0] / size[0]) // field.block,
            int((x + 0.5) * field.size[1] / size[1]) // field.block,
        )
        m_x, m_y = (int(v) for v in field.qpel[old])
        expected = [half_away(m_x * size[1], field.size[1]), half_away(m_y * size[0], field.size[0])]
        assert new.qpel[row, column].tolist() == expected
        if not field.valid[old]:
            assert not new.valid[row, column]


def test_resized_to_the_same_size_is_the_same_and_halving_with_half_blocks_keeps_all():
    rng = np.random.default_rng(1)
    field = MotionField((128, 192), rng.integers(-8, 9, (8, 12, 2)) * 2)
    assert field.resized((128, 192)) == field
    half = field.resized((64, 96), block=8)
    assert np.array_equal(half.qpel, field.qpel // 2) and np.array_equal(half.valid, field.valid)


def vectors_array(rows: list[tuple[int, ...]]) -> np.ndarray:
    """Rows (source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale) as FFmpeg exports them."""
    names = ('source', 'w', 'h', 'src_x', 'src_y', 'dst_x', 'dst_y', 'flags', 'motion_x', 'motion_y', 'motion_scale')
    given = ('source', 'w', 'h', 'dst_x', 'dst_y', 'motion_x', 'motion_y', 'motion_scale')
    array = np.zeros(len(rows), [(name, '<i4') for name in names])
    for i, row in enumerate(rows):
        for name, value in zip(given, row, strict=True):
            array[name][i] = value
    return array


def test_codec_vectors_are_negated_and_missing_ones_are_zero():
    field = MotionField.from_codec(vectors_array([(-1, 16, 16, 40, 24, -16, -12, 4)]), (48, 64))
    assert field.qpel[1, 2].tolist() == [16, 12] and np.count_nonzero(field.qpel) == 2 and field.valid.all()
    assert MotionField.from_codec(None, (48, 64)) == MotionField.identity((48, 64))
    assert MotionField.from_codec(vectors_array([]), (48, 64)) == MotionField.identity((48, 64))


def test_codec_vectors_of_other_precision_are_rounded_to_quarters():
    rows = [(-1, 16, 16, 8, 8, 3, -5, 8), (-1, 16, 16, 24, 8, 3, -3, 2)]
    field = MotionField.from_codec(vectors_array(rows), (48, 64))
    assert field.qpel[0, 0].tolist() == [-2, 3] and field.qpel[0, 1].tolist() == [-6, 6]


def test_partitioned_block_takes_its_largest_part():
    rows = [
        (-1, 16, 8, 8, 4, -4, 0, 4),
        (-1, 8, 8, 4, 12, -8, 0, 4),
        (-1, 8, 8, 12, 12, -12, 0, 4),
        (-1, 16, 16, 24, 8, -20, 0, 4),
    ]
    field = MotionField.from_codec(vectors_array(rows), (32, 32))
    assert field.qpel[0, 0].tolist() == [4, 0] and field.qpel[0, 1].tolist() == [20, 0]
    assert not field.qpel[1].any()


def test_b_frames_and_foreign_sizes_are_refused():
    with pytest.raises(InputError, match='B-frames'):
        MotionField.from_codec(vectors_array([(1, 16, 16, 8, 8, 0, 0, 4)]), (48, 64))
    with pytest.raises(InputError, match='another size'):
        MotionField.from_codec(vectors_array([(-1, 16, 16, 72, 8, 0, 0, 4)]), (48, 64))
