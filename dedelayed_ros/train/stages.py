"""The stages as the command line runs them, each from where the last left off."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import zoo
from dedelayed_ros.models.blocks import Model, channels_last, fold_batchnorm
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.train import evaluate, footage
from dedelayed_ros.train.codec import CodecTask
from dedelayed_ros.train.config import CodecConfig, StageConfig, TrainConfig
from dedelayed_ros.train.curves import plot
from dedelayed_ros.train.export import export_conv, export_pair
from dedelayed_ros.train.fine import deepened, divided, refined, refined_remote
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.joint import JointTask, encode_clips
from dedelayed_ros.train.loop import fit
from dedelayed_ros.train.losses import class_weights
from dedelayed_ros.train.pretrain import (
    LocalTask,
    RemoteTask,
    imagenet_weights,
    local_from,
    new_local,
    remote_from,
    remote_from_imagenet,
    unfolded_local,
    unfolded_remote,
)


@dataclass(frozen=True)
class Workshop:
    """Where a recipe is worked on: ``cache`` of rendered footage, ``runs`` for checkpoints and results."""

    config: TrainConfig
    cache: Path
    runs: Path
    say: Callable[[str], None] = print

    def footage(self, workers: int) -> None:
        """Render whatever footage is missing."""
        parts = (self.config.stills, self.config.validation, self.config.clips, self.config.trams)
        for part in filter(None, parts):
            footage.prepare(self.cache, part, workers, self.say)

    def local(self) -> None:
        """Train the local model by itself."""
        stage, clips = self.config.local, self._single()
        base = self._base()
        model = new_local(stage.seed) if base is None else local_from(base, clips, stage)
        self._fit(LocalTask(model, clips, stage, self._weights(clips, stage)), stage, 'local')

    def remote(self) -> None:
        """Train the remote model on single frames, from ImageNet weights or the recipe's base."""
        stage, clips = self.config.remote, self._single()
        base = self._base()
        model = (
            remote_from_imagenet(stage.seed, imagenet_weights()) if base is None else remote_from(base, clips, stage)
        )
        if stage.fine:
            torch.manual_seed(stage.seed)
            model = channels_last(refined_remote(model, stage.feature_channels))
        if stage.deep:
            torch.manual_seed(stage.seed)
            model = channels_last(deepened(model, stage.deep))
        self._fit(RemoteTask(model, clips, stage, self._weights(clips, stage)), stage, 'remote')

    def conv(self) -> None:
        """Train the convolution-only model at the camera's resolution, from the local model."""
        stage, clips = self.config.conv, self._single()
        if stage is None:
            raise InputError(f'recipe {self.config.name!r} has no conv stage')
        model = self._unfolded_local('local')
        weights = self._weights(clips, stage)
        self._fit(LocalTask(model, clips, stage, weights, reduce=1, decoded=stage.decoded), stage, 'conv')

    def alone(self) -> None:
        """Go on with the local model by itself for as long as the joint stage does: what that stage is measured by."""
        stage, clips = self.config.joint, self._single()
        stage = dataclasses.replace(stage, batch=2 * stage.batch)  # the joint stage fuses as many as it sees alone
        model = self._unfolded_local('local')
        if self.config.joint.fine:
            model = refined(model, self.config.remote.feature_channels)
        self._fit(LocalTask(model, clips, stage, self._weights(clips, stage)), stage, 'alone')

    def gate(self) -> dict[str, float]:
        """mIoU of both single-frame models on the validation streets.

        Raises:
            InputError: the remote model does not beat the local one by the recipe's margin, so that going on means
            nothing.
        """
        scores = evaluate.single_frame(self._local('local'), self._remote('remote'), self._validation())
        self.say('  '.join(f'{name} {100 * value:.1f}' for name, value in scores.items()))
        (self.runs / 'gate.json').write_text(json.dumps({name: round(value, 4) for name, value in scores.items()}))
        lead = scores['remote'] - scores['local']
        if lead < self.config.joint.gate:
            raise InputError(
                f'the remote model leads the local one by {100 * lead:.1f} points of mIoU; '
                f'{100 * self.config.joint.gate:.0f} are needed before the joint stage means anything. '
                'Train the remote model for more steps, or go on nevertheless with --no-gate'
            )
        return scores

    def joint(self) -> None:
        """Train prediction, fusion and the local model together, from both single-frame models."""
        stage = self.config.joint
        local, remote = self._unfolded_local('local'), unfolded_remote(self._trained('remote'))
        if stage.fine:
            torch.manual_seed(stage.seed)
            local = refined(local, remote.feature_channels)
            remote = channels_last(divided(remote, stage.split))
        clips = footage.available(self.cache, self.config.clips)
        stills = footage.available(self.cache, self.config.stills)[stage.first_still :][: stage.stills]
        if self.config.trams is not None:
            stills += footage.available(self.cache, self.config.trams)
        key = self.config.fingerprint('remote')
        remote.eval()
        maps = encode_clips(remote, clips, self.runs / 'maps', key, self.say)
        still_maps = encode_clips(remote, stills, self.runs / 'maps', key, self.say)
        local = channels_last(local)
        weights = self._weights([*clips, *stills], stage)
        task = JointTask(local, remote, (clips, maps), (stills, still_maps), self._single(), stage, weights)
        self._fit(task, stage, 'joint')

    def codec(self) -> None:
        """Train the feature codec on what the joint stage's models exchange, and make the coder's codes."""
        stage = self.config.codec
        if stage is None:
            raise InputError(f'recipe {self.config.name!r} has no codec stage')
        task = self._codec_task(stage)
        self._fit(task, stage, 'codec')
        np.save(self.runs / 'codec' / 'latents.npy', task.code_lengths())

    def _codec_task(self, stage: CodecConfig) -> CodecTask:
        local, remote = self._pair('joint')
        for model in (local, remote):
            model.requires_grad_(False)
        clips = footage.available(self.cache, self.config.clips)
        maps = encode_clips(remote, clips, self.runs / 'maps', self.config.fingerprint('remote'), self.say)
        base = self._base() if stage.from_base else None
        return CodecTask(local, remote, (clips, maps), stage, None if base is None else zoo.load_codec(base))

    def export(self, stage: str, folder: Path) -> Path:
        """Write the models of a stage ('joint', or 'single': both single-frame ones) to ``folder`` as an entry.

        Its accuracy is not measured here: `dedelayed eval delay --model PATH --store` does.
        """
        local, remote = self._pair(stage)
        codec = self._trained_codec() if stage == 'joint' and (self.runs / 'codec' / 'latents.npy').is_file() else None
        card = {
            'carry_split': (self.config.carry_split or self.config.joint.split) if stage == 'joint' else 1,
            'staleness_s': 0.6,
            'measured': {
                'training': f'dedelayed train all --recipe {self.config.name}',
                'single_frame': self._scores('gate'),
                'local': self._scores('alone'),
            },
        }
        return export_pair(folder, self.config.name, local, remote, codec, card)

    def export_conv(self, folder: Path) -> Path:
        """Write the convolution-only model to ``folder`` as an entry, with its mIoU on the validation streets."""
        model = self._local('conv')
        score = evaluate.single_frame(model, None, self._validation(), reduce=1)['local']
        self.say(f'conv {100 * score:.1f}')
        measured = {'training': f'dedelayed train all --recipe {self.config.name}', 'miou': round(score, 4)}
        return export_conv(folder, 'street-conv', model, {'measured': measured})

    def scores(self) -> dict[str, float]:
        """mIoU of the local model within the fused pair, and trained alone as long, on the validation streets."""
        fused, _ = self._pair('joint')
        scores = {
            name: evaluate.single_frame(model, None, self._validation(), step=2)['local']
            for name, model in (('fused', fused), ('alone', self._local('alone')))
        }
        self.say('  '.join(f'local, {name}: {100 * value:.1f}' for name, value in scores.items()))
        (self.runs / 'alone.json').write_text(json.dumps({name: round(value, 4) for name, value in scores.items()}))
        return scores

    def has(self, name: str) -> bool:
        """Whether a stage was trained to its end."""
        return (self.runs / name / 'model.pt').is_file()

    def _trained_codec(self) -> tuple[FeatureCodec, np.ndarray]:
        stage = self.config.codec
        assert stage is not None
        codec = FeatureCodec(feature_channels=self.config.remote.feature_channels, latents=stage.latents)
        nn.ModuleDict({'codec': codec}).load_state_dict(
            {name: value for name, value in self._trained('codec').items() if name.startswith('codec.')}
        )
        return codec, np.load(self.runs / 'codec' / 'latents.npy')

    def _scores(self, name: str) -> dict[str, float]:
        """mIoU that was measured after a stage; empty where it was not."""
        path = self.runs / f'{name}.json'
        return json.loads(path.read_text()) if path.is_file() else {}

    def _fit(self, task: LocalTask | RemoteTask | JointTask | CodecTask, stage: StageConfig, name: str) -> None:
        begun = time.monotonic()
        fit(task, stage, self.runs / name, self.config.fingerprint(name), self.say)
        torch.save(task.model.state_dict(), self.runs / name / 'model.pt')
        plot(self.runs)
        self.say(f'{name}: {time.monotonic() - begun:.0f} s')

    def _base(self) -> str | None:
        """The entry that training begins from: a shipped one, or that which its own recipe exported."""
        base = self.config.base
        if base is None or base in zoo.names():
            return base
        exported = self.runs.parent / base / f'{base}.json'
        if not exported.is_file():
            raise InputError(
                f'recipe {self.config.name!r} goes on from {base!r}, which is not shipped and not at {exported}; run '
                f'`dedelayed train all --recipe {base}` first'
            )
        return str(exported)

    def _validation(self) -> list[Clip]:
        return footage.available(self.cache, self.config.validation)

    def _single(self) -> list[Clip]:
        """The footage of the single-frame stages."""
        parts = {'stills': self.config.stills, 'clips': self.config.clips, 'trams': self.config.trams}
        chosen = [part for name in self.config.single if (part := parts[name]) is not None]
        return [clip for part in chosen for clip in footage.available(self.cache, part)]

    def _weights(self, clips: list[Clip], stage: StageConfig) -> torch.Tensor:
        return class_weights(footage.class_shares(clips, len(CITYSCAPES)), stage.class_balance)

    def _trained(self, name: str) -> dict[str, torch.Tensor]:
        path = self.runs / name / 'model.pt'
        if not path.is_file():
            raise InputError(f'{path} does not exist; run `dedelayed train {name}` to its end first')
        return torch.load(path, weights_only=True)

    def _unfolded_local(self, name: str) -> LocalModel:
        return unfolded_local(self._trained(name))

    def _local(self, name: str) -> LocalModel:
        return _ready(self._unfolded_local(name))

    def _remote(self, name: str) -> RemoteModel:
        return _ready(unfolded_remote(self._trained(name)))

    def _pair(self, stage: str) -> tuple[LocalModel, RemoteModel]:
        if stage == 'single':
            return self._local('local'), self._remote('remote')
        pair = self._trained('joint')
        local, remote = (
            {name.removeprefix(part): value for name, value in pair.items() if name.startswith(part)}
            for part in ('local.', 'remote.')
        )
        return _ready(unfolded_local(local)), _ready(unfolded_remote(remote))


def _ready(model: Model) -> Model:
    return channels_last(fold_batchnorm(model)).eval()
