"""What the CUDA kernels can reach at best on four GPUs: `python scripts/bounds.py`. Bounds, not measurements.

For every node of a shipped model: the bytes that its kernels have to move and the operations that they have to do for a
share of its positions, against the memory and arithmetic of the GPU (a roofline), and what a launch costs. `--write`
puts the tables of the default model and of `street-conv` into docs/cuda-bounds.md; `--model` chooses others.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dedelayed_ros.sparse.backends.describe import Description
    from dedelayed_ros.sparse.plan import Plan

TABLES = Path(__file__).resolve().parent.parent / 'docs' / 'cuda-bounds.md'
RATIOS = (0.1, 0.25, 0.5, 1.0)
FORMATS = (('float32', 4), ('float16', 2))
HALO = 1.3  # inputs that a share of the positions reads, in that share of the inputs: footprints reach beyond it


@dataclass(frozen=True)
class Gpu:
    """Peak float32 and float16 tensor TFLOP/s (dense), GB/s of memory, and microseconds that a launch takes."""

    name: str
    float32: float
    float16: float
    memory: float
    launch_us: float


# From the makers' data sheets; the launch is an assumption: a queued kernel of a few blocks.
GPUS = (
    Gpu('Xavier NX', 0.84, 6.7, 59.7, 6.0),
    Gpu('AGX Orin', 5.3, 42.5, 204.8, 4.0),
    Gpu('RTX 3080', 29.8, 59.5, 760.0, 2.5),
    Gpu('H100 SXM', 67.0, 989.0, 3350.0, 2.5),
)


HEAD = f"""# Bounds of the CUDA kernels

Written by `python scripts/bounds.py --write` for the default model of the zoo and for `street-conv`. **Bounds, not
measurements: no kernel reaches all of memory and arithmetic, and none of these was timed.** For each node, the bytes
that have to move (inputs in reach, cached values that are compared, new values, weights, sets and lists) and the
operations, against the makers' figures, whichever takes longer; "by memory" is the share of that time in which memory
is what limits. Inputs in reach are taken as {HALO} times the share that is computed. Launches are counted apart, at
an assumed time each: those of a frame in which nothing moves. Nodes that depend on vectors alone (the age of
features) are computed by the host and are left out. "Sparse / dense" is the ratio of such bounds, launches included.
Float16 convolutions in one group run on tensor cores, everything else on the float32 units.

| GPU | float32, TFLOP/s | float16 tensor, TFLOP/s | memory, GB/s | a launch, µs |
|---|---|---|---|---|
{chr(10).join(f'| {g.name} | {g.float32:g} | {g.float16:g} | {g.memory:g} | {g.launch_us:g} |' for g in GPUS)}
"""


@dataclass(frozen=True)
class Work:
    """One node at a share of its positions: bytes moved, operations done, kernels launched."""

    kind: str
    moved: float
    done: float
    launches: int
    tensor: bool


@functools.lru_cache
def described(plan: Plan) -> Description:
    """Which nodes the kernels compute, and which the host does."""
    from dedelayed_ros.sparse.alignment import Alignment
    from dedelayed_ros.sparse.backends.describe import describe

    return describe(plan, (0.0,) * len(plan.nodes), Alignment())


def work_of(plan: Plan, item: int, ratio: float) -> list[Work]:
    """All nodes of a plan, each computed at ``ratio`` of its positions. ``item``: bytes of a number."""
    from dedelayed_ros.sparse.ops import Conv, Input

    found = []
    description = described(plan)
    for node in (plan.nodes[index] for index in description.native):
        cells, channels = node.grid.cells, max(1, node.channels)
        # Sets: displacement, misaligned and dirty words of the inputs and the output, and the list.
        sets = cells * (4 + 2 / 8) + ratio * cells * 4
        if isinstance(node.op, Input) or node.index in description.given:
            found.append(Work('input', cells * channels * item * (2 + ratio) + cells * 4, 0.0, 1, False))
            continue
        read = sum(plan.nodes[i].grid.cells * max(1, plan.nodes[i].channels) for i in node.inputs) * min(
            1.0, HALO * ratio
        )
        read_back = ratio * cells * channels  # the cached value that a new one is compared with
        weights = node.op.weight.numel() if hasattr(node.op, 'weight') else 0
        moved = (read + read_back + ratio * cells * channels + weights) * item + sets
        tensor = isinstance(node.op, Conv) and node.op.groups == 1
        kind = 'convolution' if tensor else type(node.op).__name__.lower()
        found.append(Work(kind, moved, 2 * node.macs * cells * ratio, 2, tensor))
    return found


def bound_ms(gpu: Gpu, works: list[Work], item: int) -> tuple[float, float, float]:
    """Milliseconds at best: of memory or arithmetic, whichever is longer for each node; of memory; of launches."""
    total = memory = 0.0
    for work in works:
        peak = gpu.float16 if item == 2 and work.tensor else gpu.float32
        moving, doing = work.moved / (gpu.memory * 1e6), work.done / (peak * 1e9)
        total += max(moving, doing)
        memory += moving if moving >= doing else 0.0
    return total, memory, sum(work.launches for work in works) * gpu.launch_us / 1e3


def traced(model: str, camera: tuple[int, int]) -> Plan:
    """The robot's model at the input that it has with a camera of that size (H, W), with features where it has any."""
    import torch

    from dedelayed_ros.models import model_sizes, zoo
    from dedelayed_ros.sparse.graph import trace

    entry, local = zoo.entry(model), zoo.load_local(model, torch.float32)
    example: tuple[torch.Tensor, ...] = (torch.zeros(1, 3, *entry.input_size(camera)),)
    if 'remote' in entry.files:
        example += torch.zeros(1, local.feature_channels, *model_sizes(camera).grid), torch.zeros(1)
    return trace(local, example)


