"""The model that both ends run: loaded once, compiled once for each size, and a memory of its own for each stream."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from dedelayed_ros import sparse
from dedelayed_ros.models.dtypes import resolve_engine_dtype
from dedelayed_ros.offload.endpoint import Endpoint
from dedelayed_ros.offload.tolerance import tolerance_of
from dedelayed_ros.reuse import dense_above, load_calibration

if TYPE_CHECKING:
    from dedelayed_ros.sparse import Calibration

_SIZES = 4  # compiled plans that are kept; cameras of more sizes than that are rare


@dataclass
class OffloadModel:
    """A network [1, 3, H, W] in 0–1 -> logits [1, C, h, w], and how the engine runs it.

    ``calibration``: the tolerances of its reuse; None: only what is exact. ``dtype`` that the engine computes in.
    Not thread-safe.
    """

    network: nn.Module
    calibration: Calibration | None = None
    device: str = 'auto'
    threads: int = 1
    dtype: torch.dtype = torch.float32
    _compiled: OrderedDict[tuple[int, int], sparse.SparseModule] = field(default_factory=OrderedDict)

    @property
    def tolerance(self) -> str:
        """A checksum of the tolerances, which both ends compare; empty where reuse is exact."""
        return tolerance_of(self.calibration)

    def endpoint(self, size: tuple[int, int]) -> Endpoint:
        """One stream's end, for pictures of ``size`` (H, W). Raises InputError where the engine cannot run it."""
        module = self._compiled.pop(size, None)
        if module is None:
            example = (torch.zeros(1, 3, *size, dtype=torch.uint8),)
            module = sparse.compile(
                self.network,
                example,
                dtype=self.dtype,
                backend=self.device,
                calibration=self.calibration,
                threads=self.threads,
                dense_above=dense_above(self.dtype, self.calibration),
            )
        self._compiled[size] = module
        while len(self._compiled) > _SIZES:
            self._compiled.popitem(last=False)
        return Endpoint(module.fork())

    def threshold(self, size: tuple[int, int]) -> int:
        """What the threshold of the input puts up with, in levels of 0–255, for pictures of ``size``.

        It says what the engine takes over, and is no bound for the uplink's pixels: what is within it there would be
        taken from the motion-aligned picture, interpolated, again in every frame.
        """
        if self.calibration is None or size not in self._compiled:
            return 0
        plan = self._compiled[size].plan
        level = self.calibration.on(plan).get(plan.nodes[plan.inputs[0]].name, 0.0)
        return min(127, int(level * 255))


def format_of_end(dtype: str, *, exact: bool) -> str:
    """What an end computes in that is to use ``dtype``: where frames go up as they are (``exact``), always float32.

    Then both ends give the same bits, whatever their processors multiply best. Of H.264 they see other pictures anyway,
    and each takes the format that suits it.
    """
    return 'float32' if exact else dtype


def load_model(
    name: str, *, reuse: str = 'exact', device: str = 'auto', threads: int = 1, dtype: str = 'float32'
) -> OffloadModel:
    """A model of the zoo. ``reuse`` 'calibrated' takes its calibration, where there is one.

    ``dtype``: 'float32', 'bfloat16', or 'auto' for bfloat16 where the processor multiplies it natively, and
    float32 for a GPU.

    Raises:
        WeightsError: it is unknown, missing or damaged. InputError: its calibration is, or another dtype.
    """
    from dedelayed_ros.models import zoo

    number_format = resolve_engine_dtype(dtype, device)
    calibration = load_calibration(name) if reuse == 'calibrated' else None
    network = zoo.load_local(name, dtype=number_format)
    return OffloadModel(network, calibration, device, threads, number_format)
