"""Run the CUDA kernels' tests on the CPU, plain and under sanitizers: `make test-kernels`.

Plain: every test, in three orders of the threads of a block. AddressSanitizer and UBSan: all tests of single kernels,
and whole networks in one order. ThreadSanitizer: every kernel at its smallest size.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / 'test' / 'kernels'
SINGLE = ('test_motion.py', 'test_sets.py', 'test_masks.py', 'test_features.py', 'test_races.py', 'test_ops.py')
NETWORKS = 'forward and (net0 or several or features or drift)'
SANITIZERS = {
    'asan': (('libasan.so', 'libubsan.so'), {'ASAN_OPTIONS': 'detect_leaks=0', 'UBSAN_OPTIONS': 'print_stacktrace=1'}),
    'tsan': (('libtsan.so',), {'TSAN_OPTIONS': 'halt_on_error=1'}),
}


class Missing(Exception):
    """The compiler has no such sanitizer."""


def preloads(variant: str) -> str:
    """The sanitizer's libraries, to be loaded before Python's own."""
    paths = []
    for name in SANITIZERS[variant][0]:
        found = subprocess.run(['g++', f'-print-file-name={name}'], capture_output=True, text=True, check=True)
        path = found.stdout.strip()
        if path == name:
            raise Missing(
                f'g++ has no {name}: install its sanitizer library (Debian: libgcc-12-dev, libasan8, libtsan2)'
            )
        paths.append(path)
    return ':'.join(paths)


def run(name: str, arguments: list[str], environment: dict[str, str]) -> int:
    """pytest with output that a sanitizer's report gets through to."""
    start = time.monotonic()
    print(f'== {name}: pytest {" ".join(arguments)}', flush=True)
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-s',
        '--show-capture=no',
        '-p',
        'no:cacheprovider',
        '-o',
        'timeout=1800',
    ]
    code = subprocess.run([*command, *arguments], env={**os.environ, **environment}, cwd=TESTS, check=False).returncode
    print(f'== {name}: {"passed" if not code else f"failed ({code})"} in {time.monotonic() - start:.0f} s', flush=True)
    return code


def sanitized(variant: str, arguments: list[str]) -> int:
    """pytest on kernels that were built with a sanitizer."""
    sys.path.insert(0, str(TESTS))
    from emulated import build

    library = build(variant=variant)  # without the preloads, which would slow the compiler down
    _, options = SANITIZERS[variant]
    return run(variant, arguments, {'DEDELAYED_KERNELS': str(library), 'LD_PRELOAD': preloads(variant), **options})


def main() -> int:
    """Parse the command line and run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', choices=['plain', *SANITIZERS], action='append', help='a part; repeatable')
    parser.add_argument('--skip-plain', action='store_true', help='`make test` has run that part')
    args = parser.parse_args()
    chosen = args.only or ['plain', *SANITIZERS]
    codes = []
    try:
        if 'plain' in chosen and not args.skip_plain:
            codes.append(run('plain', ['.'], {}))
        if 'asan' in chosen:
            codes.append(sanitized('asan', list(SINGLE)))
            codes.append(sanitized('asan', ['test_engine.py', '-k', NETWORKS]))
        if 'tsan' in chosen:
            codes.append(sanitized('tsan', ['test_races.py']))
    except Missing as error:
        print(f'test-kernels: {error}', file=sys.stderr)
        return 2
    return int(any(codes))


if __name__ == '__main__':
    sys.exit(main())
