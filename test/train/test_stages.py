"""Every stage on two tiny clips: losses fall, a stopped run goes on exactly, and what is exported works."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dedelayed_ros.errors import InputError, WeightsError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.greeting import feature_format
from dedelayed_ros.models import zoo
from dedelayed_ros.models.blocks import fold_batchnorm
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.efficientnet import EfficientNetLite0
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.sim.street.layout import Street
from dedelayed_ros.train import evaluate, stages
from dedelayed_ros.train.config import (
    RECIPES,
    CodecConfig,
    ConvConfig,
    FootageConfig,
    JointConfig,
    RemoteConfig,
    StageConfig,
    TrainConfig,
    recipe,
)
from dedelayed_ros.train.export import export_conv, export_pair
from dedelayed_ros.train.fine import deepened, divided, refined, refined_remote
from dedelayed_ros.train.footage import Clip, available, class_shares, prepare, street_seeds
from dedelayed_ros.train.joint import JointTask, encode_clips
from dedelayed_ros.train.loop import fit
from dedelayed_ros.train.pretrain import (
    LocalTask,
    RemoteTask,
    fold_backbone,
    local_from,
    new_local,
    remote_for_training,
    remote_from,
    unfolded_remote,
)
from dedelayed_ros.train.rare import RareFrames
from dedelayed_ros.train.stages import Workshop

SIZE = (64, 128)
STAGE = {'steps': 6, 'batch': 4, 'rate': 2e-3, 'crop': SIZE, 'warmup': 1}


def footage(name: str) -> FootageConfig:
    return FootageConfig(name, first_seed=0, seeds=2, frames=12, rates=(20.0,), size=SIZE)


CONFIG = TrainConfig(
    'tiny',
    footage('stills'),
    footage('clips'),
    footage('validation'),
    StageConfig(**STAGE),
    RemoteConfig(**STAGE, through_features=0.5),
    JointConfig(**STAGE, windows=2, longest_delay_ms=200.0, gate=-1.0, arrival=0.5, split=2, fine=True),
    conv=ConvConfig(**STAGE, decoded=0.5),
    codec=CodecConfig(**STAGE, latents=4, bits=20.0),
    single=('stills', 'clips'),
    delays_ms=(0.0, 100.0, 200.0),
)


class Silent:
    def __call__(self, text: str) -> None:
        pass


class Stopping(LocalTask):
    """The local stage of a process that dies at some step."""

    left = 3

    def losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().losses(rng)


def test_an_interrupted_stage_ends_with_the_same_weights(tiny_cache: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    clips = available(tiny_cache, CONFIG.stills)
    stage, weights = CONFIG.local, torch.ones(19)
    whole = LocalTask(new_local(1), clips, stage, weights)
    fit(whole, stage, tmp_path / 'whole', 'x', Silent(), save_every_s=1e9)
    with pytest.raises(KeyboardInterrupt):
        fit(Stopping(new_local(1), clips, stage, weights), stage, tmp_path / 'parts', 'x', Silent(), save_every_s=0)
    rest = LocalTask(new_local(1), clips, stage, weights)
    said: list[str] = []
    fit(rest, stage, tmp_path / 'parts', 'x', said.append)
    assert 'continued at step 3 of 6' in said[0]
    for (name, expected), found in zip(whole.model.state_dict().items(), rest.model.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name
    with pytest.raises(InputError, match='another recipe'):
        fit(rest, stage, tmp_path / 'parts', 'y', Silent())


def test_the_local_loss_falls(tiny_cache: Path, tmp_path: Path) -> None:
    stage = dataclasses.replace(CONFIG.local, steps=25)
    task = LocalTask(new_local(1), available(tiny_cache, CONFIG.stills), stage, torch.ones(19))
    before = float(task.losses(np.random.default_rng(0))['local'].detach())
    fit(task, stage, tmp_path, 'x', Silent())
    task.model.train()
    assert float(task.losses(np.random.default_rng(0))['local'].detach()) < 0.6 * before


def test_what_makes_the_features_can_stay_while_the_encoder_learns(tiny_cache: Path, tmp_path: Path) -> None:
    stage = dataclasses.replace(CONFIG.remote, keep_features=True)
    remote = remote_for_training()
    before = {name: value.clone() for name, value in remote.state_dict().items()}
    task = RemoteTask(remote, available(tiny_cache, CONFIG.stills), stage, torch.ones(19))
    fit(task, stage, tmp_path, 'x', Silent())
    changed = {name for name, value in task.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition('.')[0] for name in changed} == {'encoder', 'image_head'}


@pytest.mark.timeout(120)
def test_all_stages_make_an_entry_that_works(tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = {'_fc.weight': torch.zeros(1)}
    monkeypatch.setattr(stages, 'imagenet_weights', lambda: published)
    monkeypatch.setattr('dedelayed_ros.train.pretrain.from_classifier', lambda _: EfficientNetLite0().state_dict())
    shop = Workshop(CONFIG, tiny_cache, tmp_path, Silent())
    with pytest.raises(InputError, match='train local'):
        shop.gate()
    shop.local()
    shop.remote()
    assert shop.gate().keys() == {'local', 'remote_image', 'remote'}
    with pytest.raises(InputError, match='--no-gate'):
        Workshop(
            dataclasses.replace(CONFIG, joint=dataclasses.replace(CONFIG.joint, gate=2.0)),
            tiny_cache,
            tmp_path,
            Silent(),
        ).gate()
    shop.joint()
    assert (tmp_path / 'curves.png').is_file()
    assert {'fused', 'local', 'remote', 'step'} == json.loads((tmp_path / 'joint' / 'curves.json').read_text())[
        0
    ].keys()
    shop.codec()
    shop.alone()
    shop.conv()
    assert shop.scores().keys() == {'fused', 'alone'}
    path = shop.export('joint', tmp_path / 'one')
    again = shop.export('joint', tmp_path / 'two')
    for file in path.parent.iterdir():
        assert file.read_bytes() == (again.parent / file.name).read_bytes(), file.name
    found = zoo.entry(str(path))
    assert (found.carry_split, found.link_channels, found.reduce) == (2, 4, 2)
    local, remote, codec = zoo.load_local(str(path)), zoo.load_remote(str(path)), zoo.load_codec(str(path))
    assert remote.ahead is not None
    assert (local.fine, remote.parts) == (True, 2)
    features = remote.predict_still(remote.encode(torch.rand(1, 3, 128, 192)))
    latents = codec.encode(features)
    packed = feature_format(str(path)).pack(latents[0].numpy())
    assert torch.equal(torch.from_numpy(feature_format(str(path)).unpack(packed)), latents[0])
    assert torch.isfinite(local(torch.rand(1, 3, 64, 96), codec.decode(latents), torch.tensor([50.0]))).all()
    conv = zoo.entry(str(shop.export_conv(tmp_path / 'one')))
    assert (conv.name, conv.reduce, set(conv.files)) == ('street-conv', 1, {'local'})
    with pytest.raises(WeightsError, match='no remote part'):
        zoo.load_remote(str(tmp_path / 'one' / 'street-conv.json'))


def test_stages_go_on_from_an_entry(tiny_cache: Path) -> None:
    """The restored models compute what the folded ones of the zoo do, and can be trained: their norms are back."""
    clips = available(tiny_cache, CONFIG.stills)
    local = local_from(zoo.DEFAULT, clips, CONFIG.local).eval()
    picture = torch.rand(2, 3, 64, 96)
    assert local.stem[0].norm is not None
    expected = zoo.load_local(zoo.DEFAULT)(picture)
    assert torch.allclose(local(picture), expected, atol=1e-3 * float(expected.abs().max()))
    remote = remote_from(zoo.DEFAULT, clips, CONFIG.remote).eval()
    picture = torch.rand(1, 3, 64, 128)
    expected = zoo.load_remote(zoo.DEFAULT).encode(picture)
    assert torch.allclose(remote.encode(picture), expected, atol=1e-3 * float(expected.abs().max()))


def test_a_recipe_goes_on_from_what_another_one_exported(tiny_cache: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, base='before', local=dataclasses.replace(CONFIG.local, steps=0))
    shop = Workshop(config, tiny_cache, tmp_path / 'tiny', Silent())
    with pytest.raises(InputError, match='train all --recipe before'):
        shop.local()
    with pytest.raises(InputError, match='train all --recipe before'):
        shop.remote()
    entry = zoo.entry(zoo.DEFAULT)
    (tmp_path / 'before').mkdir()
    for path, _ in entry.files.values():
        shutil.copy(path, tmp_path / 'before')
    shutil.copy(zoo.path_of(zoo.DEFAULT), tmp_path / 'before' / 'before.json')
    shop.local()
    picture = torch.rand(1, 3, 64, 96)
    expected = zoo.load_local(zoo.DEFAULT)(picture)
    assert torch.allclose(shop._local('local')(picture), expected, atol=1e-3 * float(expected.abs().max()))


def test_a_fine_pair_begins_as_the_coarse_one() -> None:
    torch.manual_seed(0)
    coarse, picture = LocalModel().eval(), torch.rand(1, 3, 64, 96)
    torch.nn.init.normal_(coarse.fusion.expand.weight)
    fine = refined(coarse, 48).eval()
    expected = coarse(picture).repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(fine(picture, torch.randn(1, 48, 8, 12)), expected, atol=1e-5)
    assert refined(fine, 48) is fine
    assert refined(fine, 32).feature_channels == 32
    whole = RemoteModel(arrival=True)
    fold_backbone(whole)
    parted = divided(whole, 2)
    assert parted.parts == 2
    assert torch.equal(parted.mix[0].unit.conv.weight, whole.mix[0].unit.conv.weight)
    assert divided(parted, 2) is parted
    finer = refined_remote(whole, 48)
    assert torch.equal(finer.encoder.merge16.conv.weight, whole.encoder.merge16.conv.weight)
    assert (finer.fine, finer.parts, finer.feature_channels) == (True, 2, 48)
    assert refined_remote(finer, 48) is divided(finer, 2) is finer


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'parts': 2},
        {'parts': 2, 'feature_channels': 64},
        {'parts': 2, 'fine': True, 'feature_channels': 48},
        {'parts': 2, 'fine': True, 'deep': 1},
        {'parts': 2, 'fine': True, 'deep': 2},
    ],
)
def test_a_stage_s_remote_model_is_known_by_its_weights(settings: dict) -> None:
    model = remote_for_training(**settings)
    again = unfolded_remote(model.state_dict())
    assert (again.parts, again.fine, again.feature_channels) == (model.parts, model.fine, model.feature_channels)
    assert again.deep == model.deep


@pytest.mark.parametrize('depth', [1, 2])
def test_a_deeper_remote_model_begins_nearly_as_the_one_before(depth: int) -> None:
    torch.manual_seed(0)
    shallow = remote_for_training(parts=2, fine=True, deep=depth - 1, feature_channels=48)
    deep = deepened(shallow, depth)
    assert deepened(deep, depth) is deepened(deep, depth - 1) is deep
    picture = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        before, after = (model.eval().encode(picture) for model in (shallow, deep))
        assert 0 < (after - before).abs().mean() < 0.3 * before.abs().mean()
    deep.train().image_logits(deep.encode(picture)).sum().backward()
    encoder = deep.encoder
    last = [encoder.mix32[-1].gather, encoder.refine16[-1].unit.conv, encoder.refine8[-1].unit.conv]
    for block in last + [block.unit.conv for block in encoder.refine4]:
        assert block.weight.grad is not None and bool(block.weight.grad.any())


@pytest.mark.parametrize('deep', [0, 1, 2])
@pytest.mark.parametrize('channels', [32, 48])
def test_a_fine_pair_is_loaded_as_it_was_exported(channels: int, deep: int, tmp_path: Path) -> None:
    local = LocalModel(fine=True, feature_channels=channels).eval()
    remote = RemoteModel(arrival=True, parts=2, fine=True, deep=deep, feature_channels=channels).eval()
    codec = FeatureCodec(feature_channels=channels, latents=3), np.zeros((3, 3, 63), np.uint8)
    path = str(
        export_pair(tmp_path, 'pair', local, remote, codec, {'carry_split': 2, 'staleness_s': 1.0, 'measured': {}})
    )
    picture = torch.rand(1, 3, 64, 128)
    with torch.inference_mode():
        features = remote.predict_still(remote.encode(picture))
        seen = zoo.load_remote(path)
        assert seen.deep == deep
        again = seen.predict_still(seen.encode(picture))
        assert again.shape == (1, channels, 4, 8)
        assert torch.allclose(again, features, atol=2e-2 * float(features.abs().max()))
        assert zoo.load_codec(path)(again).shape == again.shape
        half = torch.rand(1, 3, 32, 64)
        assert torch.allclose(zoo.load_local(path)(half, again), local(half, again), atol=2e-2)
    assert zoo.entry(path).link_channels == 3


@pytest.mark.parametrize('fine', [False, True])
def test_a_convolutional_model_is_loaded_as_it_was_exported(fine: bool, tmp_path: Path) -> None:
    model = LocalModel(fine=fine, feature_channels=48).eval()
    again = zoo.load_local(str(export_conv(tmp_path, 'conv', model, {'measured': {}})))
    picture = torch.rand(1, 3, 64, 128)
    with torch.inference_mode():
        assert torch.allclose(again(picture), model(picture), atol=2e-2)


def test_joint_training_reaches_every_part_but_the_encoder(tiny_cache: Path, tmp_path: Path) -> None:
    clips = available(tiny_cache, CONFIG.clips)
    remote = RemoteModel(arrival=True)
    fold_backbone(remote)
    remote.eval()
    maps = encode_clips(remote, clips, tmp_path, 'key', Silent())
    assert maps[0].shape == (12, 128, 4, 8)
    local, remote = refined(LocalModel(), 32), divided(remote, 2)
    remote.eval()
    task = JointTask(local, remote, (clips, maps), (clips, maps), clips, CONFIG.joint, torch.ones(19))
    losses = task.losses(np.random.default_rng(3))
    torch.stack(list(losses.values())).sum().backward()
    assert not any(p.requires_grad for p in remote.encoder.parameters())
    frozen = {n for n, p in task.model.named_parameters() if p.grad is None}
    assert all(name.startswith(('remote.encoder.', 'remote.image_head.')) for name in frozen)
    assert frozen >= {n for n, p in task.model.named_parameters() if n.startswith('remote.encoder.')}


@pytest.mark.parametrize('corrected', [False, True])
def test_a_joint_stage_carries_by_the_motion_that_its_recipe_names(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corrected: bool
) -> None:
    clips = available(tiny_cache, CONFIG.clips)
    remote = divided(remote_for_training(), 2).eval()
    maps = encode_clips(remote, clips, tmp_path, 'key', Silent())
    stage = dataclasses.replace(CONFIG.joint, refined=corrected, arrival=0.0)
    task = JointTask(refined(LocalModel(), 32), remote, (clips, maps), (clips, maps), clips, stage, torch.ones(19))
    asked = []
    monkeypatch.setattr('dedelayed_ros.motion_track.refined', lambda motion, *_: asked.append(1) or motion)
    for step in range(4):
        task.losses(np.random.default_rng(step))
    assert bool(asked) == corrected


def test_motion_is_composed_in_the_order_of_the_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fields = [MotionField((128, 256), rng.integers(-200, 201, (8, 16, 2)).astype(np.int16)) for _ in range(4)]
    np.savez(tmp_path / 'motion.npz', qpel=[f.qpel for f in fields], valid=[f.valid for f in fields])
    np.save(tmp_path / 'images.npy', np.zeros((4, 128, 256, 3), np.uint8))
    clip = Clip(tmp_path, 0, 20.0)
    assert clip.composed_motion(1, 1, 16) is None
    assert clip.composed_motion(1, 2, 16) == fields[2]
    assert clip.composed_motion(0, 3, 16) == fields[1].compose(fields[2]).compose(fields[3])
    assert clip.composed_motion(1, 2, 8) == fields[2].resized(fields[2].size, 8)
    assert clip.composed_motion(0, 3, 16) != fields[3].compose(fields[2]).compose(fields[1])


def test_single_frame_scores_are_those_of_the_counted_pictures(tiny_cache: Path) -> None:
    model = fold_batchnorm(LocalModel()).eval()
    scores = evaluate.single_frame(model, None, available(tiny_cache, CONFIG.validation))
    assert scores.keys() == {'local'}
    assert 0.0 <= scores['local'] <= 1.0


def test_footage_that_exists_is_not_rendered_again(tiny_cache: Path) -> None:
    clips = prepare(tiny_cache, CONFIG.stills, workers=1, say=Silent())
    assert [len(clip) for clip in clips] == [12, 12]
    shares = class_shares(clips, 19)
    assert shares.sum() == pytest.approx(1.0)
    assert set(np.flatnonzero(shares)) == {0, 10, 13}


def test_a_rendering_process_that_ends_is_noticed(tmp_path: Path) -> None:
    """A script that is not guarded starts itself again in its own child, which Python refuses."""
    script = tmp_path / 'script.py'
    script.write_text(
        'from pathlib import Path\n'
        'from dedelayed_ros.train.config import FootageConfig\n'
        'from dedelayed_ros.train.footage import prepare\n'
        "prepare(Path('cache'), FootageConfig('a', 0, 1, 2, (20.0,), (64, 128)), 1)\n"
    )
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "needs its `if __name__ == '__main__'`" in run.stderr


def test_missing_footage_and_unknown_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='train footage'):
        available(tmp_path, CONFIG.stills)
    with pytest.raises(InputError, match='street-v1'):
        recipe('street-v0')


@pytest.mark.parametrize('config', RECIPES.values(), ids=RECIPES)
def test_training_and_validation_streets_are_apart(config: TrainConfig) -> None:
    assert max(c.first_seed + c.seeds for c in (config.stills, config.clips)) <= 800_000
    assert config.validation.first_seed >= 800_000
    assert config.validation.first_seed + config.validation.seeds <= 900_000
    assert config.validation.seeds >= 8


def test_rates_and_bit_rates_meet_in_all_combinations() -> None:
    config = FootageConfig('x', 100, 12, 8, rates=(15.0, 30.0), bitrates_kbps=(1000, 2000, 4000))
    pairs = [(config.rate(seed), config.bitrate_kbps(seed)) for seed in range(100, 112)]
    assert len(set(pairs)) == 6
    assert pairs[:6] == pairs[6:]


def test_footage_of_trams_is_of_streets_where_they_go() -> None:
    seeds = street_seeds(FootageConfig('x', 200_000, 12, 8, rates=(15.0,), trams=True))
    assert len(set(seeds)) == 12
    assert all(Street.of(seed).tram for seed in seeds)
    assert not any(Street.of(seed).tram for seed in set(range(200_000, seeds[-1])) - set(seeds))


def test_answers_for_their_arrival_are_used_then_and_not_carried(tiny_cache: Path, tmp_path: Path) -> None:
    clips = available(tiny_cache, CONFIG.clips)
    task = JointTask.__new__(JointTask)
    task._clips, task._stage = clips, dataclasses.replace(CONFIG.joint, arrival=1.0)
    task._draw_clip = RareFrames(clips, rare=0.5)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answer = task._answer(rng)
        assert task._uses(answer, 3, rng) == [answer.described] * 3
        assert answer.told_ms == task._age_ms(answer.clip, answer.described, answer.history[-1])
