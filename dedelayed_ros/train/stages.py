"""The stages as the command line runs them, each from where the last left off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.blocks import Model, channels_last, fold_batchnorm
from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.train import evaluate, footage
from dedelayed_ros.train.config import StageConfig, TrainConfig
from dedelayed_ros.train.curves import plot
from dedelayed_ros.train.export import export
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.joint import JointTask, encode_clips
from dedelayed_ros.train.loop import fit
from dedelayed_ros.train.losses import class_weights
from dedelayed_ros.train.pretrain import LocalTask, RemoteTask, imagenet_weights, remote_for_training


@dataclass(frozen=True)
class Workshop:
    """Where a recipe is worked on: ``cache`` of rendered footage, ``runs`` for checkpoints and results."""

    config: TrainConfig
    cache: Path
    runs: Path
    say: Callable[[str], None] = print

    def footage(self, workers: int) -> None:
        """Render whatever footage is missing."""
        for part in (self.config.stills, self.config.validation, self.config.clips):
            footage.prepare(self.cache, part, workers, self.say)

    def local(self) -> None:
        """Train the local model by itself."""
        stage = self.config.local
        clips = footage.available(self.cache, self.config.stills)
        task = LocalTask(clips, stage, self._weights(clips, stage))
        self._fit(task, stage, 'local')

    def remote(self) -> None:
        """Train the remote model on single frames, from ImageNet weights."""
        stage = self.config.remote
        clips = footage.available(self.cache, self.config.stills)
        task = RemoteTask(clips, stage, self._weights(clips, stage), imagenet_weights())
        self._fit(task, stage, 'remote')

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
        local, remote = LocalModel(), remote_for_training()
        local.load_state_dict(self._trained('local'))
        remote.load_state_dict(self._trained('remote'))
        clips = footage.available(self.cache, self.config.clips)
        stills = footage.available(self.cache, self.config.stills)
        key = self.config.fingerprint('remote')
        remote.eval()
        maps = encode_clips(remote, clips, self.runs / 'maps', key, self.say)
        still_maps = encode_clips(remote, stills, self.runs / 'maps', key, self.say)
        local = channels_last(local)
        weights = self._weights([*clips, *stills], stage)
        task = JointTask(local, remote, (clips, maps), (stills, still_maps), stage, weights)
        self._fit(task, stage, 'joint')

    def export(self, stage: str, folder: Path) -> Path:
        """Measure the models of a stage ('joint', or 'single': both single-frame ones) and write them to ``folder``."""
        local, remote = self._pair(stage)
        rows = evaluate.over_delays(local, remote, self._validation(), self.config.delays_ms, self.say)
        self.say(evaluate.table(rows))
        measured = {
            'command': f'dedelayed train all --no-gate --recipe {self.config.name}',
            'single_frame': self._gate_scores(),
            'footage': f'street seeds {self.config.validation.first_seed} to '
            f'{self.config.validation.first_seed + self.config.validation.seeds - 1}, '
            f'H.264 at {self.config.validation.bitrate_kbps} kbit/s for the remote model',
            'rows': rows,
        }
        card = {'staleness_s': evaluate.staleness_s(rows), 'measured': measured}
        return export(folder, self.config.name, local, remote, card)

    def _gate_scores(self) -> dict[str, float]:
        path = self.runs / 'gate.json'
        return json.loads(path.read_text()) if path.is_file() else {}

    def _fit(self, task: LocalTask | RemoteTask | JointTask, stage: StageConfig, name: str) -> None:
        begun = time.monotonic()
        fit(task, stage, self.runs / name, self.config.fingerprint(name), self.say)
        torch.save(task.model.state_dict(), self.runs / name / 'model.pt')
        plot(self.runs)
        self.say(f'{name}: {time.monotonic() - begun:.0f} s')

    def _validation(self) -> list[Clip]:
        return footage.available(self.cache, self.config.validation)

    def _weights(self, clips: list[Clip], stage: StageConfig) -> torch.Tensor:
        return class_weights(footage.class_shares(clips, len(CITYSCAPES)), stage.class_balance)

    def _trained(self, name: str) -> dict[str, torch.Tensor]:
        path = self.runs / name / 'model.pt'
        if not path.is_file():
            raise InputError(f'{path} does not exist; run `dedelayed train {name}` to its end first')
        return torch.load(path, weights_only=True)

    def _local(self, name: str) -> LocalModel:
        model = LocalModel()
        model.load_state_dict(self._trained(name))
        return _ready(model)

    def _remote(self, name: str) -> RemoteModel:
        model = remote_for_training()
        model.load_state_dict(self._trained(name))
        return _ready(model)

    def _pair(self, stage: str) -> tuple[LocalModel, RemoteModel]:
        if stage == 'single':
            return self._local('local'), self._remote('remote')
        local, remote = LocalModel(), remote_for_training()
        nn.ModuleDict({'local': local, 'remote': remote}).load_state_dict(self._trained('joint'))
        return _ready(local), _ready(remote)


def _ready(model: Model) -> Model:
    return channels_last(fold_batchnorm(model)).eval()
