"""`dedelayed street`."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dedelayed_ros.cli import main
from dedelayed_ros.errors import InputError
from dedelayed_ros.sim.street import StreetClip
from dedelayed_ros.sim.street.engine import open_context


@pytest.fixture(scope='module', autouse=True)
def _renderer() -> None:
    try:
        open_context().release()
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(60)
def test_it_writes_a_clip_its_labels_an_overlay_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'clip'
    words = ['--seed', '2', '--frames', '4', '--size', '161x97', '--rate', '12.5', '--sheet', '2:3']
    assert main(['street', '--out', str(out), *words]) == 0
    assert 'road' in capsys.readouterr().out
    with StreetClip(2, size=(97, 161), rate=12.5, frames=4) as clip:
        street = list(clip)
    for name in ('clip.mp4', 'overlay.mp4'):
        with av.open(str(out / name)) as video:
            assert video.streams.video[0].average_rate == pytest.approx(12.5)
            pictures = [f.to_ndarray(format='rgb24') for f in video.decode(video=0)]
        assert len(pictures) == 4
        assert pictures[0].shape == (96, 160, 3)  # 4:2:0 has even sides
        if name == 'clip.mp4':
            assert np.abs(pictures[3].astype(int) - street[3].image[:96, :160]).mean() < 12
    files = sorted((out / 'labels').iterdir())
    assert [f.name for f in files] == [f'{k:06d}.png' for k in range(4)]
    with Image.open(files[3]) as image:
        assert image.mode == 'P'
        assert np.array_equal(np.asarray(image), street[3].labels)
        assert image.getpalette()[:3] == [128, 64, 128]
    with Image.open(out / 'sheet.png') as image:
        assert image.size == (4 * 161, 97)


@pytest.mark.parametrize(
    'words',
    [[], ['--seed', '1', '--size', '640'], ['--seed', '1', '--frames', '0'], ['--sheet', '9:3'], ['--sheet', 'all']],
)
def test_a_wrong_command_says_what_is_expected(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['street', '--out', str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.startswith('dedelayed: ')
