"""Offload mode: one model on robot and server, each with a cache of its own; per frame one of them computes.

``Endpoint`` is either end's model with what it remembers; ``Sender`` and ``Receiver`` keep the picture that the server
holds the same on both sides (FluxShard, sections III and IV-E).
"""

from __future__ import annotations

from dedelayed_ros.offload.endpoint import Endpoint, MotionSince
from dedelayed_ros.offload.model import OffloadModel, format_of_end, load_model
from dedelayed_ros.offload.novelty import Novelty
from dedelayed_ros.offload.replica import OutOfStep, Plan, Receiver, Sender

__all__ = [
    'Endpoint',
    'MotionSince',
    'Novelty',
    'OffloadModel',
    'OutOfStep',
    'Plan',
    'Receiver',
    'Sender',
    'format_of_end',
    'load_model',
]
