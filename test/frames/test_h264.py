"""H264Encoder, H264Decoder and VectorReader on real encodes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import (
    EncodedPicture,
    EncoderSettings,
    H264Decoder,
    H264Encoder,
    MotionField,
    available_encoders,
    open_source,
)
from dedelayed_ros.frames.h264_decoder import VectorReader
from dedelayed_ros.frames.h264_syntax import IDR_SLICE, PPS, SPS, H264Syntax, ParameterSets, access_units, nal_units

pytestmark = pytest.mark.timeout(60)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random texture with detail of 4 to 32 pixels, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    total = torch.zeros(1, 3, height, width)
    for cell, weight in ((32, 1.0), (12, 0.7), (4, 0.5)):
        noise = torch.from_numpy(rng.random((1, 3, height // cell + 2, width // cell + 2), np.float32)) - 0.5
        total += weight * torch.nn.functional.interpolate(noise, (height, width), mode='bicubic')
    return (total[0].permute(1, 2, 0) * 130 + 128).clamp(0, 255).to(torch.uint8).numpy()


def moving(frames: int, step: tuple[int, int], size: tuple[int, int] = (272, 640), seed: int = 0) -> list[np.ndarray]:
    """Pictures whose content moves by step = (x, y) pixels a frame."""
    height, width = size
    reach_x, reach_y = abs(step[0]) * frames, abs(step[1]) * frames
    world = texture(height + reach_y, width + reach_x, seed)
    pictures = []
    for i in range(frames):
        x = reach_x - step[0] * i if step[0] > 0 else -step[0] * i
        y = reach_y - step[1] * i if step[1] > 0 else -step[1] * i
        pictures.append(np.ascontiguousarray(world[y : y + height, x : x + width]))
    return pictures


@pytest.fixture(scope='module')
def real_frames(real_clip: Path) -> list[np.ndarray]:
    with open_source(str(real_clip), pace='fast') as source:
        return [frame.image for frame, _ in zip(source, range(40), strict=False)]


def encode(pictures: list[np.ndarray], **settings) -> list[EncodedPicture]:
    with H264Encoder(EncoderSettings(size=pictures[0].shape[:2], **settings)) as encoder:
        return [encoder.encode(picture) for picture in pictures]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


@pytest.mark.parametrize('step', [(4, 3), (-4, 3), (0, -7), (40, 0), (-25, -31)])
def test_moved_texture_gives_its_displacement(step):
    for picture in encode(moving(4, step))[1:]:
        hits = (picture.motion.qpel == [4 * step[0], 4 * step[1]]).all(-1)
        assert hits.mean() > 0.8
        assert picture.intra_ratio < 0.15


def test_fast_motion_of_fine_texture_is_found():
    """Nothing leads a search downhill in cells of 4 pixels: only a wide one finds 40 pixels a frame."""
    world = np.random.default_rng(0).integers(0, 256, (68, 200, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    encoded = encode([np.ascontiguousarray(world[:, 120 - 40 * i :][:, :640]) for i in range(4)], bitrate_kbps=8000)
    for picture in encoded[1:]:
        assert (picture.motion.qpel == [160, 0]).all(-1).mean() > 0.7


def test_quarter_pixel_motion_is_seen_as_such():
    wide = texture(272, 1300)
    pictures = [
        torch.nn.functional.avg_pool1d(torch.from_numpy(wide[:, 8 - i : 8 - i + 1280]).permute(0, 2, 1).float(), 4)
        .permute(0, 2, 1).round().to(torch.uint8).numpy()
        for i in range(4)
    ]  # fmt: skip
    for picture in encode(pictures, bitrate_kbps=8000)[1:]:
        assert (picture.motion.qpel[..., 0] == 1).mean() > 0.7


def test_carrying_by_the_vectors_beats_leaving_in_place(real_frames):
    total, errors = None, []
    encoded = encode(real_frames[:6], rate=25.0)
    total = MotionField.identity(encoded[0].size)
    for picture in encoded[1:]:
        total = total.compose(picture.motion)
    first, last = (torch.from_numpy(real_frames[i]).permute(2, 0, 1) for i in (0, 5))
    carried, valid = total.warp(first)
    errors = [(image.float() - last.float()).abs()[:, valid].mean().item() for image in (carried, first)]
    assert valid.float().mean() > 0.8
    assert errors[0] < 0.8 * errors[1]


def test_scene_cuts_show_in_the_intra_ratio(real_frames):
    encoded = encode(real_frames[20:40], rate=25.0)
    ratios = [picture.intra_ratio for picture in encoded]
    assert ratios[0] == 1.0
    assert int(np.argmax(ratios[1:])) + 1 == 10 and ratios[10] > 0.5  # the clip's first cut is at frame 30
    assert max(ratios[1:10] + ratios[11:]) < 0.4


@pytest.mark.parametrize('size', [(271, 641), (272, 640), (17, 33), (16, 16), (2, 2), (1, 400)])
def test_sizes_come_back_as_they_were(size):
    if min(size) < 2:
        with pytest.raises(InputError, match='2 to'):
            EncoderSettings(size)
        return
    pictures = moving(3, (2, 1), size)
    decoder = H264Decoder()
    for picture, original in zip(encode(pictures), pictures, strict=True):
        assert picture.size == size and picture.motion.size == size
        shown = decoder.decode(picture.data, size)
        assert shown.shape == (*size, 3) and shown.dtype == np.uint8 and shown.flags.c_contiguous
        assert psnr(shown, original) > (30 if min(size) > 100 else 20)  # colours have half the resolution


def test_colours_survive():
    flat = np.zeros((64, 96, 3), np.uint8)
    flat[:, :32], flat[:, 32:64], flat[:, 64:] = (220, 30, 40), (20, 200, 60), (250, 250, 250)
    shown = H264Decoder().decode(encode([flat])[0].data, (64, 96))
    for column in (16, 48, 80):
        assert np.abs(shown[32, column].astype(int) - flat[32, column]).max() <= 3


def test_gray_pictures_and_wrong_ones():
    gray = texture(64, 96)[..., 0]
    encoder = H264Encoder(EncoderSettings((64, 96)))
    shown = H264Decoder().decode(encoder.encode(gray).data, (64, 96))
    assert psnr(shown, np.repeat(gray[..., None], 3, 2)) > 30
    assert encoder.encode(gray[..., None]).intra_ratio < 0.2
    with pytest.raises(InputError, match='64x64 came where 96x64'):
        encoder.encode(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match='float32'):
        encoder.encode(np.zeros((64, 96, 3), np.float32))
    with pytest.raises(InputError, match='uint8'):
        encoder.encode(np.zeros((64, 96, 4), np.uint8))


def test_one_picture_is_a_whole_stream():
    (picture,) = encode([texture(48, 64)])
    assert picture.keyframe and picture.intra_ratio == 1.0 and picture.motion == MotionField.identity((48, 64))
    assert H264Decoder().decode(picture.data, (48, 64)).shape == (48, 64, 3)


def test_key_frames_come_at_once_carry_parameters_and_keep_the_motion():
    pictures = moving(12, (4, 3))
    encoder, decoder = H264Encoder(EncoderSettings((272, 640), gop=8)), H264Decoder()
    for i, original in enumerate(pictures):
        picture = encoder.encode(original, keyframe=i == 3)
        assert picture.keyframe == (i in (0, 3, 11))  # the request, and eight pictures after it
        kinds = [kind for kind, _, _ in nal_units(picture.data)]
        assert (IDR_SLICE in kinds) == picture.keyframe
        if picture.keyframe:
            assert kinds.index(SPS) < kinds.index(PPS) < kinds.index(IDR_SLICE)
        if i:
            assert (picture.motion.qpel == [16, 12]).all(-1).mean() > 0.8 and picture.intra_ratio < 0.15
        assert psnr(decoder.decode(picture.data, (272, 640)), original) > 28
        if picture.keyframe:  # whoever joins here sees the same
            assert psnr(H264Decoder().decode(picture.data, (272, 640)), original) > 28


def test_the_vectors_are_those_of_the_bits():
    reader = VectorReader()
    for picture in encode(moving(5, (6, -2))):
        motion, ratio = reader.read(picture.data, picture.size)
        assert motion == picture.motion and ratio == picture.intra_ratio


def test_parameter_sets_are_put_back_before_key_frames_that_lack_them():
    (picture,) = encode([texture(48, 64)])
    units = list(nal_units(picture.data))
    bare = b''.join(b'\0\0\0\1' + picture.data[a:b] for kind, a, b in units if kind == IDR_SLICE)
    sets = ParameterSets()
    assert sets.completed(picture.data) == picture.data
    assert H264Decoder().decode(sets.completed(bare), (48, 64)).shape == (48, 64, 3)
    with pytest.raises(InputError):
        H264Decoder().decode(bare, (48, 64))


def test_skipping_the_deblocking_filter_leaves_vectors_alone(real_frames):
    slow = av.CodecContext.create('h264', 'r')
    slow.thread_count, slow.options = 1, {'flags2': '+export_mvs'}
    for picture in encode(real_frames[:15], rate=25.0, preset='veryfast'):
        (frame,) = slow.decode(av.Packet(picture.data))
        if frame.side_data.get('MOTION_VECTORS') is not None:
            assert MotionField.from_codec(frame.side_data.get('MOTION_VECTORS'), picture.size) == picture.motion


@pytest.mark.parametrize('kbps', [500, 1500])
def test_bitrate_is_kept_within_a_quarter(kbps, real_frames):
    encoded = encode(real_frames, rate=25.0, bitrate_kbps=kbps)
    sent = sum(len(picture.data) for picture in encoded[5:]) * 8 / 1000 / (len(encoded) - 5) * 25
    assert 0.75 * kbps < sent < 1.25 * kbps


def test_bitrate_changes_on_the_way_down_in_place_up_by_a_key_frame(real_frames):
    encoder, sent, keys = H264Encoder(EncoderSettings((272, 640), 25.0, bitrate_kbps=2000)), [], []
    for i in range(120):
        if i in (40, 80):
            encoder.set_bitrate(600 if i == 40 else 4000)
        picture = encoder.encode(real_frames[i % 28])
        sent.append(len(picture.data) * 8 / 1000 * 25)
        keys += [i] * picture.keyframe
    assert keys == [0, 80]
    assert 400 < np.mean(sent[50:80]) < 850
    assert 2800 < np.mean(sent[85:]) < 5000
    with pytest.raises(InputError, match='kbit/s'):
        encoder.set_bitrate(0)


def test_a_limit_holds_in_place_and_is_lifted_without_a_key_frame(real_frames):
    encoder, sent, keys = H264Encoder(EncoderSettings((272, 640), 25.0, bitrate_kbps=3000)), [], []
    for i in range(160):
        encoder.set_limit({0: 1000, 1: 500}.get(i // 40, math.inf))
        if i == 120:
            encoder.set_bitrate(1500)
        picture = encoder.encode(real_frames[i % 28])
        sent.append(len(picture.data) * 8 / 1000 * 25)
        keys += [i] * picture.keyframe
    assert keys == [0]
    assert 600 < np.mean(sent[10:40]) < 1300
    assert 300 < np.mean(sent[60:80]) < 700
    assert 1800 < np.mean(sent[95:120]) < 3800
    assert 1000 < np.mean(sent[130:]) < 2000
    for wrong in (0, math.nan):
        with pytest.raises(InputError, match='limit'):
            encoder.set_limit(wrong)


def test_settings_out_of_range_and_missing_encoders_are_named():
    with pytest.raises(InputError, match='libx264'):
        EncoderSettings((64, 64), encoder='h265')
    with pytest.raises(InputError, match='ultrafast'):
        EncoderSettings((64, 64), preset='warp')
    for change in ({'rate': 0}, {'bitrate_kbps': 0}, {'gop': 0}, {'size': (64, 9000)}):
        with pytest.raises(InputError):
            dataclasses.replace(EncoderSettings((64, 64)), **change)
    assert 'libx264' in available_encoders()
    missing = next(name for name in ('h264_v4l2m2m', 'h264_nvenc', 'h264_vaapi') if name not in available_encoders())
    with pytest.raises(InputError, match=f'{missing}.*Available here: .*libx264'):
        H264Encoder(EncoderSettings((64, 64), encoder=missing))


def test_decoder_needs_a_key_frame_first_and_after_a_loss():
    encoded = encode(moving(6, (3, 0), (64, 96)))
    decoder = H264Decoder()
    with pytest.raises(InputError, match='key frame'):
        decoder.decode(encoded[1].data, (64, 96))
    decoder.decode(encoded[0].data, (64, 96))
    decoder.decode(encoded[1].data, (64, 96))
    with pytest.raises(InputError, match='predecessor is missing'):
        decoder.decode(encoded[3].data, (64, 96))
    with pytest.raises(InputError):
        decoder.decode(encoded[2].data, (64, 96))
    assert decoder.decode(encoded[0].data, (64, 96)).shape == (64, 96, 3)


def test_several_pictures_in_one_piece_give_the_last():
    pictures = moving(5, (3, 0), (64, 96))
    encoded = encode(pictures)
    joined = b''.join(picture.data for picture in encoded[:4])
    assert access_units(joined) == [picture.data for picture in encoded[:4]]
    decoder = H264Decoder()
    assert psnr(decoder.decode(joined, (64, 96)), pictures[3]) > 30
    assert psnr(decoder.decode(encoded[4].data, (64, 96)), pictures[4]) > 30


def test_another_size_is_refused_before_decoding():
    (picture,) = encode([texture(64, 96)])
    with pytest.raises(InputError, match='96x64 came where 98x64'):
        H264Decoder().decode(picture.data, (64, 98))


def test_damaged_data_give_an_error_or_a_picture_never_a_crash():
    encoded = encode(moving(4, (3, 1), (96, 128)))
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(150):
        decoder = H264Decoder()
        victim = trial % len(encoded)
        for i, picture in enumerate(encoded):
            data = bytearray(picture.data)
            if i == victim:
                if trial % 3 == 0:
                    data = data[: int(rng.integers(0, len(data)))]
                else:
                    for position in rng.integers(0, len(data), 1 + trial % 7):
                        data[position] = int(rng.integers(0, 256))
            try:
                assert decoder.decode(bytes(data), (96, 128)).shape == (96, 128, 3)
            except InputError:
                refused += 1
                break
    assert refused > 120
    for junk in (b'', b'\0\0\1', b'\0\0\0\1\x65', b'junk' * 100, bytes(range(256)) * 4):
        with pytest.raises(InputError):
            H264Decoder().decode(junk, (96, 128))


@pytest.mark.parametrize('size', [(271, 641), (64, 96)])
def test_syntax_reads_what_the_encoder_wrote(size):
    syntax = H264Syntax()
    for i, picture in enumerate(encode(moving(4, (3, 1), size))):
        (header,) = syntax.slices(picture.data)
        assert (header.sequence.height, header.sequence.width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert header.sequence.references == 1 and header.sequence.frames_only
        assert header.idr == (i == 0) and header.kind == (2 if i == 0 else 0)
        assert header.is_reference and header.first_block == 0 and header.references == (0 if i == 0 else 1)
        assert i == 0 or header.frame_number == i
