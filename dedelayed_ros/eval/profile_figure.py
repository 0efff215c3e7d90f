"""The plot of `dedelayed profile`."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from dedelayed_ros.report.style import FIGURE_STYLE, QUIET, SOURCE_COLOURS


def profile_figure(found: dict[str, Any]) -> Figure:
    """Time with its quartiles over the recompute ratio and the compute ratio, beside a dense pass."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(8, 3.6), dpi=150, layout='constrained')
        panels = figure.subplots(1, 2, sharey=True)
        for axes, over, label in zip(
            panels,
            ('recompute_ratio', 'compute_ratio'),
            ('recompute ratio of the input', 'compute ratio (multiply-accumulates executed / dense)'),
            strict=True,
        ):
            rows = sorted(found['rows'], key=lambda row: row[over])
            places = [row[over] for row in rows]
            axes.fill_between(
                places,
                [row['ms_low'] for row in rows],
                [row['ms_high'] for row in rows],
                color=SOURCE_COLOURS['fused'],
                alpha=0.2,
                linewidth=0,
                label='quartiles',
            )
            axes.plot(places, [row['ms'] for row in rows], 'o-', color=SOURCE_COLOURS['fused'], label='sparse')
            axes.axhline(found['dense_ms'], color=QUIET, linestyle='--', linewidth=1, label='dense pass')
            axes.set(xlim=(0, 1.02), ylim=(0, None), xlabel=label)
        panels[0].set_ylabel(f'ms ({found["clock"]} time)')
        panels[0].set_title(f'{found["model"]}, {found["input"][1]}x{found["input"][0]}, {found["backend"]}')
        panels[0].legend(fontsize=7)
    return figure
