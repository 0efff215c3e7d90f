"""The model that a server computes offloaded frames with, which is the robot's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dedelayed_ros.cloud.served import other_weights

if TYPE_CHECKING:
    from dedelayed_ros.link import OffloadHello
    from dedelayed_ros.offload import Endpoint, OffloadModel


@dataclass(frozen=True)
class ServedOffload:
    """What is served, known at once, and how to load it, which takes a while.

    ``tolerance``: the checksum of its calibration, empty where there is none. ``load`` is told whether to run with it
    (True) or exactly; what it returns belongs to the model's thread.
    """

    name: str
    checksum: str
    classes: int
    tolerance: str
    load: Callable[[bool], OffloadModel]

    def objection(self, hello: OffloadHello) -> str | None:
        """Why it cannot serve a robot with these expectations, or None."""
        if hello.model != self.name:
            return f'this cloud serves offloaded frames of model {self.name!r}, the robot runs {hello.model!r}'
        objection = other_weights(hello, self)
        if objection is not None:
            return objection
        if hello.tolerance not in ('', self.tolerance):
            return 'the robot runs the model with another calibration; install the same one on both sides, or none'
        return None


class OffloadModels:
    """The loaded models of a :class:`ServedOffload`: exact, calibrated, or both. Belongs to the model's thread."""

    def __init__(self, served: Callable[[], ServedOffload], threads: int) -> None:
        self._served = served
        self._threads = threads or 1
        self._loaded: dict[bool, OffloadModel] = {}

    def endpoint(self, hello: OffloadHello) -> Endpoint:
        """The server's end of a new stream."""
        calibrated = bool(hello.tolerance)
        model = self._loaded.get(calibrated)
        if model is None:
            model = self._loaded[calibrated] = self._served().load(calibrated)
            model.threads = self._threads
        return model.endpoint(hello.input_size)


def serve_offload_from_zoo(name: str) -> ServedOffload:
    """The robot's model ``name`` of the zoo.

    Raises:
        WeightsError: the model is unknown; and from ``load``: its weights are missing or damaged.
    """
    from dedelayed_ros.models import zoo
    from dedelayed_ros.offload.tolerance import tolerance_of
    from dedelayed_ros.reuse import load_calibration

    def load(calibrated: bool) -> OffloadModel:
        from dedelayed_ros.offload import load_model

        return load_model(name, reuse='calibrated' if calibrated else 'exact')

    entry = zoo.entry(name)
    return ServedOffload(entry.name, entry.checksum, len(entry.labels), tolerance_of(load_calibration(name)), load)
