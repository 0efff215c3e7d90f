"""From logits to what a robot uses: the mask, its confidence, and pictures of it, in one pass on every backend.

:mod:`.reference` (torch and NumPy) is the specification, :mod:`.cpu` the kernels of kernels/cpu/masks.
"""

from __future__ import annotations

from dedelayed_ros.masks.render import UNLABELLED, backend_name, colorize, overlay, render

__all__ = ['UNLABELLED', 'backend_name', 'colorize', 'overlay', 'render']
