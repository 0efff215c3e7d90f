"""Where a mask came from: what it was made of, how old that was, and what it cost.

Every mask leaves with one of these. A degraded mode that is not written here would be silent, and silence is what a
robot cannot plan with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Origin = Literal['fused', 'local', 'cloud', 'carried']
SOURCES: tuple[Origin, ...] = get_args(Origin)
"""What a mask can be made of, in the order of figures and legends."""


@dataclass(frozen=True)
class Provenance:
    """One mask's history.

    A ``source`` of 'carried' is the mask of the frame before, moved by the codec's motion, for want of time.
    ``remote_age_ms`` is the time from the capture of the frame that the cloud saw to the capture of this one;
    ``predicted_delay_ms`` is the delay that the remote model was told when it computed those features. Both are None
    for a mask without remote features. ``bytes_up`` and ``bytes_down`` are those of the remote answer that this mask
    is the first to use, zero when no new answer came. Ratios are 0–1: ``recompute_ratio`` of input positions,
    ``compute_ratio`` of multiply-accumulates. ``latency_ms`` runs from the capture stamp to the end of the pipeline;
    whoever publishes the mask sets it to publication − stamp. ``degraded`` says in words what this mask had to do
    without. Where there was a choice, ``choice`` is what the dispatcher preferred ('cloud', 'edge', 'fused', 'local'),
    ``decision`` why, in words, and ``inputs`` the figures that it was made of.
    """

    sequence: int
    stamp_ns: int
    source: Origin
    remote_age_ms: float | None = None
    predicted_delay_ms: float | None = None
    compute_ratio: float = 1.0
    recompute_ratio: float = 1.0
    bytes_up: int = 0
    bytes_down: int = 0
    stages_ms: dict[str, float] = field(default_factory=dict)
    latency_ms: float = 0.0
    scene_cut: bool = False
    degraded: tuple[str, ...] = ()
    choice: str = ''
    decision: str = ''
    inputs: dict[str, float] = field(default_factory=dict)
