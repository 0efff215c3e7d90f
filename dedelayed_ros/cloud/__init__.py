"""The cloud side: one process that decodes many cameras' pictures and answers with features of one remote model."""

from __future__ import annotations

from dedelayed_ros.cloud.served import LoadedModel, ServedModel, StreamModel, serve_from_zoo
from dedelayed_ros.cloud.served_offload import ServedOffload, serve_offload_from_zoo
from dedelayed_ros.cloud.server import CloudServer, CloudSettings
from dedelayed_ros.cloud.stream import CloudStream

__all__ = [
    'CloudServer',
    'CloudSettings',
    'CloudStream',
    'LoadedModel',
    'ServedModel',
    'ServedOffload',
    'StreamModel',
    'serve_from_zoo',
    'serve_offload_from_zoo',
]
