"""Writing trained models as entries of the zoo."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dedelayed_ros.models import weightfile
from dedelayed_ros.models.blocks import fold_batchnorm
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.models.sizes import FEATURE_CHANNELS

_STREET = 'Apache-2.0. Trained on the simulated street of this package'
_IMAGENET = '; the remote encoder began from the ImageNet weights of EfficientNet-Lite0 (Apache-2.0)'


class EntryWriter:
    """Collects the files of an entry called ``name`` in ``folder``; the same models give the same bytes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._files: dict[str, dict] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, part: str, model: nn.Module, settings: dict[str, int] | None = None) -> None:
        """A model as 'local', 'remote' or 'codec', folded and in float16, with its constructor's ``settings``."""
        file = f'{self._name}-{part}.safetensors'
        fold_batchnorm(model)
        tensors = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
        weights = weightfile.WeightFile(tensors, f'street-{part}', settings or {})
        self._files[part] = {
            'file': file,
            'sha256': weightfile.save(self._folder / file, weights),
            'parameters': sum(p.numel() for p in model.parameters()),
        }

    def add_codes(self, lengths: np.ndarray) -> None:
        """The lengths of the latent coder's codes."""
        file = f'{self._name}-latents.npy'
        np.save(self._folder / file, lengths)
        self._files['latents'] = {
            'file': file,
            'sha256': hashlib.sha256((self._folder / file).read_bytes()).hexdigest(),
        }

    def write(self, card: dict) -> Path:
        """Write the entry's JSON with ``card`` and what is known of the files, and return its path."""
        checksums = ' '.join(self._files[part]['sha256'] for part in sorted(self._files))
        licence = _STREET + (_IMAGENET if 'remote' in self._files else '')
        entry = {
            'name': self._name,
            'licence': licence,
            'labels': 'cityscapes-19',
            'checksum': hashlib.sha256(checksums.encode()).hexdigest(),
            'files': self._files,
            **card,
        }
        path = self._folder / f'{self._name}.json'
        path.write_text(json.dumps(entry, indent=1) + '\n')
        return path


def export_pair(
    folder: Path,
    name: str,
    local: LocalModel,
    remote: RemoteModel,
    codec: tuple[FeatureCodec, np.ndarray] | None,
    card: dict,
) -> Path:
    """Write a pair for fusion, with its codec and the codec's codes if there is one; ``card`` adds ``carry_split``,
    ``staleness_s`` and ``measured``.
    """
    writer = EntryWriter(folder, name)
    writer.add('local', local, _settings(local))
    channels = remote.feature_channels
    width = _width(channels)
    settings = width | {'arrival': int(remote.ahead is not None)}
    settings |= {'parts': remote.parts} if remote.parts > 1 else {}
    settings |= {name: int(value) for name, value in (('fine', remote.fine), ('deep', remote.deep)) if value}
    writer.add('remote', remote, settings)
    if codec is not None:
        channels = codec[0].latents
        writer.add('codec', codec[0], width | {'latents': channels})
        writer.add_codes(codec[1])
    return writer.write({'link_channels': channels, 'history': HISTORY, 'coordinates': 'seen', 'reduce': 2, **card})


def export_conv(folder: Path, name: str, model: LocalModel, card: dict) -> Path:
    """Write a convolution-only model for the camera's own resolution; ``card`` adds ``measured``."""
    writer = EntryWriter(folder, name)
    writer.add('local', model, _settings(model))
    return writer.write({'reduce': 1, **card})


def _settings(local: LocalModel) -> dict[str, int]:
    return _width(local.feature_channels) | ({'fine': 1} if local.fine else {})


def _width(channels: int) -> dict[str, int]:
    return {'feature_channels': channels} if channels != FEATURE_CHANNELS else {}
