"""Plant faults in the CUDA kernels, one at a time, and see that the tests catch each: `make mutate-kernels`.

A fault is a change of the source text. The kernels are built with it for the CPU, and the tests that should notice run;
a fault that they let pass is a hole in them. The table goes to docs/kernel-faults.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kernel_faults import EQUIVALENT, FAULTS, NEEDED, Fault

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / 'kernels' / 'cuda'
TABLE = ROOT / 'docs' / 'kernel-faults.md'


def planted(fault: Fault, folder: Path) -> None:
    """The kernels with the fault, in a folder of their own."""
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    path = folder / fault.file
    text = path.read_text()
    if text.count(fault.text) < 1:
        raise SystemExit(f'{fault.file} has no {fault.text!r}: bring the fault "{fault.what}" up to date')
    path.write_text(text.replace(fault.text, fault.instead, 1))


def build(folder: Path, tests: str, library: Path) -> None:
    """Compile for the CPU what a file of tests needs, hardly optimised: to compile takes longer than to run."""
    flags = '-std=c++20 -O1 -w -ffp-contract=off -fPIC -shared -x c++ -'.split()
    text = ''.join(f'#include "{file}"\n' for file in NEEDED.get(tests, ['kernels.cu']))
    subprocess.run(['g++', f'-I{folder}', *flags, '-o', library], input=text, text=True, check=True)


def run_tests(library: Path, files: str, choice: str, note: Callable[[str], object]) -> int:
    """pytest's verdict on a library of kernels; names of failed tests are noted."""
    import pytest

    os.environ['DEDELAYED_KERNELS'] = str(library)
    loaded = sys.modules.get('emulated')
    if loaded is not None:
        loaded.library.cache_clear()

    class Noted:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                note(report.nodeid.split('::')[-1].split('[')[0])

    paths = [str(ROOT / 'test' / 'kernels' / name) for name in files.split()]
    options = ['-x', '-q', '-p', 'no:cacheprovider', '--show-capture=no', *(['-k', choice] if choice else [])]
    return int(pytest.main([*options, *paths], plugins=[Noted()]))


def verdict(fault: Fault, library: Path) -> str:
    """'caught', with the test that caught it, or 'missed'. In a child, so that a crash is seen as one."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        log = os.open(os.devnull, os.O_WRONLY)
        os.dup2(log, 1), os.dup2(log, 2)
        os._exit(run_tests(library, fault.tests, fault.choice, lambda name: os.write(writing, name.encode() + b'\n')))
    os.close(writing)
    with os.fdopen(reading) as found:
        first = found.readline().strip()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return 'missed'
    if status < 0:
        return 'caught: the emulator ends the process'
    return f'caught: {first}' if status == 1 else f'unclear: pytest says {status}'


def passes(tests: str, choices: list[str]) -> bool:
    """Whether the tests pass on the kernels as they are."""
    with tempfile.TemporaryDirectory() as name:
        library = Path(name) / 'right.so'
        build(SOURCES, tests, library)
        return not any(run_tests(library, tests, choice, print) for choice in choices)


def tried(fault: Fault) -> str:
    """The verdict on one fault."""
    with tempfile.TemporaryDirectory() as name:
        planted(fault, Path(name) / 'cuda')
        library = Path(name) / 'faulty.so'
        build(Path(name) / 'cuda', fault.tests, library)
        return verdict(fault, library)


def known() -> dict[str, str]:
    """Verdicts of the table as it is, by fault."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('| ')]
    return {row[0]: row[2] for row in cells if len(row) == 3}


def write_table(rows: list[tuple[Fault, str]]) -> None:
    """docs/kernel-faults.md, with the verdicts that it has of faults that were not tried now."""
    verdicts = {**known(), **{fault.what: said for fault, said in rows}}
    said = [(fault, verdicts.get(fault.what, 'not tried')) for fault in FAULTS]
    lines = [
        '# Faults planted in the CUDA kernels',
        '',
        'Written by `make mutate-kernels`: each fault is one change of the source, built for the CPU and run through',
        'tests in three orders of fibers, without sanitizers. The verdict names the first test that failed.',
        '',
        '| fault | file | verdict |',
        '|---|---|---|',
        *(f'| {fault.what} | {fault.file} | {verdict} |' for fault, verdict in said),
        '',
        f'{sum(verdict.startswith("caught") for _, verdict in said)} of {len(said)} were caught.',
        '',
        'Changes that are no faults, and are not planted:',
        '',
        '| change | file | why |',
        '|---|---|---|',
        *(f'| {change.what} | {change.file} | {change.why} |' for change in EQUIVALENT),
    ]
    TABLE.write_text('\n'.join(lines) + '\n')


def main() -> int:
    """Plant every fault and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--only', default='', help='only faults whose description has this pattern; others keep their verdict'
    )
    args = parser.parse_args()
    chosen = [fault for fault in FAULTS if re.search(args.only, fault.what)]
    rows: list[tuple[Fault, str]] = []
    for tests in dict.fromkeys(fault.tests for fault in chosen):
        # Without a fault all have to pass. That also imports and traces, once, what the forked children need.
        if not passes(tests, sorted({fault.choice for fault in chosen if fault.tests == tests})):
            print(f'{tests} fails without a fault', file=sys.stderr)
            return 1
        for fault in chosen:
            if fault.tests == tests:
                start = time.monotonic()
                rows.append((fault, tried(fault)))
                print(f'{rows[-1][1]:60} {fault.what} ({time.monotonic() - start:.0f} s)', flush=True)
                write_table(rows)
    return 0 if all(said.startswith('caught') for _, said in rows) else 1


if __name__ == '__main__':
    sys.exit(main())
