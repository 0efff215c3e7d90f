"""The plots of ``dedelayed calibrate`` and ``dedelayed eval engine``."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from dedelayed_ros.report.style import FIGURE_STYLE, QUIET, SOURCE_COLOURS, UP


def calibration_figure(found: dict[str, Any]) -> Figure:
    """Every trial's accuracy over its compute ratio, the budget, and what was chosen."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(6.5, 4.2), dpi=150, layout='constrained')
        axes = figure.add_subplot()
        trials = found['trials']
        axes.plot(
            [t['compute_ratio'] for t in trials],
            [100 * t['miou'] for t in trials],
            'o',
            color=QUIET,
            markersize=4,
            label='tried',
        )
        axes.plot(found['compute_ratio'], 100 * found['miou'], 'D', color=SOURCE_COLOURS['fused'], label='chosen')
        axes.axhline(100 * found['dense_miou'], color=UP, linewidth=1, label='dense')
        budget = 100 * found['dense_miou'] * (1 - found['loss'])
        axes.axhline(budget, color=SOURCE_COLOURS['local'], linestyle='--', linewidth=1, label='budget')
        axes.set(
            xlabel='compute ratio (multiply-accumulates executed / dense)',
            ylabel='mIoU (points)',
            title=f'{found["model"]}, {found["clips"]} clips of {found["footage"]}',
        )
        axes.legend(fontsize=7)
    return figure


def engine_figure(found: dict[str, Any]) -> Figure:
    """Compute ratio and relative loss of every mode, a panel for each footage."""
    with matplotlib.rc_context(FIGURE_STYLE):
        footages = list(dict.fromkeys(row['footage'] for row in found['rows']))
        figure = Figure(figsize=(6.5, 3.2 * len(footages)), dpi=150, layout='constrained')
        panels = figure.subplots(len(footages), 1, squeeze=False)[:, 0]
        for axes, footage in zip(panels, footages, strict=True):
            rows = [row for row in found['rows'] if row['footage'] == footage][::-1]
            places = range(len(rows))
            axes.barh(places, [row['compute_ratio'] for row in rows], color=SOURCE_COLOURS['fused'], height=0.6)
            for place, row in zip(places, rows, strict=True):
                axes.text(
                    min(row['compute_ratio'], 1.0) + 0.01,
                    place,
                    f'{row["compute_ratio"]:.2f}, mIoU {-100 * row["relative_loss"]:+.1f} %',
                    va='center',
                    fontsize=7,
                )
            axes.set_yticks(list(places), [row['mode'] for row in rows])
            axes.set(xlim=(0, 1.35), xlabel='compute ratio', title=f'{found["model"]}, {footage}')
    return figure
