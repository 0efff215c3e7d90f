"""What a robot says of itself when it meets a cloud: the model it runs and the shapes that its camera leads to."""

from __future__ import annotations

from dedelayed_ros.link import FeatureFormat, Hello, LatentCoder, PlainFormat
from dedelayed_ros.models import ModelSizes, model_sizes, zoo


def greeting(model: str, size: tuple[int, int], rate: float) -> Hello:
    """The Hello of a robot that runs ``model`` on pictures of ``size`` (H, W) pixels, ``rate`` of them a second.

    Raises:
        WeightsError: the zoo has no such model.
    """
    entry, sizes = zoo.entry(model), model_sizes(size)
    return Hello(
        model=entry.name,
        model_checksum=entry.checksum,
        classes=len(entry.labels.names),
        feature_shape=link_shape(entry, sizes),
        remote_size=sizes.remote,
        camera_size=size,
        rate=rate,
    )


def link_shape(entry: zoo.ZooEntry, sizes: ModelSizes) -> tuple[int, int, int]:
    """(C, h, w) of what comes down: latents where the model has a codec, and else features."""
    return (entry.link_channels, *sizes.grid)


def feature_format(model: str) -> FeatureFormat:
    """How answers of ``model`` are written on the link.

    Raises:
        WeightsError: the zoo has no such model, or its codes are damaged.
    """
    lengths = zoo.load_code_lengths(model)
    return PlainFormat() if lengths is None else LatentCoder(lengths)
