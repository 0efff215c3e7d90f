"""`dedelayed run` on what people have: odd sizes, phones, stills, cuts, other codecs, and files that are no video."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dedelayed_ros.cli import main
from dedelayed_ros.cloud import CloudServer, CloudSettings
from dedelayed_ros.masks import render
from dedelayed_ros.models.pictures import scaled

pytestmark = pytest.mark.timeout(60)


def scene(n: int, size: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]: a texture that moves two pixels a frame."""
    texture = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 2, size[1] // 8 + 40, 3), np.uint8)
    image = np.repeat(np.repeat(texture, 8, 0), 8, 1)
    return np.ascontiguousarray(image[: size[0], 2 * n : 2 * n + size[1]])


def make_clip(
    path: Path, images: list[np.ndarray], *, codec: str = 'libx264', pix_fmt: str = 'yuv420p', **options: Any
) -> Path:
    height, width = images[0].shape[:2]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.options = {key: str(value) for key, value in options.items()}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))
    return path


def segment(source: Path | str, out: Path, *options: str) -> dict[str, Any]:
    assert main(['run', str(source), '--out', str(out), *options]) == 0
    return json.loads((out / 'summary.json').read_text())


def masks(out: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((out / 'masks').glob('*.png'))]


def overlay_frames(out: Path) -> int:
    with av.open(str(out / 'overlay.mp4')) as video:
        return sum(1 for _ in video.decode(video=0))


def test_an_odd_size_has_masks_of_that_size(tmp_path: Path) -> None:
    images = [scene(n, (271, 641)) for n in range(5)]
    clip = make_clip(tmp_path / 'odd.mkv', images, pix_fmt='yuv444p')
    summary = segment(clip, tmp_path / 'out')
    assert (summary['frames_in'], summary['masks_out'], summary['masks_local']) == (5, 5, 5)
    assert summary['size'] == {'height': 271, 'width': 641}
    found = masks(tmp_path / 'out')
    assert {(m.shape, m.dtype.name) for m in found} == {((271, 641), 'uint8')}
    assert all(((m < 19) | (m == 255)).all() for m in found)
    assert overlay_frames(tmp_path / 'out') == 5
    assert (tmp_path / 'out' / 'report.html').stat().st_size > 10_000


def test_a_clip_of_one_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / 'one.mp4', [scene(0, (96, 128))])
    copy = tmp_path / 'copy' / 'summary.json'
    summary = segment(clip, tmp_path / 'out', '--json', str(copy))
    assert (summary['frames_in'], summary['masks_out'], summary['longest_gap_ms']) == (1, 1, None)
    assert json.loads(copy.read_text()) == summary
    assert overlay_frames(tmp_path / 'out') == 1


def test_gray(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / 'gray.mkv', [scene(n, (96, 128)) for n in range(3)], codec='ffv1', pix_fmt='gray')
    assert segment(clip, tmp_path / 'out')['masks_out'] == 3


def view(n: int, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3]: soft shapes, others for each ``n``, by night and by day in turn, as a film's scenes."""
    blobs = np.random.default_rng(n).integers(160 * (n % 2), 160 * (n % 2) + 90, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(blobs).resize(size[::-1], Image.Resampling.BICUBIC))


