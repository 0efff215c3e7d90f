"""What a step did: how much was recomputed, how much computation that took, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerStats:
    """One operation of the plan.

    name:            path of the layer in the model.
    recompute_ratio: share of positions in the layer's recompute set after truncation, 0 to 1.
    compute_ratio:   share of positions that were computed, 0 to 1.
    milliseconds:    wall time; of this ``front_ms`` for motion, comparing and sets, and ``remap_ms`` for moving cached
                     values (0 on a backend that does not tell).
    """

    name: str
    recompute_ratio: float
    compute_ratio: float
    milliseconds: float
    front_ms: float = 0.0
    remap_ms: float = 0.0


@dataclass(frozen=True)
class SparseStats:
    """One step.

    recompute_ratio: share of the frame's positions whose content motion and thresholds did not explain, 0 to 1.
    compute_ratio:   multiply-accumulates that the sets ask for, over those of a dense pass, 0 to 1.
    dense:           nothing was reused: the first frame, or one whose motion is unknown.
    layers:          the same for every operation, in the order of computation, inputs first.
    milliseconds:    wall time of the whole step.
    """

    recompute_ratio: float
    compute_ratio: float
    dense: bool
    layers: Sequence[LayerStats]
    milliseconds: float

    @property
    def front_ms(self) -> float:
        """Wall time of motion, comparing and sets, over all layers."""
        return sum(layer.front_ms for layer in self.layers)

    @property
    def remap_ms(self) -> float:
        """Wall time of moving cached values, over all layers."""
        return sum(layer.remap_ms for layer in self.layers)

    def layer(self, name: str) -> LayerStats:
        """The layer of that name. Raises KeyError."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)
