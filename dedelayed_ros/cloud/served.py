"""The model that a server serves: its name, its sizes for a camera, and a state of its own for each stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dedelayed_ros.errors import InputError
from dedelayed_ros.greeting import feature_format, link_shape
from dedelayed_ros.link import FeatureFormat, Hello, PlainFormat
from dedelayed_ros.models.asked import Asked

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
class LoadedModel:
    """A model in memory; it and the states that it makes belong to one thread.

    ``make`` gives a stream's state. ``together`` takes the next frame of several states, whose features are of one
    shape, and gives what each one's ``step`` would; ``at_once`` is for how many streams that is worth it, 1 for none.
    ``place``: where it computes, and in which number format, in words.
    """

    make: Callable[[Hello], StreamModel]
    together: Callable[[Sequence[Any], Sequence[Asked]], Sequence[np.ndarray]] | None = None
    at_once: int = 1
    place: str = ''


@dataclass(frozen=True)
class ServedModel:
    """What is served, known at once, and how to load it, which takes a while.

    `sizes` gives, for a camera size (H, W), the model's input size (H, W) and its features' shape (C, h, w).
    """

    name: str
    checksum: str
    classes: int
    sizes: Callable[[tuple[int, int]], tuple[tuple[int, int], tuple[int, int, int]]]
    load: Callable[[], LoadedModel]
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


_AT_ONCE = 8
"""Streams that a GPU computes together; a processor is busy with one."""


def serve_from_zoo(name: str, dtype: str = 'auto', device: str = 'auto') -> ServedModel:
    """The zoo's remote model `name`, to be loaded once for all streams.

    `device` is 'cpu', 'cuda', or 'auto': a GPU where torch finds one. `dtype` is float32, bfloat16, or auto: bfloat16
    where the device multiplies it natively.

    Raises:
        WeightsError: the model is unknown; and from `load`: its weights are missing or damaged.
        InputError: an unknown dtype; and from `load`: an unknown device, or one that is not there.
    """
    from dedelayed_ros.models import model_sizes, zoo

    if dtype not in ('auto', 'float32', 'bfloat16'):
        raise InputError(f"dtype is {dtype!r}; expected 'auto', 'float32' or 'bfloat16'")
    entry = zoo.entry(name)

    def load() -> LoadedModel:
        from dedelayed_ros.models.dtypes import resolve_device, resolve_dtype
        from dedelayed_ros.models.stream import RemoteStream, step_together

        place = resolve_device(device)
        number_format = resolve_dtype(dtype, place)
        model = zoo.load_remote(name, dtype=number_format).to(place)
        codec = zoo.load_codec(name)
        codec = codec if codec is None else codec.to(place)
        at_once = _AT_ONCE if place.type == 'cuda' else 1
        words = f'{place.type} in {str(number_format).removeprefix("torch.")}'
        return LoadedModel(lambda hello: RemoteStream(model, codec), step_together, at_once, words)

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
