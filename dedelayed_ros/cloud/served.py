"""The model that a server serves: its name, its sizes for a camera, and a state of its own for each stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dedelayed_ros.errors import InputError
from dedelayed_ros.greeting import feature_format, link_shape
from dedelayed_ros.link import FeatureFormat, Hello, PlainFormat

if TYPE_CHECKING:
    from dedelayed_ros.cloud.served_offload import ServedOffload
    from dedelayed_ros.link import OffloadHello


class StreamModel(Protocol):
    """One stream's state of the remote model."""

    def step(self, image: np.ndarray, stamp_ns: int, delay_ms: float) -> np.ndarray:
        """Features float32 [C, h, w] of `image` uint8 [H, W, 3] RGB, to be used `delay_ms` after it was taken."""
        ...

    def reset(self) -> None:
        """Forgets all earlier pictures."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """What is served, known at once, and how to load it, which takes a while.

    `sizes` gives, for a camera size (H, W), the model's input size (H, W) and its features' shape (C, h, w). `load`
    reads the weights and returns what makes a stream's state; it and the states belong to one thread.
    """

    name: str
    checksum: str
    classes: int
    sizes: Callable[[tuple[int, int]], tuple[tuple[int, int], tuple[int, int, int]]]
    load: Callable[[], Callable[[Hello], StreamModel]]
    feature_format: FeatureFormat = field(default_factory=PlainFormat)

    def objection(self, hello: Hello) -> str | None:
        """Why this model cannot serve a robot with these expectations, or None."""
        if hello.model != self.name:
            return f'this cloud serves model {self.name!r}, the robot expects {hello.model!r}'
        objection = other_weights(hello, self)
        if objection is not None:
            return objection
        remote_size, feature_shape = self.sizes(hello.camera_size)
        if hello.feature_shape != feature_shape or hello.remote_size != remote_size:
            return (
                f'for a camera of {_by(hello.camera_size)} this cloud computes features {_by(feature_shape)} at '
                f'{_by(remote_size)}, the robot expects {_by(hello.feature_shape)} at {_by(hello.remote_size)}; '
                'install the same version on both sides'
            )
        return None


def other_weights(hello: Hello | OffloadHello, served: ServedModel | ServedOffload) -> str | None:
    """What tells that the robot's model is another one than that which is served under the same name, or None."""
    if hello.model_checksum and hello.model_checksum != served.checksum:
        return (
            f'model {served.name!r} has checksum {served.checksum[:12]} here and {hello.model_checksum[:12]} on the '
            'robot; install the same weights on both sides'
        )
    if hello.classes != served.classes:
        return f'the model has {served.classes} classes, the robot expects {hello.classes}'
    return None


def serve_from_zoo(name: str, dtype: str = 'auto') -> ServedModel:
    """The zoo's remote model `name`, to be loaded once for all streams.

    `dtype` is float32, bfloat16, or auto: bfloat16 where the processor multiplies it natively.

    Raises:
        WeightsError: the model is unknown; and from `load`: its weights are missing or damaged.
        InputError: an unknown dtype.
    """
    from dedelayed_ros.models import model_sizes, zoo

    if dtype not in ('auto', 'float32', 'bfloat16'):
        raise InputError(f"dtype is {dtype!r}; expected 'auto', 'float32' or 'bfloat16'")
    entry = zoo.entry(name)

    def load() -> Callable[[Hello], StreamModel]:
        from dedelayed_ros.models import RemoteStream
        from dedelayed_ros.models.dtypes import resolve_dtype

        model = zoo.load_remote(name, dtype=resolve_dtype(dtype))
        codec = zoo.load_codec(name)
        return lambda hello: RemoteStream(model, codec)

    def sizes(camera_size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int, int]]:
        found = model_sizes(camera_size)
        return found.remote, link_shape(entry, found)

    return ServedModel(
        name=entry.name,
        checksum=entry.checksum,
        classes=len(entry.labels),
        sizes=sizes,
        load=load,
        feature_format=feature_format(name),
    )


def _by(size: tuple[int, ...]) -> str:
    return 'x'.join(map(str, size))
