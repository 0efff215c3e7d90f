"""VideoSource on clips that are made here, and on the real one."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import EncoderSettings, H264Decoder, H264Encoder, VideoSource, open_source
from dedelayed_ros.frames.h264_syntax import PPS, SPS, nal_units

pytestmark = pytest.mark.timeout(60)

P_ONLY = {'bf': '0', 'refs': '1', 'preset': 'ultrafast', 'x264-params': 'weightp=0:scenecut=0', 'g': '10'}
RED, GREEN, BLUE = (230, 20, 20), (20, 200, 20), (20, 20, 230)


def picture(i: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """Red corner top left, green top right, blue bottom left; a bar counts frames."""
    image = np.full((*size, 3), 90, np.uint8)
    image[:24, :24], image[:24, -24:], image[-24:, :24] = RED, GREEN, BLUE
    image[28:36, : 4 * (i % (size[1] // 4)) + 4] = 255
    return image


def counted(image: np.ndarray) -> int:
    return round(float((image[32, :, 0] > 180).sum()) / 4) - 1


def write(path, *, frames=10, codec='libx264', pix_fmt='yuv420p', options=None, size=(64, 96), turn=None, times=None):
    """Write a clip of ``picture``s; ``times`` in seconds make the frame rate variable."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.options = options or {}
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if turn:
            stream.set_display_rotation(*turn)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i, size), format='rgb24')
            if pix_fmt == 'yuvj420p':
                frame = frame.reformat(format='yuvj420p', dst_color_range='JPEG')
            if times:
                frame.pts, frame.time_base = round(times[i] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def near(pixel, colour, limit=25) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= limit)


def test_every_frame_fast_with_the_stamps_of_its_own_rate(tmp_path):
    with open_source(str(write(tmp_path / 'clip.mp4')), pace='fast', frame_id='front') as source:
        assert source.size == (64, 96) and source.rate == 25.0
        frames = list(source)
        assert source.read() is None
    assert [frame.sequence for frame in frames] == list(range(10)) == [counted(frame.image) for frame in frames]
    assert {frame.stamp_ns - frames[0].stamp_ns for frame in frames} == {40_000_000 * i for i in range(10)}
    assert abs(frames[0].stamp_ns - time.time_ns()) < 10e9
    for frame in frames:
        assert frame.image.shape == (64, 96, 3) and frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous
        assert frame.frame_id == 'front' and frame.picture is None  # x264's defaults have B-frames
        assert near(frame.image[8, 8], RED) and near(frame.image[8, -8], GREEN) and near(frame.image[-8, 8], BLUE)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return round(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Time:
    clock = Time()
    monkeypatch.setattr('dedelayed_ros.frames.pacing.time', clock)
    return clock


def test_own_pace_waits(tmp_path):
    with VideoSource(write(tmp_path / 'clip.mp4')) as source:
        source.read()
        start = time.monotonic()
        for frame in source:
            late = time.monotonic() - start - frame.sequence / 25
            assert late > -0.003
            assert time.time_ns() > frame.stamp_ns - 3e6
    assert time.monotonic() - start > 0.35


def test_frames_come_when_they_are_due(tmp_path, clock):
    with VideoSource(write(tmp_path / 'clip.mp4')) as source:
        for i, frame in enumerate(source):
            assert frame.sequence == i and abs(clock.now - 1000 - 0.04 * i) < 1e-6
            assert abs(frame.stamp_ns - clock.time_ns()) < 1000
            clock.sleep(0.03)


def test_a_slow_reader_loses_frames_and_can_count_them(tmp_path, clock):
    with VideoSource(write(tmp_path / 'clip.mp4', frames=20)) as source:
        sequences = []
        for frame in source:
            assert counted(frame.image) == frame.sequence
            sequences.append(frame.sequence)
            clock.sleep(0.11)
    assert sequences == [0, 2, 5, 8, 11, 13, 16, 19]


def test_a_reader_that_is_always_too_late_still_gets_frames(tmp_path, clock):
    with VideoSource(write(tmp_path / 'long.mp4', frames=90)) as source:
        sequences = []
        for frame in source:
            sequences.append(frame.sequence)
            clock.sleep(100)
    assert np.diff(sequences).tolist() == [26, 26, 26, 11]  # at most a second is left out at a time


def test_looping_goes_on_rising(tmp_path):
    with VideoSource(write(tmp_path / 'clip.mp4'), loop=True, pace='fast') as source:
        frames = [source.read() for _ in range(25)]
    assert [frame.sequence for frame in frames] == list(range(25))
    assert np.allclose(np.diff([frame.stamp_ns for frame in frames]) / 1e9, 0.04, atol=0.001)
    assert [counted(frame.image) for frame in frames] == [i % 10 for i in range(25)]


def test_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0.0, 0.1, 0.13, 0.5, 0.51]
    with VideoSource(write(tmp_path / 'clip.mkv', frames=5, times=times), pace='fast') as source:
        stamps = [frame.stamp_ns for frame in source]
    assert np.allclose((np.array(stamps) - stamps[0]) / 1e9, times, atol=0.002)