def test_hard_cuts_are_seen(tmp_path: Path) -> None:
    images = [view(n // 4, (144, 192)) for n in range(12)]
    summary = segment(make_clip(tmp_path / 'cuts.mp4', images), tmp_path / 'out')
    assert summary['masks_out'] == 12
    assert summary['scene_cuts'] == 2


def test_a_rotated_phone_clip_is_upright(tmp_path: Path) -> None:
    images = [scene(n, (96, 160)) for n in range(3)]
    clip = make_clip(tmp_path / 'phone.mp4', images)
    rotate(clip)
    summary = segment(clip, tmp_path / 'out')
    assert summary['size'] == {'height': 160, 'width': 96}
    assert masks(tmp_path / 'out')[0].shape == (160, 96)


def rotate(path: Path) -> None:
    """Write a rotation by 90° into the track header's matrix, as phones do."""
    data = bytearray(path.read_bytes())
    place = data.index(b'tkhd') + 4 + 40
    identity = b''.join(v.to_bytes(4, 'big') for v in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    assert data[place : place + 36] == identity
    turned = b''.join(
        (v & 0xFFFFFFFF).to_bytes(4, 'big') for v in (0, 0x10000, 0, -0x10000, 0, 0, 96 << 16, 0, 0x40000000)
    )
    data[place : place + 36] = turned
    path.write_bytes(data)


@pytest.mark.skipif('libx265' not in av.codecs_available, reason='this FFmpeg cannot make HEVC')
def test_hevc_works_by_encoding_anew(tmp_path: Path) -> None:
    images = [scene(n, (96, 128)) for n in range(4)]
    clip = make_clip(tmp_path / 'hevc.mp4', images, codec='libx265', **{'x265-params': 'log-level=none'})
    assert segment(clip, tmp_path / 'out')['masks_out'] == 4


def test_a_folder_of_images_as_a_lossless_video_of_masks(tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    folder.mkdir()
    for n in range(3):
        Image.fromarray(scene(n, (97, 131))).save(folder / f'{n}.png')
    summary = segment(folder, tmp_path / 'video', '--masks', 'video')
    segment(folder, tmp_path / 'png')
    assert summary['masks_out'] == 3
    with av.open(str(tmp_path / 'video' / 'masks.mkv')) as video:
        frames = [frame.to_ndarray(format='gray') for frame in video.decode(video=0)]
    assert all(np.array_equal(a, b) for a, b in zip(frames, masks(tmp_path / 'png'), strict=True))


def test_seconds_end_a_loop(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / 'short.mp4', [scene(n, (96, 128)) for n in range(3)])
    summary = segment(clip, tmp_path / 'out', '--loop', '--seconds', '0.4', '--masks', 'none')
    assert summary['masks_out'] == 10
    assert overlay_frames(tmp_path / 'out') == 10
    assert not (tmp_path / 'out' / 'masks').exists()


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    segment(make_clip(tmp_path / 'long.mp4', [scene(n, (96, 128)) for n in range(4)]), out)
    mine = out / 'notes.txt'
    mine.write_text('keep me')
    segment(make_clip(tmp_path / 'short.mkv', [scene(0, (96, 128))], codec='ffv1'), out)
    assert len(masks(out)) == 1
    assert mine.exists()


def test_a_cloud_is_used(tmp_path: Path, free_port: Any, capfd: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / 'clip.mp4', [scene(n, (144, 192)) for n in range(60)])
    endpoint = f'tcp/127.0.0.1:{free_port()}'
    with CloudServer(CloudSettings(listen=(endpoint,), threads=1)):
        summary = segment(clip, tmp_path / 'out', '--cloud', endpoint)
        local = segment(clip, tmp_path / 'local', '--cloud', endpoint, '--mode', 'local')
    assert summary['masks_fused'] > 0
    assert summary['notes'] == []
    assert 'no motion' not in summary['degraded'], 'features are carried by the motion of the encoded pictures'
    assert summary['uplink_kbps'] > 0
    assert summary['downlink_kbps'] > 0
    assert 'connected to' in capfd.readouterr().err
    assert local['masks_fused'] == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize('mode', ['offload', 'auto'])
def test_work_is_shared_with_a_cloud(tmp_path: Path, free_port: Any, mode: str) -> None:
    clip = make_clip(tmp_path / 'clip.mp4', [scene(n, (64, 96)) for n in range(40)])
    endpoint = f'tcp/127.0.0.1:{free_port()}'
    with CloudServer(CloudSettings(listen=(endpoint,), threads=1)):
        summary = segment(clip, tmp_path / 'out', '--cloud', endpoint, '--mode', mode)
    decided = summary['decisions']
    assert sum(decided['preferred'].values()) == summary['masks_out'] > 0
    assert set(decided['preferred']) <= {'cloud', 'edge', *(('fused', 'local') if mode == 'auto' else ())}
    assert decided['changes'][0]['reason']
    assert 'preferred' in (tmp_path / 'out' / 'report.html').read_text()
    assert summary['settings']['uplink'] == 'h264'


def test_work_is_not_shared_with_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / 'clip.mp4', [scene(0, (64, 96))])
    assert main(['run', str(clip), '--out', str(tmp_path / 'out'), '--mode', 'offload']) != 0
    assert 'say where it is with --cloud' in capsys.readouterr().err


def test_an_unreachable_cloud_is_said_and_gone_without(
    tmp_path: Path, free_port: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(tmp_path / 'clip.mp4', [scene(n, (96, 128)) for n in range(3)])
    summary = segment(clip, tmp_path / 'out', '--cloud', f'tcp/127.0.0.1:{free_port()}')
    assert summary['masks_local'] == summary['masks_out'] >= 1
    assert 'The cloud sent no features' in summary['notes'][0]
    assert 'going on without the cloud' in capfd.readouterr().err


def missing(tmp_path: Path) -> list[str]:
    return [str(tmp_path / 'nothing.mp4')]


def no_video(tmp_path: Path) -> list[str]:
    path = tmp_path / 'notes.mp4'
    path.write_text('this is no video at all\n' * 50)
    return [str(path)]


def empty_folder(tmp_path: Path) -> list[str]:
    (tmp_path / 'empty').mkdir()
    return [str(tmp_path / 'empty')]


def fast_cloud(tmp_path: Path) -> list[str]:
    return [str(make_clip(tmp_path / 'c.mp4', [scene(0, (96, 128))])), '--cloud', 'tcp/127.0.0.1:1', '--rate', 'fast']


def unknown_model(tmp_path: Path) -> list[str]:
    return [str(make_clip(tmp_path / 'c.mp4', [scene(0, (96, 128))])), '--model', 'highway-v9']


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (missing, ['nothing.mp4']),
        (no_video, ['notes.mp4', 'not a video']),
        (empty_folder, ['empty']),
        (fast_cloud, ['--rate own']),
        (unknown_model, ['highway-v9', 'street-v1']),
    ],
)
def test_what_cannot_work_is_one_clear_message(
    make: Any, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['run', *make(tmp_path), '--out', str(tmp_path / 'out')]) == 2
    said = capsys.readouterr().err
    assert said.startswith('dedelayed: ')
    assert len(said.strip().splitlines()) == 1
    for word in words:
        assert word in said


def test_a_network_of_one_s_own_is_imported_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 96, 160),)), tmp_path / 'net.pt2')
    (tmp_path / 'labels.txt').write_text('lawn 0 200 0\npath\npond')
    options = ['--labels', str(tmp_path / 'labels.txt'), '--mean', '0.5,0.5,0.5', '--out', str(tmp_path)]
    assert main(['import', str(tmp_path / 'net.pt2'), '--name', 'garden', *options]) == 0
    entry = str(tmp_path / 'garden.json')
    assert f'--model {entry}' in capsys.readouterr().out
    images = [scene(n, (192, 320)) for n in range(4)]
    clip = make_clip(tmp_path / 'garden.mkv', images, crf=4)
    segment(clip, tmp_path / 'out', '--mode', 'local', '--model', entry)
    for mask, image in zip(masks(tmp_path / 'out'), images, strict=True):
        with torch.inference_mode():
            picture = torch.from_numpy(scaled(image, (96, 160))).permute(2, 0, 1)[None].float() / 255
            expected, _ = render(network(picture - 0.5)[0], (192, 320))
        assert len(np.unique(expected)) > 1
        assert (mask == expected).mean() > 0.95  # bfloat16, and the codec
    assert main(['calibrate', '--model', entry]) == 2
    assert 'garden has 3 classes of its own' in capsys.readouterr().err
