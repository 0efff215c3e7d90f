from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dedelayed_ros.train.augment import crop_pair, photometric
from dedelayed_ros.train.config import StageConfig
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.pretrain import SingleFrames


def test_picture_and_labels_stay_together() -> None:
    """Where the label is 1 the picture is white: it must be so in every crop, mirrored or not, at any scale."""
    labels = np.zeros((160, 320), np.uint8)
    labels[40:120, 60:200] = 1
    image = np.repeat(labels[..., None] * 255, 3, axis=2).astype(np.uint8)
    for seed in range(40):
        picture, target = crop_pair(image, labels, (128, 192), (64, 96), np.random.default_rng(seed))
        assert picture.shape == (3, 64, 96)
        assert target.shape == (128, 192)
        small = target[::2, ::2].float() * 255
        assert float((picture[0].float() - small).abs().mean()) < 10


def test_crops_differ_and_are_repeatable() -> None:
    labels = np.random.default_rng(0).integers(0, 19, (160, 320), dtype=np.uint8)
    image = np.repeat(labels[..., None], 3, axis=2)

    def crop(seed: int) -> torch.Tensor:
        return crop_pair(image, labels, (128, 192), (64, 96), np.random.default_rng(seed))[1]

    assert torch.equal(crop(1), crop(1))
    assert len({crop(seed).numpy().tobytes() for seed in range(10)}) == 10


def test_photometric_changes_light_but_not_range() -> None:
    images = torch.randint(0, 256, (8, 3, 32, 48), dtype=torch.uint8)
    changed = photometric(images, np.random.default_rng(0))
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert 0.0 <= float(changed.min()) <= float(changed.max()) <= 1.0
    assert float((changed - images / 255.0).abs().mean()) > 0.02
    assert torch.equal(changed, photometric(images, np.random.default_rng(0)))


@pytest.mark.parametrize(('share', 'least', 'most'), [(0.0, 0, 0), (0.5, 16, 48), (1.0, 64, 64)])
def test_a_share_of_the_pictures_went_through_the_uplink(share: float, least: int, most: int, tmp_path: Path) -> None:
    for name, value in (('images', 0), ('decoded', 255)):
        np.save(tmp_path / f'{name}.npy', np.full((1, 64, 64, 3), value, np.uint8))
    np.save(tmp_path / 'labels.npy', np.zeros((1, 64, 64), np.uint8))
    stage = StageConfig(steps=1, batch=64, rate=1.0, crop=(32, 32))
    frames = SingleFrames([Clip(tmp_path, 0, 1.0)], stage, (32, 32), decoded=share)
    pictures, _ = frames.batch(np.random.default_rng(0))
    assert least <= int((pictures.float().mean((1, 2, 3)) > 0.5 * pictures.max()).sum()) <= most
