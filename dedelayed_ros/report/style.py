"""How things look everywhere: the colours that mean the same in figures, video and page, and the figures' style."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's palette: it can be told apart with every kind of colour vision.
SOURCE_COLOURS = {'fused': '#0072b2', 'local': '#e69f00', 'cloud': '#cc79a7', 'carried': '#56b4e9', None: '#c1272d'}
SOURCE_NAMES = {
    'fused': 'fused: local model and features from the cloud',
    'local': 'local model alone',
    'cloud': 'computed in the cloud',
    None: 'no mask',
}
INK, QUIET, GRID, PAPER = '#1c2126', '#66707a', '#e3e7ea', '#ffffff'
UP, DOWN = '#009e73', '#8c5aa8'
EVENT = '#c1272d'

FIGURE_STYLE: Any = {
    'font.family': 'DejaVu Sans',
    'font.size': 9,
    'axes.edgecolor': GRID,
    'axes.labelcolor': QUIET,
    'axes.grid': True,
    'axes.axisbelow': True,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.titlecolor': INK,
    'grid.color': GRID,
    'grid.linewidth': 0.7,
    'xtick.color': QUIET,
    'ytick.color': QUIET,
    'xtick.major.size': 0,
    'ytick.major.size': 0,
    'figure.facecolor': PAPER,
    'legend.frameon': False,
    'legend.labelcolor': INK,
    'svg.fonttype': 'path',
    'svg.hashsalt': 'report',
}
"""What all figures share, for matplotlib's rc_context."""


def rgb(colour: str) -> tuple[int, int, int]:
    """'#0072b2' as (0, 114, 178)."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
