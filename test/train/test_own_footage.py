"""Videos and labels of one's own: as clips, and a pair that goes on from the shipped one on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dedelayed_ros.cli import main
from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.delay_cases import judged
from dedelayed_ros.models import CITYSCAPES, zoo
from dedelayed_ros.train.footage import open_clip
from dedelayed_ros.train.own import import_footage, own_recipe
from dedelayed_ros.train.stages import Workshop

SIZE = (130, 200)  # of the camera; the models see 128x192


def pictures(folder: Path, frames: int, labelled: tuple[int, ...]) -> tuple[str, Path]:
    """A folder of images with a box that moves over a ground, and labels of some of them."""
    rng = np.random.default_rng(1)
    ground = rng.integers(60, 120, (*SIZE, 3), dtype=np.uint8)
    images, labels = folder / 'images', folder / 'labels'
    images.mkdir(parents=True)
    labels.mkdir()
    for number in range(frames):
        image, label = ground.copy(), np.zeros(SIZE, np.uint8)
        image[40:90, 20 + 4 * number : 70 + 4 * number] = (200, 40, 40)
        label[40:90, 20 + 4 * number : 70 + 4 * number] = 13
        label[:10] = 255
        Image.fromarray(image).save(images / f'{number}.png')
        if number in labelled:
            Image.fromarray(label).save(labels / f'street_{number:03d}.png')
    return str(images), labels


def test_a_video_and_its_labels_become_clips(tmp_path: Path) -> None:
    video, labels = pictures(tmp_path, 22, (0, 5, 13))
    assert main(['footage', video, str(labels), '--out', str(tmp_path / 'own'), '--frames', '12']) == 0
    clips = [open_clip(folder) for folder in sorted((tmp_path / 'own').iterdir())]
    assert [len(clip) for clip in clips] == [12, 10]
    assert main(['footage', video, str(labels), '--out', str(tmp_path / 'own')]) == 2  # not over what is there
    assert clips[0].images.shape == clips[0].decoded.shape == (12, 128, 192, 3)
    assert clips[0].rate == 25.0 and len(clips[1].motions) == 10
    known = [[bool((label != 255).any()) for label in clip.labels] for clip in clips]
    assert [np.flatnonzero(frames).tolist() for frames in known] == [[0, 5], [1]]
    label = clips[0].labels[5]
    assert set(np.unique(label)) == {0, 13, 255}
    assert label[64, 80] == 13 and label[64, 30] == 0 and label[2, 80] == 255
    assert judged(clips[0], 0.0, 1) == [0, 5] and judged(clips[0], 80.0, 1) == [5] and judged(clips[0], 0.0, 2) == [0]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    video, labels = pictures(tmp_path, 9, (3,))
    out = tmp_path / 'own'

    def importing(match: str, folder: Path = labels, **options: int) -> None:
        with pytest.raises(InputError, match=match):
            import_footage(video, folder, out, CITYSCAPES, **options)

    importing('clips of 4 frames; expected at least 8', frames=4)
    (tmp_path / 'none').mkdir()
    importing('none has no labels; expected a folder of PNGs such as 000012.png', tmp_path / 'none')
    late = tmp_path / 'late'
    late.mkdir()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(late / '100.png')
    importing('labels in .*late begin with frame 100', late)
    assert not list(out.iterdir())
    Image.fromarray(np.full(SIZE, 26, np.uint8)).save(late / '1.png')
    importing('1.png has the class id 26; expected 0 to 18', late)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(late / '1.png')
    importing(r'1.png is uint8 \[130, 200, 3\]; expected one channel', late)
    with pytest.raises(InputError, match='has fewer than 8 frames'):
        import_footage(pictures(tmp_path / 'short', 5, (0,))[0], labels, out, CITYSCAPES)
    with pytest.raises(InputError, match=r'holds no clips; `dedelayed footage VIDEO LABELS --out .*/train`'):
        own_recipe('mine', tmp_path / 'nowhere')


@pytest.mark.timeout(120)
def test_a_pair_goes_on_from_the_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / 'own'
    for part in ('train', 'validation'):
        video, labels = pictures(tmp_path / part, 12, tuple(range(0, 12, 2)))
        import_footage(video, labels, own / part, CITYSCAPES, frames=12)
    config = own_recipe('mine', own)
    stages = {
        name: dataclasses.replace(getattr(config, name), steps=1, batch=4, warmup=1)
        for name in ('local', 'remote', 'joint', 'codec')
    }
    config = dataclasses.replace(config, **stages)
    shop = Workshop(config, tmp_path / 'cache', tmp_path / 'runs', lambda text: None)
    shop.footage(1)
    for stage in (shop.local, shop.remote, shop.joint, shop.codec):
        stage()
    made, base = zoo.entry(str(shop.export('joint', tmp_path / 'made'))), zoo.entry(zoo.DEFAULT)
    assert (made.name, made.link_channels, made.carry_split) == ('mine', base.link_channels, base.carry_split)
    path = str(tmp_path / 'made' / 'mine.json')
    assert zoo.load_remote(path).feature_channels == zoo.load_local(path).feature_channels