def test_rate_can_be_set_and_is_guessed_where_it_is_missing(tmp_path):
    clip = write(tmp_path / 'clip.mp4')
    with VideoSource(clip, rate=10.0, pace='fast') as source:
        assert source.rate == 10.0
        stamps = [frame.stamp_ns for frame in source]
    assert np.allclose(np.diff(stamps) / 1e9, 0.1)
    with VideoSource(write(tmp_path / 'bare.h264', options=P_ONLY), pace='fast') as source:
        assert 1 <= source.rate <= 60
        frames = list(source)
    assert len(frames) == 10 and (np.diff([frame.stamp_ns for frame in frames]) > 0).all()


@pytest.mark.parametrize(
    ('turn', 'corners'),
    [
        ((90,), {'size': (96, 64), 'red': (-8, 8), 'green': (8, 8), 'blue': (-8, -8)}),
        ((-90,), {'size': (96, 64), 'red': (8, -8), 'green': (-8, -8), 'blue': (8, 8)}),
        ((180,), {'size': (64, 96), 'red': (-8, -8), 'green': (-8, 8), 'blue': (8, -8)}),
        ((0, True), {'size': (64, 96), 'red': (8, -8), 'green': (8, 8), 'blue': (-8, -8)}),
    ],
)
def test_phone_clips_come_upright_and_are_not_passed_through(tmp_path, turn, corners):
    clip = write(tmp_path / 'phone.mp4', turn=turn, options=P_ONLY)
    with VideoSource(clip, pace='fast') as source:
        frame = source.read()
        assert source.size == corners['size'] == frame.image.shape[:2]
        assert frame.picture is None
    for name, colour in (('red', RED), ('green', GREEN), ('blue', BLUE)):
        assert near(frame.image[corners[name]], colour)
    with pytest.raises(InputError, match='upright'):
        VideoSource(clip, own_vectors=True)


@pytest.mark.parametrize(
    ('codec', 'pix_fmt', 'suffix'),
    [
        ('libx264', 'yuv420p10le', 'mp4'),
        ('libx264', 'yuvj420p', 'mp4'),
        ('libx264', 'yuv444p', 'mp4'),
        ('ffv1', 'bgr0', 'mkv'),
        ('png', 'rgb24', 'mov'),
        ('mjpeg', 'yuvj420p', 'avi'),
    ],
)
def test_pixel_formats_give_the_same_colours(tmp_path, codec, pix_fmt, suffix):
    with VideoSource(write(tmp_path / f'clip.{suffix}', codec=codec, pix_fmt=pix_fmt), pace='fast') as source:
        image = source.read().image
    assert near(image[8, 8], RED) and near(image[8, -8], GREEN) and near(image[-8, 8], BLUE)
    assert near(image[55, 60], (90, 90, 90), 2)


