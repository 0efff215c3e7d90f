"""The models that come with the package, or that you trained: what they are, and loading them checked and ready to run.

An entry is a JSON file beside its weight files (``weights/street-v11.json``): name, licence, labels, feature format,
checksums and the accuracy that was measured when it was made. A path to such a file serves as a name everywhere.

Entries are read without torch, which is imported by the first model that is loaded.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from dedelayed_ros.errors import WeightsError
from dedelayed_ros.models.labels import CITYSCAPES, Labels
from dedelayed_ros.models.sizes import model_sizes

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from dedelayed_ros.models.codec import FeatureCodec
    from dedelayed_ros.models.local import LocalModel
    from dedelayed_ros.models.remote import RemoteModel

DEFAULT = 'street-v11'

_FOLDER = Path(__file__).parent / 'weights'
_LABELS = {'cityscapes-19': CITYSCAPES}


@dataclass(frozen=True)
class OwnNetwork:
    """What a network that torch exported is given: frames stretched to ``size`` (H, W), RGB in 0–1 less ``mean`` and
    divided by ``std``; ``output``: the number of the logits among what it returns.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    output: int


@dataclass(frozen=True)
class ZooEntry:
    """One model, or a pair of one for the robot and one for the cloud.

    ``files``: each file's path and sha256, by 'local', 'remote', 'codec' and 'latents'; an entry without 'remote' is a
    model for the robot, or for both ends, by itself. ``reduce``: camera pixels to one of the local input's, on each
    axis. ``checksum`` of all files together, which both ends of a link compare. ``own``: of a network that did not come
    from this package (`dedelayed import`), what it is given.

    Of a pair: ``link_channels``: channels of what goes down to the robot, latents where there is a codec and else the
    features; ``history``: frames that the remote model remembers; ``coordinates``: whether features belong to the frame
    that the cloud saw ('seen': carry them all the way) or to their predicted arrival ('arrival'); ``carry_split``:
    parts a cell, on each axis, that they are carried in; ``staleness_s``: the age from which fusion no longer helps
    (seconds); ``measured``: the tables of its evaluation, mIoU 0–1.
    """

    name: str
    licence: str
    labels: Labels
    checksum: str
    files: dict[str, tuple[Path, str]]
    reduce: int
    measured: dict = field(compare=False)
    link_channels: int = 0
    history: int = 0
    coordinates: Literal['seen', 'arrival'] = 'seen'
    carry_split: int = 1
    staleness_s: float = 0.0
    own: OwnNetwork | None = None

    def input_size(self, camera: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the robot's model's input for a camera of (H, W) pixels."""
        if self.own is not None:
            return self.own.size
        sizes = model_sizes(camera)
        return sizes.remote if self.reduce == 1 else sizes.local


def names() -> tuple[str, ...]:
    """The entries that ship with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob('*.json')))


def path_of(name: str) -> Path:
    """The JSON file of the entry of that name, or ``name`` itself where it is such a path.

    Raises:
        WeightsError: there is none.
    """
    path = Path(name) if name.endswith('.json') else _FOLDER / f'{name}.json'
    if not path.is_file():
        raise WeightsError(
            f'no model {name!r}. Expected one of: {", ".join(names())}; or the path of an entry (.json) that '
            '`dedelayed train` or `dedelayed import` wrote'
        )
    return path


def entry(name: str) -> ZooEntry:
    """The entry of that name, or the one described by the JSON file at that path.

    Raises:
        WeightsError: there is none, or its file is damaged.
    """
    path = path_of(name)
    try:
        card = json.loads(path.read_text())
        return ZooEntry(
            name=card['name'],
            licence=card['licence'],
            labels=_labels(card['labels']),
            checksum=card['checksum'],
            files={part: (path.parent / file['file'], file['sha256']) for part, file in card['files'].items()},
            reduce=int(card['reduce']),
            measured=card['measured'],
            link_channels=int(card['link_channels']) if 'remote' in card['files'] else 0,
            history=int(card['history']) if 'remote' in card['files'] else 0,
            coordinates=card['coordinates'] if 'remote' in card['files'] else 'seen',
            carry_split=int(card['carry_split']) if 'remote' in card['files'] else 1,
            staleness_s=float(card['staleness_s']) if 'remote' in card['files'] else 0.0,
            own=_own(card['own']) if 'own' in card else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f'the model entry {path} is damaged ({type(error).__name__}: {error}). Install the package again, or '
            'export the entry again'
        ) from error


