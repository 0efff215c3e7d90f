"""The plot of ``dedelayed eval delay``."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure

from dedelayed_ros.report.style import DOWN, FIGURE_STYLE, QUIET, SOURCE_COLOURS, UP

_LOOK = {  # method: colour, line, label
    'local': (SOURCE_COLOURS['local'], '-', 'local model only'),
    'remote_image': (QUIET, ':', "the cloud's mask as it arrives"),
    'remote_predictive': (DOWN, '--', 'remote, predicted for arrival'),
    'remote_warped': (UP, '--', 'remote, carried'),
    'fused': (DOWN, '-', 'fused, predicted for arrival'),
    'fused_motion': (SOURCE_COLOURS['fused'], '-', 'fused and carried'),
}


def delay_figure(found: dict) -> Figure:
    """mIoU of every method over the delay, with 95 % intervals over clips, and the gain over the local model."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(10, 4.2), dpi=150, layout='constrained')
        left, right = figure.subplots(1, 2)
        for method, (colour, line, label) in _LOOK.items():
            rows = sorted((row for row in found['rows'] if row['method'] == method), key=lambda row: row['delay_ms'])
            delays = [row['delay_ms'] for row in rows]
            left.plot(delays, [100 * row['miou'] for row in rows], line, color=colour, label=label)
            if method in ('fused', 'fused_motion'):
                right.plot(delays, [100 * row['lead'] for row in rows], line, color=colour, label=label)
                low, high = ([100 * row[end] for row in rows] for end in ('lead_low', 'lead_high'))
                right.fill_between(delays, low, high, color=colour, alpha=0.15, linewidth=0)
        right.axhline(0, color=SOURCE_COLOURS['local'])
        left.set(xlabel='delay (ms)', ylabel='mIoU (points)', title=f'{found["model"]}, {found["clips"]} clips')
        right.set(
            xlabel='delay (ms)', ylabel='points over the local model', title='Gain, with 95 % intervals over clips'
        )
        left.legend(fontsize=7)
        right.legend(fontsize=7)
    return figure
