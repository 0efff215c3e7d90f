"""Plans that were traced before: tracing takes longer than running these small networks."""

from __future__ import annotations

import os

import torch
from emulated import ORDERS

from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.plan import Plan

_plans: dict[str, Plan] = {}


def traced(model, example, dtype=torch.float32, of='') -> Plan:
    """The plan of the running test's model, whatever the order of fibers; ``of`` tells apart models of one test."""
    name = os.environ['PYTEST_CURRENT_TEST'].split('::')[-1]
    for order in ORDERS:
        name = name.replace(f'{order}-', '').replace(f'-{order}', '').replace(f'[{order}]', '')
    key = f'{name} {dtype} {of}'
    if key not in _plans:
        _plans[key] = trace(model, example, dtype=dtype)
    return _plans[key]
