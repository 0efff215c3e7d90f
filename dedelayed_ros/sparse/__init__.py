"""The sparse engine: a segmentation model that computes only what motion cannot explain.

    module = sparse.compile(model, (image,))
    outputs, stats = module.step(image, motion=field)

``graph`` turns a torch module into a plan, ``alignment`` says where motion vouches for a cached value, ``cache`` holds
what one stream remembers, and a backend runs the plan (FluxShard, sections III and IV).
"""

from dedelayed_ros.sparse.alignment import MODES, Alignment
from dedelayed_ros.sparse.backends import BACKENDS
from dedelayed_ros.sparse.calibration import Calibration
from dedelayed_ros.sparse.plan import Plan
from dedelayed_ros.sparse.runtime import SparseModule, compile
from dedelayed_ros.sparse.stats import LayerStats, SparseStats

__all__ = [
    'BACKENDS',
    'MODES',
    'Alignment',
    'Calibration',
    'LayerStats',
    'Plan',
    'SparseModule',
    'SparseStats',
    'compile',
]
