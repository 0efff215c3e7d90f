from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.report import Account, Recording, write
from dedelayed_ros.report.video import choose_pictures, fit


def images(account: Account, first: int = 0):
    """The source again, each frame in a grey of its own."""
    for sequence in range(first, 200):
        yield sequence, np.full((*account.size, 3), sequence, np.uint8)


@pytest.mark.timeout(60)
def test_a_run_becomes_a_folder(account: Account, recording: Recording, tmp_path: Path) -> None:
    summary, paths = write(account, recording, tmp_path, images=images(account), labels=CITYSCAPES)
    assert json.loads(paths.summary.read_text()) == summary
    assert set(summary['class_shares']) == set(CITYSCAPES.names)

    assert paths.overlay is not None
    with av.open(str(paths.overlay)) as video:
        frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 20
    assert len(frames) == 100  # one a due frame, also those without a mask
    # Row 7 has no mask and shows the source as it is, row 8 its mask's colour over it.
    for row, expected in ((7, np.full(3, 47.0)), (8, (48 + CITYSCAPES.palette[8].astype(float)) / 2)):
        assert frames[row][20:200, 20:400].mean(axis=(0, 1)) == pytest.approx(expected, abs=4)

    page = paths.report.read_text()
    assert '{{' not in page
    assert 'story &lt;clip&gt;.mp4' in page
    assert 'story <clip>' not in page
    for drawing in re.findall(r'data:image/svg\+xml;base64,([^"]*)', page):
        assert ElementTree.fromstring(base64.b64decode(drawing)).tag.endswith('svg')
    assert page.count('data:image/svg+xml') == 3
    assert page.count('data:image/jpeg;base64,') == len(choose_pictures(account))
    outside = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert set(outside) == {'overlay.mp4'}, 'the page needs nothing but the video beside it'


def test_a_source_that_plays_only_once_has_a_report_without_a_video(
    account: Account, recording: Recording, tmp_path: Path
) -> None:
    summary, paths = write(account, recording, tmp_path, images=None, labels=CITYSCAPES)
    assert paths.overlay is None
    assert 'overlay' not in summary['files']
    assert '<video' not in paths.report.read_text()


def test_a_mask_of_the_models_size_is_shown_at_the_cameras() -> None:
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    assert np.array_equal(fit(mask, (4, 4)), np.repeat(np.repeat(mask, 2, 0), 2, 1))
    assert fit(mask, (3, 5)).shape == (3, 5)
    assert fit(mask, (2, 2)) is mask


def test_pictures_are_chosen_around_what_happened(account: Account) -> None:
    chosen = choose_pictures(account)
    assert 40 + 16 in chosen  # 0.2 s before the kill at 1 s
    assert 40 + 80 in chosen  # 1 s after the restart at 3 s
    assert chosen <= set(range(40, 140))
    assert len(chosen) >= 6
    assert np.diff(sorted(chosen)).min() >= 6, 'two that are alike are one too many'