def test_full_range_is_told_from_limited_range(tmp_path):
    for name, lightness in (('tv', 13), ('pc', 28)):  # what luma 28 means
        clip = tmp_path / f'{name}.mkv'
        with av.open(str(clip), 'w') as container:
            stream = container.add_stream('ffv1', rate=25, options={'color_range': name})
            stream.height, stream.width, stream.pix_fmt = 64, 96, 'yuv420p'
            frame = av.VideoFrame(96, 64, 'yuv420p')
            for plane, value in zip(frame.planes, (28, 128, 128), strict=True):
                plane.update(bytes([value] * plane.buffer_size))
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with VideoSource(clip, pace='fast') as source:
            assert near(source.read().image[5, 5], (lightness,) * 3, 1)


def test_gray_video(tmp_path):
    with VideoSource(write(tmp_path / 'clip.mkv', codec='ffv1', pix_fmt='gray'), pace='fast') as source:
        image = source.read().image
    assert image.shape == (64, 96, 3) and (image[..., 0] == image[..., 2]).all()
    assert near(image[55, 60], (90, 90, 90), 2) and near(image[32, 0], (255, 255, 255), 2)


def test_scaling_and_a_clip_of_one_frame(tmp_path):
    clip = write(tmp_path / 'clip.mp4', frames=1, options=P_ONLY)
    with VideoSource(clip, size=(32, 48), pace='fast') as source:
        frames = list(source)
        assert source.size == (32, 48)
    assert len(frames) == 1 and frames[0].image.shape == (32, 48, 3) and frames[0].picture is None
    assert near(frames[0].image[4, 4], RED)
    with pytest.raises(InputError, match='scaled'):
        VideoSource(clip, size=(32, 48), own_vectors=True)


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'h264'])
def test_p_frames_with_one_reference_are_passed_through(tmp_path, suffix):
    decoder = H264Decoder()
    clip = write(tmp_path / f'clip.{suffix}', frames=25, options=P_ONLY)
    with VideoSource(clip, pace='fast', own_vectors=True) as source:
        stamps = []
        for frame in source:
            own = frame.picture
            assert own is not None and own.size == (64, 96) == own.motion.size
            assert own.keyframe == (frame.sequence % 10 == 0)
            if own.keyframe:
                assert {SPS, PPS} <= {kind for kind, _, _ in nal_units(own.data)}
                assert own.intra_ratio == 1.0
            assert np.array_equal(decoder.decode(own.data, own.size), frame.image)
            stamps.append(frame.stamp_ns)
    assert len(stamps) == 25 and np.allclose(np.diff(stamps) / 1e9, 0.04, atol=0.001)


