"""Plans that were traced before: tracing takes longer than running these small networks."""

from __future__ import annotations

import os

import torch
from emulated import ALL_ORDERS

from dedelayed_ros.sparse.graph import trace
from dedelayed_ros.sparse.plan import Plan

_plans: dict[str, Plan] = {}


def traced(model, example, dtype=torch.float32, name='') -> Plan:
    """The plan of a model: the running test's, whatever the order of fibers, or the one of that name in all tests."""
    if not name:
        name = os.environ['PYTEST_CURRENT_TEST']
        for order in ALL_ORDERS:
            name = name.replace(f'{order}-', '').replace(f'-{order}', '').replace(f'[{order}]', '')
    key = f'{name} {dtype} {[tuple(x.shape) for x in example]}'
    if key not in _plans:
        _plans[key] = trace(model, example, dtype=dtype)
    return _plans[key]
