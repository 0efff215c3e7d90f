"""Drawing frames by what is rare in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.rare import RareFrames

ROAD, CAR, TRAIN = 0, 13, 16


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Ten clips of four frames: road everywhere, a car in every second clip, a train in one frame of the last."""
    clips = []
    for number in range(10):
        labels = np.full((4, 200, 300), ROAD, np.uint8)
        labels[:, :100, : 150 * (number % 2)] = CAR
        if number == 9:
            labels[2, :40, :40] = TRAIN
        folder = tmp_path / str(number)
        folder.mkdir()
        np.save(folder / 'labels.npy', labels)
        np.save(folder / 'images.npy', np.zeros((*labels.shape, 3), np.uint8))
        clips.append(Clip(folder, number, 1.0))
    return clips


def drawn(clips: list[Clip], rare: float, count: int = 4000) -> Counter[tuple[int, int]]:
    draw, rng = RareFrames(clips, rare), np.random.default_rng(0)
    return Counter(draw(rng) for _ in range(count))


def test_without_a_share_every_clip_and_frame_is_as_likely(clips: list[Clip]) -> None:
    counts = drawn(clips, 0.0)
    assert len(counts) == 40
    assert max(counts.values()) < 1.6 * 4000 / 40


def test_the_rarer_a_class_the_likelier_are_its_frames(clips: list[Clip]) -> None:
    counts = drawn(clips, 0.5)
    # Shares of pixels: train 64/2400 of one frame in 40, cars an eighth, road the rest; odds by their inverse roots.
    odds = np.array([64 / 2400 / 40, 1 / 8, 7 / 8]) ** -0.5
    odds /= odds.sum()
    assert counts[9, 2] / 4000 == pytest.approx(0.5 * (odds[0] + odds[1] / 20 + odds[2] / 40) + 0.5 / 40, abs=0.03)
    assert len(counts) == 40  # nothing is left out
    again = drawn(clips, 0.5)
    assert again == counts


def test_a_class_that_is_nowhere_to_be_learnt_is_not_looked_for(clips: list[Clip]) -> None:
    labels = np.load(clips[9].folder / 'labels.npy')
    labels[2, :40, :40] = ROAD
    labels[2, :4, :4] = TRAIN  # a speck: too little to be seen
    np.save(clips[9].folder / 'labels.npy', labels)
    counts = drawn(clips, 1.0)
    assert counts[9, 2] < 300


def test_frames_without_labels_are_not_drawn(clips: list[Clip]) -> None:
    for clip in clips:
        labels = np.load(clip.folder / 'labels.npy')
        labels[[0, 1, 3] if clip.seed < 9 else slice(None)] = 255
        np.save(clip.folder / 'labels.npy', labels)
    clips = [Clip(clip.folder, clip.seed, clip.rate) for clip in clips]
    assert set(drawn(clips, 0.5)) == {(number, 2) for number in range(9)}
    with pytest.raises(InputError, match='none of the 1 clips to train on has a label'):
        RareFrames(clips[9:], 0.5)
