"""The colours that mean the same everywhere: in the figures, in the video and on the page."""

from __future__ import annotations

# Okabe and Ito's palette: it can be told apart with every kind of colour vision.
SOURCE_COLOURS = {'fused': '#0072b2', 'local': '#e69f00', 'cloud': '#cc79a7', None: '#c1272d'}
SOURCE_NAMES = {
    'fused': 'fused: local model and features from the cloud',
    'local': 'local model alone',
    'cloud': 'computed in the cloud',
    None: 'no mask',
}
INK, QUIET, GRID, PAPER = '#1c2126', '#66707a', '#e3e7ea', '#ffffff'
UP, DOWN = '#009e73', '#8c5aa8'
EVENT = '#c1272d'


def rgb(colour: str) -> tuple[int, int, int]:
    """'#0072b2' as (0, 114, 178)."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
