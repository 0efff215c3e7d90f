"""What the engine asks of a device; ``pycuda_device.py`` is the real one, the tests have one that runs on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

# A kernel, its grid, and its arguments: NumPy scalars, pointers uint64.
Launch = tuple[str, tuple[int, int], tuple[np.generic, ...]]

THREADS = 256  # of every block, in every kernel: kThreads of kernels/cuda/device.h


class Memory(Protocol):
    """Device memory: its address as a number. It is freed with the object."""

    def __int__(self) -> int: ...


class Device(Protocol):
    """Memory, and kernels that run one after the other on one stream.

    Everything is asynchronous but ``download``, which waits for what was asked before.
    """

    multiprocessors: int

    def allocate(self, size: int) -> Memory:
        """Memory of ``size`` bytes, of no particular content. Raises RuntimeError where there is not so much."""

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to the device. It may be changed when this returns."""

    def download(self, array: np.ndarray, address: int) -> None:
        """Fill a contiguous array from the device."""

    def copy(self, to: int, source: int, size: int) -> None:
        """Copy ``size`` bytes within the device."""

    def fill(self, address: int, word: int, count: int) -> None:
        """Set ``count`` 32-bit words."""

    def launch(self, kernel: str, blocks: tuple[int, int], *arguments: np.generic) -> None:
        """Run a kernel with THREADS threads a block."""

    def prepare(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """A function that runs the kernels in their order, each time that it is called."""