def test_a_damaged_picture_is_left_out_up_to_the_next_key_frame(tmp_path):
    rng = np.random.default_rng(0)
    world = rng.integers(0, 256, (16, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with H264Encoder(EncoderSettings((128, 192), gop=10)) as encoder:
        units = [encoder.encode(np.ascontiguousarray(world[:, 4 * i : 4 * i + 192])).data for i in range(30)]
    units[13] = units[13][: len(units[13]) // 2]
    (tmp_path / 'clip.h264').write_bytes(b''.join(units))
    decoder, left = H264Decoder(), [*units[:13], *units[20:]]
    with VideoSource(tmp_path / 'clip.h264', pace='fast', own_vectors=True) as source:
        for frame, unit in zip(source, left, strict=True):
            assert frame.picture.data == unit
            assert np.array_equal(decoder.decode(unit, source.size), frame.image)


def test_skipped_pictures_are_folded_into_the_next(tmp_path, clock):
    decoder = H264Decoder()
    clip = write(tmp_path / 'clip.mp4', frames=23, options={**P_ONLY, 'g': '100'})
    with VideoSource(clip) as source:
        sequences = []
        for frame in source:
            assert np.array_equal(decoder.decode(frame.picture.data, source.size), frame.image)
            assert counted(frame.image) == frame.sequence
            sequences.append(frame.sequence)
            clock.sleep(0.11)
    assert sequences == [0, 2, 5, 8, 11, 13, 16, 19, 22]


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        ({'bf': '2'}, 'B-frames'),
        ({'bf': '0', 'refs': '3', 'x264-params': 'weightp=0'}, 'several pictures'),
        ({'bf': '0', 'refs': '1', 'x264-params': 'interlaced=1:weightp=0'}, 'interlaced'),
    ],
)
def test_other_h264_is_decoded_only_and_says_why(tmp_path, options, reason):
    clip = write(tmp_path / 'clip.mp4', options=options, frames=15)
    with VideoSource(clip, pace='fast') as source:
        assert all(frame.picture is None for frame in source)
    with pytest.raises(InputError, match=reason):
        VideoSource(clip, own_vectors=True)


@pytest.mark.parametrize(('codec', 'name'), [('libx265', 'hevc'), ('libvpx-vp9', 'vp9'), ('libsvtav1', 'av1')])
def test_other_codecs_are_pictures_without_vectors(tmp_path, codec, name):
    if codec not in av.codecs_available:
        pytest.skip(f'{codec} is not in this FFmpeg')
    clip = write(tmp_path / 'clip.mkv', codec=codec, frames=3)
    with VideoSource(clip, pace='fast') as source:
        frames = list(source)
    assert len(frames) == 3 and near(frames[0].image[8, 8], RED, 40)
    with pytest.raises(InputError, match=f'{name}.*does not export'):
        VideoSource(clip, own_vectors=True)


@pytest.mark.parametrize('suffix', ['mkv', 'mp4', 'h264'])
def test_damaged_part_of_a_file_is_left_out(tmp_path, suffix):
    clip = write(tmp_path / f'clip.{suffix}', frames=60, options={'g': '10', 'bf': '0'}, size=(128, 192))
    data = bytearray(clip.read_bytes())
    for position in range(len(data) * 2 // 5, len(data) // 2, 7):
        data[position] ^= 0x5A
    (tmp_path / f'damaged.{suffix}').write_bytes(data)
    with VideoSource(tmp_path / f'damaged.{suffix}', pace='fast') as source:
        frames = list(source)
    assert 15 <= len(frames) <= 60
    if suffix != 'mkv':  # whose one cluster of a short clip ends where its structure is broken
        assert len(frames) >= 30 and counted(frames[-1].image) == 59 % 48


def test_a_file_that_cannot_be_read_to_its_end_ends_there(tmp_path):
    clip = write(tmp_path / 'clip.flv', frames=300, options={'bf': '0'})
    data = bytearray(clip.read_bytes())
    tag = 13  # after the header: type u8, length u24, 7 bytes; the payload; u32
    for _ in range(260):
        tag += 15 + int.from_bytes(data[tag + 1 : tag + 4], 'big')
    data[tag] = 8  # sound, in a file that has none
    clip.write_bytes(data)
    with VideoSource(clip, pace='fast') as source:
        assert 200 <= sum(1 for _ in source) < 300
        assert source.damaged > 0


def test_what_is_not_a_video_is_said_so(tmp_path):
    with pytest.raises(InputError, match='no file'):
        open_source(str(tmp_path / 'nothing.mp4'))
    (tmp_path / 'text.mp4').write_text('this is not a film\n' * 50)
    with pytest.raises(InputError, match='text.mp4 is not a video'):
        open_source(str(tmp_path / 'text.mp4'))
    (tmp_path / 'empty.mp4').touch()
    with pytest.raises(InputError, match='empty'):
        open_source(str(tmp_path / 'empty.mp4'))
    with av.open(str(tmp_path / 'sound.wav'), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout='mono')
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    with pytest.raises(InputError, match='no video stream .streams: audio'):
        open_source(str(tmp_path / 'sound.wav'))
    whole = write(tmp_path / 'clip.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match='cut.mp4'):
        open_source(str(tmp_path / 'cut.mp4'))


def test_the_real_clip(real_clip: Path):
    with open_source(str(real_clip), pace='fast') as source:
        assert source.size == (272, 640) and source.rate == 25.0
        assert sum(1 for _ in source) == 250
    with pytest.raises(InputError, match='B-frames'):
        open_source(str(real_clip), own_vectors=True)
