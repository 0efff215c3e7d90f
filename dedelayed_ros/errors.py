"""What goes wrong by the user's doing or the world's: one class a kind, each message complete in itself.

A message says what came, what was expected and what to do. The command line prints it without a traceback and nodes put
it into ``/diagnostics``; anything that is not one of these is a defect of ours and keeps its traceback.
"""

from __future__ import annotations


class DedelayedError(Exception):
    """Base of every error that the user, not the programmer, can mend."""


class InputError(DedelayedError):
    """A file, camera, picture or parameter is missing, damaged or of a kind that cannot be used."""


class LinkError(DedelayedError):
    """The network or its peer cannot be used: an address in use, no route, another protocol."""


class WeightsError(DedelayedError):
    """Model weights are missing, damaged or of another model."""
