"""Which layers the alignment mode 'tiles' keeps from frame to frame, and which it computes wherever they are read.

To keep a value means to move it along in every frame. A layer that is cheap, and read hardly further than where the
tiles are, is not worth that: it is computed where its readers need it, from inputs that are kept, and what it has
elsewhere is of no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dedelayed_ros.sparse.alignment import Alignment
from dedelayed_ros.sparse.backends.doubt import logits_of
from dedelayed_ros.sparse.geometry import AxisMap
from dedelayed_ros.sparse.motion import pixels_under
from dedelayed_ros.sparse.ops import Input
from dedelayed_ros.sparse.plan import Node, Plan

# What computing and keeping a value takes, in the time of a multiplication: rough means over number formats, measured
# with the layers of street-conv (AVX-512 and AMX).
_COMPUTE, _KEEP = 150.0, 64.0
_SHARE = 0.2  # of a frame that is computed: what further reads multiply, and what there is to be kept of the rest

Span = tuple[int, int]  # frame pixels, half-open


@dataclass(frozen=True)
class Role:
    """What the mode does with a node.

    where_read: it is an input, or computed wherever it is read.
    kept:       its last value is needed outside of what is computed: by a reader that looks at neighbours, or is
                computed further than the tiles, or as a result.
    """

    where_read: bool
    kept: bool


def tile_roles(plan: Plan, alignment: Alignment) -> list[Role]:
    """The roles of a plan's nodes.

    What is computed from inputs position by position without multiplying is never kept: it is as cheap as they are.
    """
    count = len(plan.nodes)
    logits = logits_of(plan, alignment)
    shown = {result.node for result in plan.results if result.node is not None}
    where_read = [False] * count
    for node in plan.nodes:
        simple = bool(node.inputs) and node.is_point and not node.macs and node.grid.cells > 1
        where_read[node.index] = isinstance(node.op, Input) or (simple and all(where_read[i] for i in node.inputs))
    readers: list[list[tuple[int, int]]] = [[] for _ in plan.nodes]
    for node in plan.nodes:
        for number, i in enumerate(node.inputs):
            readers[i].append((node.index, number))
    tile = _tile(plan, alignment)
    needs: dict[int, tuple[Span, Span]] = {}  # what is computed for that tile
    for node in reversed(plan.nodes):
        needs[node.index] = tile
        movable = node.grid.cells > 1 and node.motion != 'none' and bool(node.inputs) and node.index not in shown
        if not movable or node.index == logits or where_read[node.index]:
            continue
        wanted = tile
        for reader, number in readers[node.index]:
            wanted = _joined(wanted, _read_by(plan, plan.nodes[reader], number, needs[reader]))
        if _worth_computing(node, tile, wanted, plan.frame):
            where_read[node.index] = True
            needs[node.index] = wanted
    kept = set(shown)
    for node in plan.nodes:
        further = where_read[node.index]
        for i, window in zip(node.inputs, node.windows, strict=True):
            if not where_read[i] and (further or not window.is_point):
                kept.add(i)
    return [Role(where_read[n], n in kept) for n in range(count)]


def _worth_computing(node: Node, tile: tuple[Span, Span], wanted: tuple[Span, Span], frame: tuple[int, int]) -> bool:
    """Whether it costs less to compute a layer for what is ``wanted`` of it for a tile than to keep its values."""
    needed, there = (_cells(node, span, frame) for span in (wanted, tile))
    compute = node.macs + _COMPUTE * node.channels
    keep = _KEEP * node.channels
    return _SHARE * (needed / there - 1) * compute < (1 - _SHARE) * keep


def _tile(plan: Plan, alignment: Alignment) -> tuple[Span, Span]:
    """The tile in the middle of the frame, or all of a frame that is smaller."""
    spans = []
    for side in plan.frame:
        start = side // 2 // alignment.tile * alignment.tile
        spans.append((start, min(start + alignment.tile, side)))
    return spans[0], spans[1]


def _cells(node: Node, spans: tuple[Span, Span], frame: tuple[int, int]) -> int:
    """How many of a layer's cells lie over a rectangle, in part or whole; at least one."""
    rows, cols = (len(_over(node, axis, span, frame)) for axis, span in enumerate(spans))
    return max(1, rows * cols)


def _over(node: Node, axis: int, span: Span, frame: tuple[int, int]) -> list[int]:
    pixels = (pixels_under(p, node.grid.stride[axis], frame[axis]) for p in range(node.grid.size[axis]))
    return [p for p, (start, stop) in enumerate(pixels) if start < span[1] and stop > span[0]]


def _read_by(plan: Plan, reader: Node, number: int, spans: tuple[Span, Span]) -> tuple[Span, Span]:
    """The pixels under what a node's outputs over a rectangle read of an input."""
    source, window = plan.nodes[reader.inputs[number]], reader.windows[number]
    found = []
    for axis, table in enumerate(window.axes):
        outputs = _over(reader, axis, spans[axis], plan.frame)
        read = _taps(table, outputs)
        pixels = [pixels_under(p, source.grid.stride[axis], plan.frame[axis]) for p in read]
        span = (min(p[0] for p in pixels), max(p[1] for p in pixels)) if pixels else spans[axis]
        found.append(span)
    return found[0], found[1]


def _taps(table: AxisMap, outputs: list[int]) -> list[int]:
    taps: Tensor = table.taps[outputs]
    return sorted(set(taps[taps >= 0].tolist()))


def _joined(one: tuple[Span, Span], other: tuple[Span, Span]) -> tuple[Span, Span]:
    rows, cols = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))
    return rows, cols
