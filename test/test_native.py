"""Loading the CPU kernels: each way in which they can be absent has its own message."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dedelayed_ros import native

ROOT = Path(__file__).resolve().parent.parent


def test_library_or_the_reason_why_not() -> None:
    assert (native.library() is None) == bool(native.why_missing())
    assert (native.instruction_set() in native.INSTRUCTION_SETS) == (native.library() is not None)


def test_a_checkout_has_the_kernels() -> None:
    if not (ROOT / 'install' / '.built').exists():
        pytest.skip('not a checkout built by `make build`')
    assert native.library() is not None, native.why_missing()


def test_absent_file_says_how_to_build(tmp_path: Path) -> None:
    loaded = native.load(tmp_path / 'none.so')
    assert loaded.library is None
    assert 'make build' in loaded.why_missing


def test_damaged_file_is_reported(tmp_path: Path) -> None:
    damaged = tmp_path / 'damaged.so'
    damaged.write_bytes(b'\x7fELF and no more')
    loaded = native.load(damaged)
    assert loaded.library is None
    assert 'cannot be loaded' in loaded.why_missing


@pytest.mark.skipif(shutil.which('c++') is None, reason='needs a C++ compiler')
def test_another_interface_version_is_refused(tmp_path: Path) -> None:
    source = tmp_path / 'other.cpp'
    source.write_text('extern "C" int dedelayed_abi_version() { return 999; }')
    library = tmp_path / 'other.so'
    subprocess.run(['c++', '-shared', '-fPIC', str(source), '-o', str(library)], check=True)
    loaded = native.load(library)
    assert loaded.library is None
    assert '999' in loaded.why_missing


def test_versions_agree_with_the_sources() -> None:
    source = (ROOT / 'kernels' / 'cpu' / 'library.cpp').read_text()
    assert f'dedelayed_abi_version() {{ return {native.ABI_VERSION}; }}' in source


def test_status_is_an_error_with_its_meaning() -> None:
    native.check(0, 'f')
    with pytest.raises(RuntimeError, match='f: this processor lacks the instruction set'):
        native.check(2, 'f')
