"""What a robot says of itself when it meets a cloud: the model it runs and the shapes that its camera leads to."""

from __future__ import annotations

from dedelayed_ros.link import Hello
from dedelayed_ros.models import model_sizes, zoo


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
        feature_shape=sizes.features,
        remote_size=sizes.remote,
        camera_size=size,
        rate=rate,
    )
