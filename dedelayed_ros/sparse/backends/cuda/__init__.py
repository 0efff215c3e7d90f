"""The plan on a CUDA device; PyCUDA is imported when an engine is made, and not before."""

from __future__ import annotations

from dedelayed_ros.sparse.backends.cuda.engine import CudaEngine, why_not

__all__ = ['CudaEngine', 'why_not']
