"""The models that come with the package, or that you trained: what they are, and loading them checked and ready to run.

An entry is a JSON file beside its weight files (``weights/street-v1.json``): name, licence, labels, feature format,
checksums and the accuracy that was measured when it was made. A path to such a file serves as a name everywhere.

Entries are read without torch, which is imported by the first model that is loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from dedelayed_ros.errors import WeightsError
from dedelayed_ros.models.labels import CITYSCAPES, Labels

if TYPE_CHECKING:
    import torch
    from torch import nn

    from dedelayed_ros.models.local import LocalModel
    from dedelayed_ros.models.remote import RemoteModel

DEFAULT = 'street-v1'

_FOLDER = Path(__file__).parent / 'weights'
_LABELS = {'cityscapes-19': CITYSCAPES}


@dataclass(frozen=True)
class ZooEntry:
    """One model pair.

    ``feature_channels``: channels of the remote features; ``history``: frames that the remote model remembers;
    ``checksum`` of both weight files together, which both ends of a link compare; ``coordinates``: whether features
    belong to the frame that the cloud saw ('seen': carry them all the way) or to their predicted arrival ('arrival');
    ``staleness_s``: the age from which fusion no longer helps (seconds); ``measured``: the tables of its evaluation,
    mIoU 0–1.
    """

    name: str
    licence: str
    labels: Labels
    feature_channels: int
    history: int
    checksum: str
    local_file: Path
    remote_file: Path
    local_checksum: str
    remote_checksum: str
    coordinates: Literal['seen', 'arrival']
    staleness_s: float
    measured: dict = field(compare=False)


def names() -> tuple[str, ...]:
    """The entries that ship with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob('*.json')))


def entry(name: str) -> ZooEntry:
    """The entry of that name, or the one described by the JSON file at that path.

    Raises:
        WeightsError: there is none, or its file is damaged.
    """
    path = Path(name) if name.endswith('.json') else _FOLDER / f'{name}.json'
    if not path.is_file():
        raise WeightsError(
            f'no model {name!r}. Expected one of: {", ".join(names())}; or the path of an entry (.json) that '
            '`dedelayed train` exported'
        )
    try:
        card = json.loads(path.read_text())
        files = card['files']
        return ZooEntry(
            name=card['name'],
            licence=card['licence'],
            labels=_LABELS[card['labels']],
            feature_channels=int(card['feature_channels']),
            history=int(card['history']),
            checksum=card['checksum'],
            local_file=path.parent / files['local']['file'],
            remote_file=path.parent / files['remote']['file'],
            local_checksum=files['local']['sha256'],
            remote_checksum=files['remote']['sha256'],
            coordinates=card['coordinates'],
            staleness_s=float(card['staleness_s']),
            measured=card['measured'],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f'the model entry {path} is damaged ({type(error).__name__}: {error}). Install the package again, or '
            'export the entry again'
        ) from error


def load_local(name: str = DEFAULT, dtype: torch.dtype | None = None) -> LocalModel:
    """The robot's model, folded for inference, in eval mode.

    Args:
        name: a name of :func:`names` or the path of an entry.
        dtype: number format to compute in; float32 by default.

    Raises:
        WeightsError: unknown name, or its weights are missing, damaged or of another model.
    """
    found = entry(name)
    return cast('LocalModel', _load(found, found.local_file, found.local_checksum, 'street-local', dtype))


def load_remote(name: str = DEFAULT, dtype: torch.dtype | None = None) -> RemoteModel:
    """The cloud's model, folded for inference, in eval mode; arguments and errors as :func:`load_local`."""
    found = entry(name)
    return cast('RemoteModel', _load(found, found.remote_file, found.remote_checksum, 'street-remote', dtype))


def _load(found: ZooEntry, path: Path, checksum: str, architecture: str, dtype: torch.dtype | None) -> nn.Module:
    import torch

    from dedelayed_ros.models import weightfile
    from dedelayed_ros.models.blocks import channels_last, fold_batchnorm
    from dedelayed_ros.models.local import LocalModel
    from dedelayed_ros.models.remote import RemoteModel

    build: type[nn.Module] = {'street-local': LocalModel, 'street-remote': RemoteModel}[architecture]
    weights = weightfile.load(path, checksum)
    if weights.architecture != architecture:
        raise WeightsError(
            f'{path} holds a {weights.architecture!r} model where {found.name!r} needs a {architecture!r} one. '
            'The entry and the weights do not belong together: export them again'
        )
    try:
        model = fold_batchnorm(build(len(found.labels), **weights.settings))
        model.load_state_dict(weights.tensors)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(
            f'the weights {path} do not fit the {weights.architecture!r} model of this version ({error}). Use weights '
            'exported by this version'
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return channels_last(model.to(dtype or torch.float32)).eval()
