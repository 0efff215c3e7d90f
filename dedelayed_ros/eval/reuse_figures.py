"""The plots of `dedelayed eval reuse`: the paper's figures 4 to 7."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dedelayed_ros.report.style import FIGURE_STYLE, QUIET

COLOURS = {
    'offload_raw': '#999999',
    'offload_h264': '#e69f00',
    'offload_jpeg': '#f0e442',
    'coach': '#cc79a7',
    'deltacnn': '#56b4e9',
    'motion_deltacnn': '#8c5aa8',
    'fluxshard': '#009e73',
    'ours': '#0072b2',
    'ours_bounded': '#c1272d',
}  # Okabe and Ito's palette, as everywhere


def latency_figure(found: dict[str, Any]) -> Figure:
    """Figure 4: mean latency and its 95th percentile by tier, a row a set, and the floor."""
    with matplotlib.rc_context(FIGURE_STYLE):
        sets = [row['set'] for row in found['sets']]
        figure = Figure(figsize=(9, 2.6 * len(sets)), dpi=150, layout='constrained')
        panels = figure.subplots(len(sets), 1, squeeze=False)[:, 0]
        methods = list(dict.fromkeys(row['method'] for row in found['end_to_end']))
        tiers = list(found['tiers'])
        for axes, name in zip(panels, sets, strict=True):
            cells = {(r['tier'], r['method']): r for r in found['end_to_end'] if r['set'] == name}
            for k, method in enumerate(methods):
                places = np.arange(len(tiers)) + (k - len(methods) / 2) * 0.09
                means = [cells[tier, method]['latency_ms_mean'] for tier in tiers]
                tops = [cells[tier, method]['latency_ms_p95'] for tier in tiers]
                axes.bar(places, means, 0.085, color=COLOURS[method], label=method)
                axes.plot(places, tops, '_', color=QUIET, markersize=5)
            axes.axhline(found['floor_ms'], color=QUIET, linestyle='--', linewidth=1, label='floor')
            axes.set_xticks(range(len(tiers)), tiers)
            axes.set(yscale='log', ylabel='ms (bar: mean, dash: p95)', title=name)
        panels[0].legend(fontsize=6, ncols=5)
    return figure


def details_figure(found: dict[str, Any]) -> Figure:
    """Figures 5 to 7 on the first set: parts of the latency, time of a step over its compute ratio, more clients."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(12, 3.8), dpi=150, layout='constrained')
        parts, points, clients = figure.subplots(1, 3)
        first = found['sets'][0]['set']
        rows = [r for r in found['end_to_end'] if r['set'] == first and r['tier'] == 'medium'][::-1]
        left = np.zeros(len(rows))
        for name, colour in (
            ('coding_ms', '#999999'), ('transmission_ms', '#e69f00'), ('propagation_ms', '#56b4e9'),
            ('computing_ms', '#0072b2'),
        ):  # fmt: skip
            values = np.array([row[name] for row in rows])
            parts.barh(range(len(rows)), values, left=left, color=colour, label=name.removesuffix('_ms'), height=0.6)
            left += values
        parts.axvline(found['floor_ms'], color=QUIET, linestyle='--', linewidth=1)
        parts.set_yticks(range(len(rows)), [row['method'] for row in rows], fontsize=7)
        parts.set(xlabel='ms, medium tier (dashed: floor)', title=first)
        parts.legend(fontsize=6)
        for method in dict.fromkeys(p['method'] for p in found['points']):
            own = [p for p in found['points'] if p['method'] == method]
            points.plot(
                [p['compute_ratio'] for p in own], [p['of_dense'] for p in own], '.', markersize=3,
                color=COLOURS[method], label=method,
            )  # fmt: skip
        curve = np.array(sorted(found['curve']))
        points.plot(curve[:, 0], curve[:, 1], '-', color=QUIET, linewidth=1, label='curve')
        points.set(xlim=(0, 1.05), ylim=(0, 2), xlabel='compute ratio', ylabel='time / dense', title='measured steps')
        points.legend(fontsize=6)
        for method in dict.fromkeys(r['method'] for r in found['clients']):
            own = [r for r in found['clients'] if r['method'] == method]
            clients.plot(
                [r['clients'] for r in own], [r['latency_ms_mean'] for r in own], 'o-', markersize=3,
                color=COLOURS[method], label=method,
            )  # fmt: skip
        clients.set(yscale='log', xlabel='clients', ylabel='ms, medium tier', title='robots on one link and server')
        clients.legend(fontsize=6)
    return figure
