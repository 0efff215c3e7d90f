"""The codec stage: it spends the bits that it is given, on what the robot needs, and leaves the models alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import SIZE, tiny_footage

from dedelayed_ros.errors import InputError
from dedelayed_ros.link import LatentCoder
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.train.codec import CodecTask
from dedelayed_ros.train.config import CodecConfig
from dedelayed_ros.train.footage import Clip, available
from dedelayed_ros.train.joint import encode_clips
from dedelayed_ros.train.loop import fit


@pytest.fixture(scope='module')
def parts(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    torch.manual_seed(0)
    local, remote = LocalModel().eval(), RemoteModel().eval()
    torch.nn.init.normal_(local.fusion.expand.weight, std=0.1)
    for model in (local, remote):
        model.requires_grad_(False)
    clips: list[Clip] = available(tiny_cache, tiny_footage('clips'))
    maps = encode_clips(remote, clips, tmp_path_factory.mktemp('maps'), 'key', lambda text: None)
    return local, remote, (clips, maps)


def stage(bits: float, steps: int = 1) -> CodecConfig:
    return CodecConfig(steps=steps, batch=4, rate=5e-3, crop=SIZE, warmup=1, latents=4, bits=bits, weight_gain=0.1)


@pytest.mark.parametrize(('bits', 'grows'), [(0.5, True), (200.0, False)])
def test_the_weight_of_the_rate_follows_the_rate(parts: tuple, bits: float, grows: bool) -> None:
    task = CodecTask(*parts, stage(bits))
    before = float(task._weight.value)
    task.losses(np.random.default_rng(0))
    assert (float(task._weight.value) > before) == grows


def test_training_makes_latents_say_more_in_the_bits_that_there_are(parts: tuple, tmp_path: Path) -> None:
    config = stage(bits=16.0, steps=60)
    task = CodecTask(*parts, config)
    first = task.losses(np.random.default_rng(0))
    fit(task, config, tmp_path, 'x', lambda text: None)
    last = task.losses(np.random.default_rng(0))
    assert float(last['added'].detach()) < 0.5 * float(first['added'].detach())
    local, remote, _ = parts
    assert not any(p.grad is not None for model in (local, remote) for p in model.parameters())
    features = task._features(np.random.default_rng(5), 6)
    coder = LatentCoder(task.code_lengths())
    with torch.no_grad():
        sizes = [len(coder.pack(latents.numpy())) for latents in task.codec.encode(features)]
    cells = features.shape[-2] * features.shape[-1]
    assert 8 * np.mean(sizes) / cells < 2 * 16.0, 'near the budget, on a grid of a few cells'


def test_it_can_go_on_from_a_codec_that_is_there(parts: tuple, tmp_path: Path) -> None:
    config = stage(bits=16.0, steps=40)
    begun = CodecTask(*parts, config)
    fit(begun, config, tmp_path, 'x', lambda text: None)
    found = begun.losses(np.random.default_rng(0))['added']
    again = CodecTask(*parts, config, begun.codec)
    assert float(again.losses(np.random.default_rng(0))['added'].detach()) == pytest.approx(
        float(found.detach()), rel=1e-3
    )
    with pytest.raises(InputError, match='other features or latents'):
        CodecTask(*parts, config, FeatureCodec(latents=5))
