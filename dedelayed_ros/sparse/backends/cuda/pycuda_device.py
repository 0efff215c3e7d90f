"""The device of the engine by way of PyCUDA: the driver's API, a stream, and the cubin of this GPU.

The primary context is the one that torch uses too, and is pushed for each call, so that any thread may call.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dedelayed_ros import native
from dedelayed_ros.sparse.backends.cuda.device import THREADS, Launch, Memory
from dedelayed_ros.sparse.backends.unary import Lacking

_FORMATS = {'u8': 'P', 'i4': 'i', 'u4': 'I', 'f4': 'f'}


def cubin_folder() -> Path:
    """Where `make kernels` puts the cubins: beside the CPU kernels of the package."""
    return native.library_path().parent / 'cuda'


def find_cubin(folder: Path, capability: tuple[int, int]) -> Path:
    """The cubin for a compute capability (major, minor): its own, or one of a lower minor.

    Raises Lacking, naming the architecture and what there is.
    """
    there: dict[tuple[int, int], Path] = {}
    for path in folder.glob('sm_*.cubin'):
        number = re.fullmatch(r'sm_(\d+)(\d)', path.stem)
        if number:
            there[int(number[1]), int(number[2])] = path
    usable = [version for version in there if version[0] == capability[0] and version[1] <= capability[1]]
    if not usable:
        found = ', '.join(sorted(path.stem for path in there.values())) or 'none at all'
        raise Lacking(
            f'there are no kernels for this GPU, sm_{capability[0]}{capability[1]}, in {folder} (but {found}): run '
            '`make kernels`, or install a package that was built with them'
        )
    return there[max(usable)]


def open_device(ordinal: int = 0) -> PyCudaDevice:
    """A GPU of this machine. Raises Lacking where PyCUDA, the driver, a GPU or its kernels are missing."""
    try:
        driver = importlib.import_module('pycuda.driver')
    except ModuleNotFoundError as error:
        raise Lacking(f"PyCUDA is not installed ({error}): pip install 'dedelayed_ros[cuda]'") from error
    except ImportError as error:
        raise Lacking(
            f'PyCUDA cannot load the CUDA driver ({error}): this needs an NVIDIA GPU and its driver'
        ) from error
    return PyCudaDevice(driver, ordinal, cubin_folder())


class PyCudaDevice:
    """One GPU and one stream on it. ``driver`` is the module pycuda.driver."""

    def __init__(self, driver: Any, ordinal: int, folder: Path) -> None:
        self._driver = driver
        try:
            driver.init()
            if driver.Device.count() <= ordinal:
                raise Lacking(f'GPU {ordinal} was asked for, and the driver knows {driver.Device.count()}')
            device = driver.Device(ordinal)
            cubin = find_cubin(folder, device.compute_capability())
            self.multiprocessors = int(device.multiprocessor_count)
            self._context = device.retain_primary_context()
            with self._current():
                self._stream = driver.Stream()
                self._module = driver.module_from_file(str(cubin))
        except driver.Error as error:
            raise Lacking(f'the CUDA driver refuses: {error}') from error
        self._functions: dict[str, Any] = {}

    def allocate(self, size: int) -> Memory:
        with self._current():
            try:
                return self._driver.mem_alloc(max(1, size))
            except self._driver.MemoryError as error:
                raise RuntimeError(f'the GPU has no {size} bytes left: {error}') from error

    def upload(self, address: int, array: np.ndarray) -> None:
        with self._current():
            # From ordinary memory the driver returns when it has its own copy.
            self._driver.memcpy_htod_async(address, array, self._stream)

    def download(self, array: np.ndarray, address: int) -> None:
        with self._current():
            self._driver.memcpy_dtoh_async(array, address, self._stream)
            self._stream.synchronize()

    def copy(self, to: int, source: int, size: int) -> None:
        with self._current():
            self._driver.memcpy_dtod_async(to, source, size, self._stream)

    def fill(self, address: int, word: int, count: int) -> None:
        with self._current():
            self._driver.memset_d32_async(address, word & 0xFFFFFFFF, count, self._stream)

    def launch(self, kernel: str, blocks: tuple[int, int], *arguments: np.generic) -> None:
        self.prepare([(kernel, blocks, arguments)])()

    def prepare(self, launches: Sequence[Launch]) -> Callable[[], None]:
        with self._current():
            calls = [
                (self._function(kernel, arguments), blocks, tuple(a.item() for a in arguments))
                for kernel, blocks, arguments in launches
            ]

        def run() -> None:
            with self._current():
                for function, blocks, arguments in calls:
                    function.prepared_async_call(blocks, (THREADS, 1, 1), self._stream, *arguments)

        return run

    def _function(self, kernel: str, arguments: tuple[np.generic, ...]) -> Any:
        if kernel not in self._functions:
            function = self._module.get_function(kernel)
            function.prepare(''.join(_FORMATS[a.dtype.str[1:]] for a in arguments))
            self._functions[kernel] = function
        return self._functions[kernel]

    def torch_stream(self) -> Any:
        """The stream for torch: what it does under this stream comes before or after the kernels, in order."""
        import torch

        return torch.cuda.ExternalStream(self._stream.handle)

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()
