"""How a stream's features are written on the link: both ends build the same format from the same model entry."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dedelayed_ros.link.features import pack_features, unpack_features


class FeatureFormat(Protocol):
    """Features [C, h, w] as bytes and back."""

    def pack(self, features: np.ndarray) -> bytes:
        """The bytes; WireError for features that the format does not have."""
        ...

    def unpack(self, data: bytes | memoryview) -> np.ndarray:
        """float32 [C, h, w]; WireError for anything that :meth:`pack` did not write, in bounded memory."""
        ...


class PlainFormat:
    """Any features, eight bits a value, compressed (:mod:`dedelayed_ros.link.features`)."""

    def pack(self, features: np.ndarray) -> bytes:
        return pack_features(features)

    def unpack(self, data: bytes | memoryview) -> np.ndarray:
        return unpack_features(data)
