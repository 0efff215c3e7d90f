"""A procedural street, rendered on the CPU: pictures, Cityscapes classes and true motion; a seed decides everything.

- ``look``, ``layout``, ``path``: light and weather, the street's cross-section, its course
- ``meshes``, ``vehicles``, ``people``, ``scenery``, ``plots``: what things are made of and where they stand
- ``ego``, ``traffic``: what moves
- ``shaders``, ``engine``: how it is drawn
- ``clip``, ``source``, ``export``: what comes out
"""

from __future__ import annotations

from .clip import StreetClip, StreetFrame
from .source import StreetSource, open_street

__all__ = ['StreetClip', 'StreetFrame', 'StreetSource', 'open_street']
