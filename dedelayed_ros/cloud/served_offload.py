"""The model that a server computes offloaded frames with, which is the robot's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dedelayed_ros.cloud.served import other_weights

if TYPE_CHECKING:
    from dedelayed_ros.link import OffloadHello
    from dedelayed_ros.offload import Endpoint, OffloadModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedOffload:
    """What is served, known at once, and how to load it, which takes a while.

    ``tolerance``: the checksum of its calibration, empty where there is none. ``load`` is told whether to run with it
    (True) or exactly, and the number format, 'float32', 'bfloat16' or 'auto'; what it returns belongs to the model's
    thread.
    """

    name: str
    checksum: str
    classes: int
    tolerance: str
    load: Callable[[bool, str], OffloadModel]

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
    """The loaded models of a :class:`ServedOffload`: exact or calibrated, in the number formats that streams need.

    Belongs to the model's thread.
    """

    def __init__(self, served: Callable[[], ServedOffload], threads: int, dtype: str) -> None:
        """``dtype`` of streams whose bits need not be the robot's, see :func:`~dedelayed_ros.offload.format_of_end`."""
        self._served = served
        self._threads = threads or 1
        self._dtype = dtype
        self._loaded: dict[tuple[bool, str], OffloadModel] = {}

    def endpoint(self, hello: OffloadHello) -> Endpoint:
        """The server's end of a new stream."""
        from dedelayed_ros.offload import format_of_end

        kind = bool(hello.tolerance), format_of_end(self._dtype, exact=hello.camera_size is None)
        model = self._loaded.get(kind)
        if model is None:
            model = self._loaded[kind] = self._served().load(*kind)
            model.threads = self._threads
        end = model.endpoint(hello.input_size)
        if end.slow:
            _log.warning('%s is slow here, on the engine %s', hello.model, end.engine)
        return end


def serve_offload_from_zoo(name: str) -> ServedOffload:
    """The robot's model ``name`` of the zoo.

    Raises:
        WeightsError: the model is unknown; and from ``load``: its weights are missing or damaged.
    """
    from dedelayed_ros.models import zoo
    from dedelayed_ros.offload.tolerance import tolerance_of
    from dedelayed_ros.reuse import load_calibration

    def load(calibrated: bool, dtype: str) -> OffloadModel:
        from dedelayed_ros.offload import load_model

        return load_model(name, reuse='calibrated' if calibrated else 'exact', dtype=dtype)

    entry = zoo.entry(name)
    return ServedOffload(entry.name, entry.checksum, len(entry.labels), tolerance_of(load_calibration(name)), load)
