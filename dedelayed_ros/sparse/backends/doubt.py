"""How much a difference counts in the alignment mode 'tiles': less where the model is sure of itself.

The texture of a road or of foliage changes all the time without another class coming of it; at the border between two
classes little is enough. So what motion leaves unexplained of a unit counts by the doubt that the last logits leave
there: fully where the first two classes are equal, half where the first leads by ``margin``, and by a quarter at least,
so that what suddenly stands on the road is seen however sure the model was of the road. Doubts move along with their
content, and are found anew wherever logits are computed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dedelayed_ros.errors import InputError
from dedelayed_ros.sparse.alignment import UNIT, Alignment
from dedelayed_ros.sparse.geometry import Grid
from dedelayed_ros.sparse.motion import pixels_under
from dedelayed_ros.sparse.plan import Plan

LEAST = 0.25


def logits_of(plan: Plan, alignment: Alignment) -> int | None:
    """The node whose map tells how sure the model is, its first output; None where no margin is asked for.

    Raises:
        InputError: a margin is, and the first output is no map of two classes or more.
    """
    if not alignment.margin:
        return None
    result = plan.results[0]
    node = None if result.node is None else plan.nodes[result.node]
    plain = result.layout is None or result.layout.is_plain
    if node is None or not plain or node.motion != 'frame' or node.channels < 2:
        raise InputError(
            'an alignment margin is for a model whose first output is a map of logits [1, classes, h, w] that follows '
            'the frame; leave it out'
        )
    return node.index


def doubt_of(logits: Tensor, grid: Grid, margin: float, frame: tuple[int, int]) -> Tensor:  # float32 [units]
    """The mean over cells that lie over a unit, in part or whole: two along an axis, or three, are enough. Cells that
    are not numbers are in full doubt, and so are units without cells.

    logits: [1, C, h, w] on ``grid`` of a frame of (H, W) pixels.
    """
    first, second = logits[0].float().topk(2, 0).values
    lead = first - second
    at = torch.tensor(margin, dtype=torch.float32)
    cells = torch.where(lead >= 0, (at / (at + lead)).clamp(min=LEAST), 1.0).double()
    over = [_cells_over(grid, axis, size) for axis, size in enumerate(frame)]
    total = over[0] @ cells @ over[1].T
    count = over[0].sum(1)[:, None] * over[1].sum(1)[None, :]
    return torch.where(count > 0, total / count, 1.0).float()


def _cells_over(grid: Grid, axis: int, frame: int) -> Tensor:  # float64 [units, cells]: 1 where a cell counts
    table = torch.zeros(-(-frame // UNIT), grid.size[axis], dtype=torch.float64)
    covered = [pixels_under(p, grid.stride[axis], frame) for p in range(grid.size[axis])]
    for unit, row in enumerate(table):
        over = [p for p, (start, stop) in enumerate(covered) if start < UNIT * (unit + 1) and stop > UNIT * unit]
        row[over[:: max(1, len(over) // 2)]] = 1.0
    return table
