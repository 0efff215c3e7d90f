"""Segmenting a frame in two steps, so that several can wait for the cloud at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from dedelayed_ros.edge import EdgeResult


class Asking(Protocol):
    """A frame that was taken up."""

    @property
    def asked(self) -> bool:
        """Whether its mask is expected of the cloud."""


T = TypeVar('T', bound=Asking)
Self = TypeVar('Self', bound='TwoSteps[Any]')


@dataclass(frozen=True)
class Begun:
    """A frame that was taken up: ``finish`` gives its mask; ``asked``: it is expected of the cloud."""

    asked: bool
    finish: Callable[[], EdgeResult]


class TwoSteps(ABC, Generic[T]):
    """A pipeline that takes frames up and finishes them in the same order. A context manager, which closes it."""

    @abstractmethod
    def take(self, *args: Any, **kwargs: Any) -> T:
        """Take one picture up, whose arguments each pipeline names."""

    @abstractmethod
    def finish(self, taken: T) -> EdgeResult:
        """The mask of a frame that was taken up."""

    @abstractmethod
    def close(self) -> None:
        """End the link."""

    def begin(self, image: np.ndarray, **frame: Any) -> Begun:
        """Take one picture up, to be finished by whoever has what is returned; arguments and errors as :meth:`take`."""
        taken = self.take(image, **frame)
        return Begun(taken.asked, lambda: self.finish(taken))

    def step(self, image: np.ndarray, **frame: Any) -> EdgeResult:
        """Segment one picture; arguments and errors as :meth:`take`."""
        return self.begin(image, **frame).finish()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
