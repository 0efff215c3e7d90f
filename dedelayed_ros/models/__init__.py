"""The DeDelayed networks: a light model on the robot, a predictive one in the cloud, and the zoo of their weights.

Labels and sizes come with the package; everything that needs torch is imported on first use, so that doors can ask for
them quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dedelayed_ros.models.labels import CITYSCAPES, UNLABELLED, Labels
from dedelayed_ros.models.sizes import ModelSizes, model_sizes

if TYPE_CHECKING:
    from dedelayed_ros.models import zoo as zoo
    from dedelayed_ros.models.local import LocalModel as LocalModel
    from dedelayed_ros.models.remote import RemoteModel as RemoteModel
    from dedelayed_ros.models.stream import RemoteStream as RemoteStream

_LAZY = {
    'LocalModel': 'dedelayed_ros.models.local',
    'RemoteModel': 'dedelayed_ros.models.remote',
    'RemoteStream': 'dedelayed_ros.models.stream',
}

__all__ = [
    'CITYSCAPES',
    'UNLABELLED',
    'Labels',
    'LocalModel',
    'ModelSizes',
    'RemoteModel',
    'RemoteStream',
    'model_sizes',
    'zoo',
]


def __getattr__(name: str) -> object:
    if name == 'zoo':
        return importlib.import_module('dedelayed_ros.models.zoo')
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
