"""The CUDA kernels on this machine's CPU: built by g++, launched as by the driver; and a device made of them."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np

from dedelayed_ros.sparse.backends.cuda.device import THREADS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / 'kernels' / 'cuda'
ALL_ORDERS = ('forward', 'reversed', 'shuffled')
ORDERS = tuple(os.environ.get('DEDELAYED_ORDERS', ' '.join(ALL_ORDERS)).split())  # that tests run in
FLAGS = '-std=c++20 -g1 -Wall -Wextra -Werror -Wno-unknown-pragmas -ffp-contract=off -fPIC -shared'.split()
VARIANTS = {
    'plain': ['-O2'],
    'asan': ['-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer'],
    'tsan': ['-O1', '-fsanitize=thread', '-fno-omit-frame-pointer'],
}
SANITIZERS = {'asan': ('libasan.so', 'libubsan.so'), 'tsan': ('libtsan.so',)}


def preloads(variant: str) -> str:
    """The libraries of a variant's sanitizers, to be loaded before Python's own; empty where it has none.

    Raises FileNotFoundError where g++ has no such library.
    """
    paths = []
    for name in SANITIZERS.get(variant, ()):
        found = subprocess.run(['g++', f'-print-file-name={name}'], capture_output=True, text=True, check=True)
        paths.append(found.stdout.strip())
        if paths[-1] == name:
            raise FileNotFoundError(
                f'g++ has no {name}: install its sanitizer library (Debian: libgcc-12-dev, libasan8, libtsan2)'
            )
    return ':'.join(paths)


def build(sources: Path = SOURCES, variant: str = 'plain') -> Path:
    """The kernels of a folder as a shared library; built once for the same text."""
    text = b''.join(file.read_bytes() for file in sorted(sources.iterdir()) if file.suffix in ('.h', '.cu'))
    command = ['g++', *FLAGS, *VARIANTS[variant]]
    name = hashlib.sha256(text + ' '.join(command).encode()).hexdigest()[:16]
    library = ROOT / '.cache' / 'kernels' / f'{name}.so'
    library.parent.mkdir(parents=True, exist_ok=True)
    with library.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in several processes wait for the one that builds
        if not library.exists():
            made = library.with_suffix('.made')
            without = {
                name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'
            }  # a sanitizer is for us
            subprocess.run([*command, '-x', 'c++', sources / 'kernels.cu', '-o', made], env=without, check=True)
            made.rename(library)
    return library


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The kernels; DEDELAYED_KERNELS names another library than one built here, or a variant."""
    chosen = os.environ.get('DEDELAYED_KERNELS', 'plain')
    path = build(variant=chosen) if chosen in VARIANTS else Path(chosen)
    return ctypes.CDLL(str(path))


_C = {'f': ctypes.c_float, 'i': ctypes.c_int64, 'u': ctypes.c_uint64}


def launch(name: str, blocks: tuple[int, ...], threads: int, arguments, order: str = 'forward', seed: int = 0) -> None:
    """Launch a kernel on NumPy scalars and arrays (by address)."""
    values = [np.uint64(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments]
    held = [np.array(value) for value in values]
    pointers = (ctypes.c_void_p * max(1, len(held)))(*(h.ctypes.data for h in held))
    grid = (ctypes.c_uint * 3)(*blocks, *[1] * (3 - len(blocks)))
    block = (ctypes.c_uint * 3)(threads, 1, 1)
    status = library().emulator_launch(name.encode(), grid, block, pointers, ALL_ORDERS.index(order), seed)
    if status:
        raise RuntimeError(f'{name}: ' + {1: 'there is no such kernel', 2: f'{blocks} × {threads} is refused'}[status])


_LIBC = ctypes.CDLL(None)
_LIBC.malloc.restype, _LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
_LIBC.free.argtypes = [ctypes.c_void_p]


class EmulatedMemory:
    """Memory that starts as NaN, and ends where it was asked to end (so that AddressSanitizer sees that)."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._address = _LIBC.malloc(max(1, size))
        self._free = _LIBC.free
        ctypes.memset(self._address, 0xFF, size)

    def __int__(self) -> int:
        return self._address

    def __del__(self) -> None:
        self._free(self._address)


class EmulatedDevice:
    """The device of backends/cuda on the CPU; ``launched`` lists the kernels in their order."""

    multiprocessors = 1

    def __init__(self, order: str = 'forward', seed: int = 0) -> None:
        self.order, self.seed = order, seed
        self.launched: list[str] = []

    def allocate(self, size: int) -> EmulatedMemory:
        return EmulatedMemory(size)

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, to: int, source: int, size: int) -> None:
        ctypes.memmove(to, source, size)

    def fill(self, address: int, word: int, count: int) -> None:
        memory = (ctypes.c_int32 * int(count)).from_address(address)
        np.frombuffer(memory, np.int32)[:] = word

    def launch(self, kernel: str, blocks: tuple[int, int], *arguments: np.generic) -> None:
        self.launched.append(kernel)
        self.seed += 1
        launch(kernel, blocks, THREADS, arguments, self.order, self.seed)

    def prepare(self, launches):
        def run() -> None:
            for kernel, blocks, arguments in launches:
                self.launch(kernel, blocks, *arguments)

        return run
