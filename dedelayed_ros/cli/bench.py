"""`dedelayed bench`: what the parts cost on this machine, beside what a user would otherwise pick."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dedelayed_ros.cli.options import add_model, add_size, parse_size
from dedelayed_ros.cli.output import write_figures, write_plots

HELP = 'measure the sparse engine beside dense ones'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The switches."""
    parser.add_argument('what', choices=['sparse'], help='sparse: milliseconds for a share of the picture that changed')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there')
    parser.add_argument('--out', type=Path, default=Path('out/bench'), metavar='DIR', help='folder of the plot')
    add_model(parser)
    add_size(parser)
    parser.add_argument('--rounds', type=int, default=40, metavar='N', help='measurements of each (default: 40)')
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda'], default='auto', help='where the sparse engine runs (default: auto)'
    )
    parser.add_argument('--clip', metavar='FILE', help='also measure the real motion of this video')
    parser.add_argument(
        '--torch-compile', action='store_true', help='also measure torch.compile, which takes minutes to begin with'
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write file and plot."""
    from dedelayed_ros.errors import InputError
    from dedelayed_ros.eval.bench_sparse import BenchSettings, bench_sparse
    from dedelayed_ros.eval.plots import sparse_figure

    camera = parse_size(args.size)
    if args.rounds < 1:
        raise InputError(f'--rounds is {args.rounds}; expected at least 1')
    found = bench_sparse(
        BenchSettings(
            model=args.model,
            camera=camera,
            rounds=args.rounds,
            clip=args.clip,
            device=args.device,
            compiled=args.torch_compile,
        )
    )
    print('\n' + table(found) + '\n\n' + phases(found) + '\n')
    write_plots(args.out, {'sparse.png': sparse_figure(found)})
    write_figures(found, args.json)
    return 0


def table(found: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = [
        '| engine | threads | format | changed | compute ratio | ms | ± IQR | / own dense | / OpenVINO |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in found['rows']:
        dirty = f'{row["dirty"]:.0%}' if isinstance(row['dirty'], float) else row['dirty']
        other = '' if row['ratio_openvino'] is None else f'{row["ratio_openvino"]:.2f}'
        lines.append(
            f'| {row["engine"]} | {row["threads"]} | {row["dtype"]} | {dirty} | {row["compute_ratio"]:.2f} '
            f'| {row["ms_median"]:.2f} | {row["ms_iqr"]:.2f} | {row["ratio_own_dense"]:.2f} | {other} |'
        )
    noise = found['noise']
    lines.append(
        f'\nThe same dense pass took {noise["p10"]:.2f} (p10) to {noise["p90"]:.2f} (p90) of its median meanwhile; '
        f'caches take {found["cache_bytes"] / 2**20:.1f} MiB.'
    )
    return '\n'.join(lines)


def phases(found: dict[str, Any]) -> str:
    """Where the sparse engine spends processor time on one thread, in percent of its own dense pass, in Markdown."""
    lines = [
        '| format | changed | compute ratio | compare | sets | remap | compute | call | processor time / own dense |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    rows = [row for row in found['rows'] if row['engine'] == 'sparse' and row['threads'] == 1]
    own = {row['dtype']: row['cpu_ms_median'] for row in rows if row['dirty'] == 'reset'}
    for row in rows:
        dirty = f'{row["dirty"]:.0%}' if isinstance(row['dirty'], float) else row['dirty']
        shares = ' | '.join(
            f'{row[key] / own[row["dtype"]]:.1%}'
            for key in ('compare_ms', 'sets_ms', 'remap_ms', 'compute_ms', 'call_ms')
        )
        lines.append(
            f'| {row["dtype"]} | {dirty} | {row["compute_ratio"]:.2f} | {shares} | {row["cpu_ratio_own_dense"]:.2f} |'
        )
    return '\n'.join(lines)