def _labels(card: str | dict[str, list[int]]) -> Labels:
    """Those of a name, or those that the card itself has: RGB by name, in the order of their ids."""
    if isinstance(card, str):
        return _LABELS[card]
    return Labels.of({name: (int(red), int(green), int(blue)) for name, (red, green, blue) in card.items()})


def _own(card: dict) -> OwnNetwork:
    h, w = card['size']
    return OwnNetwork((int(h), int(w)), tuple(card['mean']), tuple(card['std']), int(card['output']))


def load_local(name: str = DEFAULT, dtype: torch.dtype | None = None) -> LocalModel:
    """The robot's model, folded for inference, in eval mode; of a network of one's own, in the same form, an OwnModel.

    Args:
        name: a name of :func:`names` or the path of an entry.
        dtype: number format to compute in; float32 by default. A network of one's own stays in float32.

    Raises:
        WeightsError: unknown name, or its weights are missing, damaged or of another model.
    """
    return cast('LocalModel', _load(name, 'local', dtype))


def load_remote(name: str = DEFAULT, dtype: torch.dtype | None = None) -> RemoteModel:
    """The cloud's model, folded for inference, in eval mode; arguments and errors as :func:`load_local`."""
    return cast('RemoteModel', _load(name, 'remote', dtype))


def load_codec(name: str = DEFAULT) -> FeatureCodec | None:
    """The feature codec, float32; None where features go down as they are. Errors as :func:`load_local`."""
    return cast('FeatureCodec', _load(name, 'codec', None)) if 'codec' in entry(name).files else None


def load_code_lengths(name: str = DEFAULT) -> np.ndarray | None:
    """The lengths of the codec's codes for :class:`~dedelayed_ros.link.LatentCoder`; None where there is no codec.

    Raises:
        WeightsError: they are missing or damaged.
    """
    import numpy as np

    found = entry(name)
    if 'latents' not in found.files:
        return None
    return cast('np.ndarray', np.load(io.BytesIO(_checked(*found.files['latents'])), allow_pickle=False))


def _checked(path: Path, checksum: str) -> bytes:
    """Contents of a file. Raises WeightsError where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f'cannot read {path} ({error.strerror}). Install the package again, or export the entry again'
        ) from error
    if hashlib.sha256(data).hexdigest() != checksum:
        raise WeightsError(
            f'{path} is damaged: it has another checksum than its entry says. Install the package again, or export the '
            'entry again'
        )
    return data


def _load(name: str, part: str, dtype: torch.dtype | None) -> nn.Module:
    import torch

    from dedelayed_ros.models import weightfile
    from dedelayed_ros.models.blocks import channels_last, fold_batchnorm
    from dedelayed_ros.models.codec import FeatureCodec
    from dedelayed_ros.models.local import LocalModel
    from dedelayed_ros.models.remote import RemoteModel

    found = entry(name)
    if found.own is not None and part == 'local':
        from dedelayed_ros.models import own

        path, checksum = found.files[part]
        return own.load(_checked(path, checksum), path, found.own)
    if part not in found.files:
        raise WeightsError(f'the model {found.name!r} has no {part} part; expected one with: {", ".join(names())}')
    classes = len(found.labels)
    architecture = f'street-{part}'
    builders: dict[str, Callable[..., nn.Module]] = {
        'local': partial(LocalModel, classes),
        'remote': partial(RemoteModel, classes),
        'codec': FeatureCodec,
    }
    path, checksum = found.files[part]
    weights = weightfile.load(path, checksum)
    if weights.architecture != architecture:
        raise WeightsError(
            f'{path} holds a {weights.architecture!r} model where {found.name!r} needs a {architecture!r} one. '
            'The entry and the weights do not belong together: export them again'
        )
    try:
        model = fold_batchnorm(builders[part](**weights.settings))
        model.load_state_dict(weights.tensors)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(
            f'the weights {path} do not fit the {weights.architecture!r} model of this version ({error}). Use weights '
            'exported by this version'
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return channels_last(model.to(dtype or torch.float32)).eval()
