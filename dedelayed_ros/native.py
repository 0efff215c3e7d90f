"""Finds and loads the package's CPU kernels: a shared library with a plain C interface, in the package's `_native/`.

The package runs without it, on the reference implementations; :func:`why_missing` says what is lacking then.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import NamedTuple

ABI_VERSION = 15
INSTRUCTION_SETS = ('portable', 'avx2', 'avx512', 'avx512_bf16', 'amx')  # by the library's own numbers
_STATUS = {
    1: 'an argument is out of its range',
    2: 'this processor lacks the instruction set',
    3: 'no memory left',
}


class _Loaded(NamedTuple):
    library: ctypes.CDLL | None
    why_missing: str


def library_path() -> Path:
    """Where the shared library belongs: beside this module, in a source tree as in an installed package."""
    return Path(__file__).parent / '_native' / 'libdedelayed_cpu.so'


def load(path: Path) -> _Loaded:
    """Load the shared library at *path*, or say why it cannot be used."""
    if not path.exists():
        return _Loaded(
            None,
            f'the CPU kernels are not built ({path} does not exist): `make build` in a checkout, or `pip install .` '
            'with CMake and a C++ compiler',
        )
    try:
        library = ctypes.CDLL(str(path))
        version = int(library.dedelayed_abi_version())
    except (OSError, AttributeError) as error:
        return _Loaded(None, f'the CPU kernels cannot be loaded ({error}): build the package again')
    if version != ABI_VERSION:
        return _Loaded(
            None,
            f'{path} has interface version {version} and this package needs {ABI_VERSION}: build the package again',
        )
    return _Loaded(library, '')


@functools.lru_cache(maxsize=1)
def _loaded() -> _Loaded:
    return load(library_path())


def library() -> ctypes.CDLL | None:
    """The CPU kernels, loaded at the first call; None where they cannot be used."""
    return _loaded().library


def why_missing() -> str:
    """Why :func:`library` is None, and what to do; empty when it is there."""
    return _loaded().why_missing


def instruction_set() -> str | None:
    """The best of INSTRUCTION_SETS that this processor runs, None without the library."""
    found = library()
    return None if found is None else INSTRUCTION_SETS[found.dedelayed_instruction_set()]


def check(status: int, function: str) -> None:
    """Raise RuntimeError for a kernel's status other than success."""
    if status:
        raise RuntimeError(f'{function}: {_STATUS.get(status, f"status {status}")}')
