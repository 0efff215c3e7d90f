"""A picture of one stream of a camera, as it is shown to the other one."""

from __future__ import annotations

from dataclasses import dataclass

from dedelayed_ros.frames import DecodedPicture


@dataclass(frozen=True)
class SharedPicture:
    """``session`` of the stream that it came in, ``sequence``, ``reference`` and ``stamp_ns`` are those of its record.

    ``decoded``: None where it could not be decoded.
    """

    session: int
    sequence: int
    reference: int
    stamp_ns: int
    decoded: DecodedPicture | None
