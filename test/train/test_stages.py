"""Every stage on two tiny clips: losses fall, a stopped run goes on exactly, and what is exported works."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.models import zoo
from dedelayed_ros.models.blocks import fold_batchnorm
from dedelayed_ros.models.efficientnet import EfficientNetLite0
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.train import evaluate, stages
from dedelayed_ros.train.config import STREET_V1, FootageConfig, JointConfig, StageConfig, TrainConfig, recipe
from dedelayed_ros.train.footage import Clip, available, class_shares, prepare
from dedelayed_ros.train.joint import JointTask, carry, encode_clips
from dedelayed_ros.train.loop import fit
from dedelayed_ros.train.pretrain import LocalTask, fold_backbone
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
    StageConfig(**STAGE),
    JointConfig(**STAGE, windows=2, longest_delay_ms=200.0, gate=-1.0),
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
    whole = LocalTask(clips, stage, weights)
    fit(whole, stage, tmp_path / 'whole', 'x', Silent(), save_every_s=1e9)
    with pytest.raises(KeyboardInterrupt):
        fit(Stopping(clips, stage, weights), stage, tmp_path / 'parts', 'x', Silent(), save_every_s=0)
    rest = LocalTask(clips, stage, weights)
    said: list[str] = []
    fit(rest, stage, tmp_path / 'parts', 'x', said.append)
    assert 'continued at step 3 of 6' in said[0]
    for (name, expected), found in zip(whole.model.state_dict().items(), rest.model.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name
    with pytest.raises(InputError, match='another recipe'):
        fit(rest, stage, tmp_path / 'parts', 'y', Silent())


def test_the_local_loss_falls(tiny_cache: Path, tmp_path: Path) -> None:
    stage = dataclasses.replace(CONFIG.local, steps=25)
    task = LocalTask(available(tiny_cache, CONFIG.stills), stage, torch.ones(19))
    before = float(task.losses(np.random.default_rng(0))['local'].detach())
    fit(task, stage, tmp_path, 'x', Silent())
    task.model.train()
    assert float(task.losses(np.random.default_rng(0))['local'].detach()) < 0.6 * before


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
    path = shop.export('joint', tmp_path / 'one')
    again = shop.export('joint', tmp_path / 'two')
    for file in path.parent.iterdir():
        assert file.read_bytes() == (again.parent / file.name).read_bytes(), file.name
    found = zoo.entry(str(path))
    methods = {row['method'] for row in found.measured['rows']}
    assert methods == {'local', 'remote_image', 'remote_carried', 'fused_stale', 'fused_carried'}
    local, remote = zoo.load_local(str(path)), zoo.load_remote(str(path))
    features = remote.predict_still(remote.encode(torch.rand(1, 3, 128, 192)))
    assert torch.isfinite(local(torch.rand(1, 3, 64, 96), features, torch.tensor([50.0]))).all()


def test_joint_training_reaches_every_part_but_the_encoder(tiny_cache: Path, tmp_path: Path) -> None:
    clips = available(tiny_cache, CONFIG.clips)
    remote = RemoteModel()
    fold_backbone(remote)
    remote.eval()
    maps = encode_clips(remote, clips, tmp_path, 'key', Silent())
    assert maps[0].shape == (12, 128, 4, 8)
    local = stages.LocalModel()
    task = JointTask(local, remote, (clips, maps), (clips, maps), CONFIG.joint, torch.ones(19))
    losses = task.losses(np.random.default_rng(3))
    torch.stack(list(losses.values())).sum().backward()
    assert not any(p.requires_grad for p in remote.encoder.parameters())
    frozen = {n for n, p in task.model.named_parameters() if p.grad is None}
    assert all(name.startswith(('remote.encoder.', 'remote.image_head.')) for name in frozen)
    assert frozen >= {n for n, p in task.model.named_parameters() if n.startswith('remote.encoder.')}


def test_features_are_carried_by_whole_cells_and_zero_where_nothing_was() -> None:
    qpel = np.zeros((4, 8, 2), np.int16)
    qpel[..., 0] = 4 * 16
    cells = torch.randn(32, 4, 8)
    carried = carry(cells, MotionField(SIZE, qpel))
    assert torch.equal(carried[..., 1:], cells[..., :-1])
    assert torch.equal(carried[..., 0], torch.zeros(32, 4))
    assert carry(cells, None) is cells


def test_motion_is_composed_in_the_order_of_the_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fields = [MotionField((128, 256), rng.integers(-200, 201, (8, 16, 2)).astype(np.int16)) for _ in range(4)]
    np.savez(tmp_path / 'motion.npz', qpel=[f.qpel for f in fields], valid=[f.valid for f in fields])
    np.save(tmp_path / 'images.npy', np.zeros((4, 128, 256, 3), np.uint8))
    clip = Clip(tmp_path, 0, 20.0)
    assert clip.motion_between(1, 1) is None
    assert clip.motion_between(1, 2) == fields[2]
    assert clip.motion_between(0, 3) == fields[1].compose(fields[2]).compose(fields[3])
    assert clip.motion_between(0, 3) != fields[3].compose(fields[2]).compose(fields[1])


def test_single_frame_scores_are_those_of_the_counted_pictures(tiny_cache: Path) -> None:
    model = fold_batchnorm(stages.LocalModel()).eval()
    scores = evaluate.single_frame(model, None, available(tiny_cache, CONFIG.validation))
    assert scores.keys() == {'local'}
    assert 0.0 <= scores['local'] <= 1.0


def test_the_staleness_limit_is_where_fusion_stops_helping() -> None:
    def row(method: str, delay: float, miou: float) -> dict:
        return {'method': method, 'delay_ms': delay, 'miou': miou}

    fused = {0.0: 0.6, 100.0: 0.55, 333.0: 0.51, 500.0: 0.49, 1000.0: 0.52}
    rows = [row('local', delay, 0.5) for delay in fused] + [row('fused_carried', d, m) for d, m in fused.items()]
    assert evaluate.staleness_s(rows) == 0.333
    assert 'fused_carried' in evaluate.table(rows)


def test_footage_that_exists_is_not_rendered_again(tiny_cache: Path) -> None:
    clips = prepare(tiny_cache, CONFIG.stills, workers=1, say=Silent())
    assert [len(clip) for clip in clips] == [12, 12]
    shares = class_shares(clips, 19)
    assert shares.sum() == pytest.approx(1.0)
    assert set(np.flatnonzero(shares)) == {0, 10, 13}


def test_missing_footage_and_unknown_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='train footage'):
        available(tmp_path, CONFIG.stills)
    with pytest.raises(InputError, match='street-v1'):
        recipe('street-v0')


def test_training_and_validation_streets_are_apart() -> None:
    assert max(c.first_seed + c.seeds for c in (STREET_V1.stills, STREET_V1.clips)) <= 800_000
    assert STREET_V1.validation.first_seed >= 800_000
    assert STREET_V1.validation.first_seed + STREET_V1.validation.seeds <= 900_000
    assert STREET_V1.validation.seeds >= 8
