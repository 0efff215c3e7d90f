"""The plots of the evaluations."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from dedelayed_ros.report.style import FIGURE_STYLE, QUIET, SOURCE_COLOURS, UP

_OTHERS = ('#009e73', '#8c5aa8', '#56b4e9')  # of Okabe and Ito's palette, like the rest


def sparse_figure(found: dict[str, Any]) -> Figure:
    """Time against the compute ratio, relative to the engine's own dense pass; ``found`` of ``bench_sparse``."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(7, 4.5), dpi=150, layout='constrained')
        axes = figure.add_subplot()
        rows = [
            row
            for row in found['rows']
            if row['engine'] == 'sparse' and row['threads'] == 1 and row['dirty'] != 'reset'
        ]
        for dtype, face in (('float32', None), ('bf16', 'white')):
            swept = [row for row in rows if not isinstance(row['dirty'], str) and row['dtype'] == dtype]
            clip = [row for row in rows if str(row['dirty']).startswith('clip') and row['dtype'] == dtype]
            for chosen, style, colour, what in (
                (swept, 'o-', SOURCE_COLOURS['fused'], 'blobs'),
                (clip, 's', UP, 'a real clip'),
            ):
                if not chosen:
                    continue
                axes.plot(
                    [row['compute_ratio'] for row in chosen],
                    [row['ratio_own_dense'] for row in chosen],
                    style,
                    color=colour,
                    markerfacecolor=face or colour,
                    label=f'sparse, {what}, {dtype}',
                )
        axes.plot([0, 1], [0, 1], ':', color=QUIET, label='time = work')
        dense = [row for row in found['rows'] if row['engine'] != 'sparse' and row['threads'] == 1]
        names = sorted({row['engine'] for row in dense})
        for row in dense:
            colour = _OTHERS[names.index(row['engine']) % len(_OTHERS)]
            line = '--' if row['dtype'] == 'float32' else '-.'  # each against our own pass in its format
            label = f'{row["engine"]}, dense, {row["dtype"]}'
            axes.axhline(row['ratio_own_dense'], color=colour, linestyle=line, linewidth=1, label=label)
        axes.set(
            xlim=(0, 1.02),
            ylim=(0, None),
            xlabel='compute ratio (multiply-accumulates executed / dense)',
            ylabel='time / own dense time',
            title=f'{found["model"]}, {found["input"][1]}x{found["input"][0]}, one thread',
        )
        axes.legend(fontsize=7)
    return figure
