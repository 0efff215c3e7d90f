"""Writing a trained pair as an entry of the zoo."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from dedelayed_ros.models import weightfile
from dedelayed_ros.models.blocks import fold_batchnorm
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.models.sizes import FEATURE_CHANNELS

_LICENCE = (
    'Apache-2.0. Trained on the simulated street of this package; the remote encoder began from the ImageNet weights '
    'of EfficientNet-Lite0 (Apache-2.0)'
)


def export(folder: Path, name: str, local: LocalModel, remote: RemoteModel, card: dict) -> Path:
    """Write ``name``.json and its two weight files (folded, float16) to ``folder``, and return the entry's path.

    The same models and ``card`` give the same bytes. ``card`` holds what was measured: ``staleness_s`` and
    ``measured``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for side, architecture, model in (('local', 'street-local', local), ('remote', 'street-remote', remote)):
        file = f'{name}-{side}.safetensors'
        fold_batchnorm(model)
        weights = weightfile.WeightFile(_half(model), architecture, {})
        files[side] = {
            'file': file,
            'sha256': weightfile.save(folder / file, weights),
            'parameters': sum(p.numel() for p in model.parameters()),
        }
    checksum = hashlib.sha256(f'{files["local"]["sha256"]} {files["remote"]["sha256"]}'.encode()).hexdigest()
    entry = {
        'name': name,
        'licence': _LICENCE,
        'labels': 'cityscapes-19',
        'feature_channels': FEATURE_CHANNELS,
        'history': HISTORY,
        'coordinates': 'seen',
        'checksum': checksum,
        'files': files,
        **card,
    }
    path = folder / f'{name}.json'
    path.write_text(json.dumps(entry, indent=1) + '\n')
    return path


def _half(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.to(torch.float16) for name, value in model.state_dict().items()}
