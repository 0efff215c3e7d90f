"""Where each frame is computed: latency profiles of both ends, and the policy that weighs them (FluxShard, IV-E)."""

from __future__ import annotations

from dedelayed_ros.dispatch.accuracy import AccuracyTable
from dedelayed_ros.dispatch.decision import ORDER, Choice, Decision, Estimate, Situation, decide, patience_ms
from dedelayed_ros.dispatch.profile import LatencyProfile

__all__ = [
    'ORDER',
    'AccuracyTable',
    'Choice',
    'Decision',
    'Estimate',
    'LatencyProfile',
    'Situation',
    'decide',
    'patience_ms',
]
