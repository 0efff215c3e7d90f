"""What the CUDA kernels can reach at best on four GPUs: `python scripts/bounds.py`. Bounds, not measurements.

For every node of a shipped model: the bytes that its kernels have to move and the operations that they have to do for a
share of its positions, against the memory and arithmetic of the GPU (a roofline), and what a launch costs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

RATIOS = (0.1, 0.25, 0.5, 1.0)


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


@dataclass(frozen=True)
class Work:
    """One node at a share of its positions: bytes moved, operations done, kernels launched."""

    kind: str
    moved: float
    done: float
    launches: int
    tensor: bool


def work_of(plan, item: int, ratio: float) -> list[Work]:  # type: ignore[no-untyped-def]
    """All nodes of a plan, each computed at ``ratio`` of its positions. ``item``: bytes of a number."""
    from dedelayed_ros.sparse.ops import Conv, Input

    found = []
    for node in plan.nodes:
        cells, channels = node.grid.cells, max(1, node.channels)
        # Sets: displacement, misaligned and dirty words of the inputs and the output, and the list.
        sets = cells * (4 + 2 / 8) + ratio * cells * 4
        if isinstance(node.op, Input):
            found.append(Work('input', cells * channels * item * (2 + ratio) + cells * 4, 0.0, 1, False))
            continue
        read = sum(plan.nodes[i].grid.cells * max(1, plan.nodes[i].channels) for i in node.inputs) * min(
            1.0, 1.3 * ratio
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


def table(plan, item: int) -> list[str]:  # type: ignore[no-untyped-def]
    """Rows of a Markdown table."""
    lines = [
        '| GPU | computed | bound, ms | limited by memory | launches, ms | sparse / dense |',
        '|---|---|---|---|---|---|',
    ]
    for gpu in GPUS:
        dense = bound_ms(gpu, work_of(plan, item, 1.0), item)
        for ratio in RATIOS:
            total, memory, launches = bound_ms(gpu, work_of(plan, item, ratio), item)
            share = (total + launches) / (dense[0] + dense[2])
            lines.append(
                f'| {gpu.name} | {ratio:.0%} | {total:.3f} | {memory / total:.0%} | {launches:.2f} | {share:.2f} |'
            )
    return lines


def main() -> int:
    """Print a table for each number format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='street-v1', help='of the zoo')
    parser.add_argument('--size', default='640x320', metavar='WxH', help="the camera's size")
    args = parser.parse_args()
    import torch

    from dedelayed_ros.models import model_sizes, zoo
    from dedelayed_ros.sparse.graph import trace

    width, height = map(int, args.size.split('x'))
    h, w = model_sizes((height, width)).local
    plan = trace(zoo.load_local(args.model, torch.float32), (torch.zeros(1, 3, h, w),))
    macs = plan.macs / 1e9
    print(f'{args.model}, input {w}x{h}, {len(plan.nodes)} nodes, {macs:.3f} GMAC dense. Bounds, not measurements.')
    for name, item in (('float32', 4), ('float16, tensor cores', 2)):
        works = work_of(plan, item, 1.0)
        kinds = sorted({work.kind for work in works})
        print(f'\n{name}: dense pass moves {sum(x.moved for x in works) / 1e6:.1f} MB\n')
        print('| operation | nodes | GFLOP | MB | FLOP / byte |\n|---|---|---|---|---|')
        for kind in kinds:
            of_kind = [work for work in works if work.kind == kind]
            done, moved = sum(x.done for x in of_kind) / 1e9, sum(x.moved for x in of_kind) / 1e6
            print(f'| {kind} | {len(of_kind)} | {done:.3f} | {moved:.2f} | {1e3 * done / moved:.1f} |')
        print()
        print('\n'.join(table(plan, item)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
