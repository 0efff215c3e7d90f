"""Run the CUDA kernels' tests on the CPU, plain and under sanitizers: `make test-kernels`.

Plain: every test, in three orders of the threads of a block. AddressSanitizer and UBSan: all tests of single kernels
and whole networks, in one order, since what they see does not depend on it. ThreadSanitizer: every kernel at its
smallest size. As many parts run side by side as there are cores; each says at its end what it found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / 'test' / 'kernels'
sys.path.insert(0, str(TESTS))
PYTEST = '-m pytest -q -s --show-capture=no -p no:cacheprovider -o timeout=1800'.split()


@dataclass(frozen=True)
class Part:
    """Tests on one build of the kernels, with pytest's arguments and environment variables."""

    variant: str
    arguments: tuple[str, ...]
    environment: dict[str, str]


SINGLE = tuple(f'test_{name}.py' for name in 'motion sets masks features races ops'.split())
NETWORKS = 'net0 or several or features or drift or apart'
PARTS = (
    Part('plain', ('.',), {}),
    Part(
        'asan',
        (*SINGLE, 'test_engine.py', '-k', f'not test_engine or {NETWORKS}'),
        {
            'ASAN_OPTIONS': 'detect_leaks=0',
            'UBSAN_OPTIONS': 'print_stacktrace=1',
            'DEDELAYED_ORDERS': 'shuffled',
        },
    ),
    Part('tsan', ('test_races.py',), {'TSAN_OPTIONS': 'halt_on_error=1'}),
)


def run(part: Part) -> tuple[int, str]:
    """pytest's status and what it and the sanitizer say. Raises OSError where the compiler has no such sanitizer."""
    from emulated import build, preloads

    # Built without the preloads, which would slow the compiler down.
    environment = {**os.environ, **part.environment, 'DEDELAYED_KERNELS': str(build(variant=part.variant))}
    if preloads(part.variant):
        environment['LD_PRELOAD'] = preloads(part.variant)
    with tempfile.TemporaryFile('w+') as said:
        command = [sys.executable, *PYTEST, *part.arguments]
        code = subprocess.run(
            command, env=environment, cwd=TESTS, check=False, stdout=said, stderr=subprocess.STDOUT
        ).returncode
        said.seek(0)
        return code, said.read()


def main() -> int:
    """Parse the command line and run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [part.variant for part in PARTS]
    parser.add_argument('--only', choices=names, action='append', help='a part; repeatable')
    parser.add_argument('--skip-plain', action='store_true', help='`make test` has run that part')
    args = parser.parse_args()
    chosen = [part for part in PARTS if part.variant in (args.only or names)]
    if args.skip_plain:
        chosen = [part for part in chosen if part.variant != 'plain']
    start, failed = time.monotonic(), False
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        running = {pool.submit(run, part): part for part in chosen}
        for done in as_completed(running):
            part = running[done]
            try:
                code, said = done.result()
            except OSError as error:
                code, said = 1, f'test-kernels: {error}\n'
            failed |= bool(code)
            verdict = f'failed ({code})' if code else 'passed'
            print(f'{said}== {part.variant}: {verdict} after {time.monotonic() - start:.0f} s', flush=True)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