def operations(plan: Plan) -> Iterator[str]:
    """Rows of a table of what a dense pass does, by operation."""
    yield '| operation | nodes | GFLOP | MB, float32 | FLOP / byte | MB, float16 | FLOP / byte |'
    yield '|---|---|---|---|---|---|---|'
    works = {item: work_of(plan, item, 1.0) for _, item in FORMATS}
    for kind in sorted({work.kind for work in works[4]}):
        done = sum(work.done for work in works[4] if work.kind == kind) / 1e9
        count = sum(work.kind == kind for work in works[4])
        cells = [f'| {kind} | {count} | {done:.3f} |']
        for _, item in FORMATS:
            moved = sum(work.moved for work in works[item] if work.kind == kind) / 1e6
            cells.append(f' {moved:.2f} | {1e3 * done / moved:.1f} |')
        yield ''.join(cells)


def bounds(plans: dict[str, Plan]) -> Iterator[str]:
    """Rows of a table of bounds, plans by the camera's size."""
    sizes = ' | '.join(f'{size}: ms + launches | by memory | sparse / dense' for size in plans)
    yield f'| GPU | format | computed | {sizes} |'
    yield '|---|---|---|' + '---|---|---|' * len(plans)
    for gpu in GPUS:
        for name, item in FORMATS:
            dense = {size: bound_ms(gpu, work_of(plan, item, 1.0), item) for size, plan in plans.items()}
            for ratio in RATIOS:
                cells = [f'| {gpu.name} | {name} | {ratio:.0%} |']
                for size, plan in plans.items():
                    total, memory, launches = bound_ms(gpu, work_of(plan, item, ratio), item)
                    share = (total + launches) / (dense[size][0] + dense[size][2])
                    cells.append(f' {total:.3f} + {launches:.2f} | {memory / total:.0%} | {share:.2f} |')
                yield ''.join(cells)


def section(model: str, sizes: list[str]) -> Iterator[str]:
    """All of a model, as Markdown."""
    plans = {}
    for size in sizes:
        width, height = map(int, size.split('x'))
        plans[size] = traced(model, (height, width))
    first = next(iter(plans.values()))
    macs = ' and '.join(f'{plan.macs / 1e9:.2f} GMAC ({size})' for size, plan in plans.items())
    yield from (f'## {model}', '', f'{macs}. A dense pass at {sizes[0]}:', '')
    yield from operations(first)
    yield ''
    yield from bounds(plans)
    yield ''


def main() -> int:
    """Print or write the tables."""
    from dedelayed_ros.models import zoo

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--model', action='append', help=f'of the zoo; repeatable (default: {zoo.DEFAULT}, street-conv)'
    )
    parser.add_argument('--size', action='append', metavar='WxH', help="the camera's; repeatable")
    parser.add_argument('--write', action='store_true', help=f'write {TABLES.name} instead of printing')
    args = parser.parse_args()
    lines = [*HEAD.splitlines(), '']
    for model in args.model or dict.fromkeys((zoo.DEFAULT, 'street-conv')):
        lines += section(model, args.size or ['640x320', '1280x704'])
    text = '\n'.join(lines).rstrip() + '\n'
    if args.write:
        TABLES.write_text(text)
    else:
        print(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
