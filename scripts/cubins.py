"""Compile the CUDA kernels for every robot and server, and check what they take: `python scripts/cubins.py`.

The compilers are NVRTC from wheels (requirements/kernels.txt): no CUDA installation, no GPU. Cubins go to the package's
`_native/cuda`, from where the backend loads the one of its device. Registers, shared memory, spills and occupancy of
every kernel and architecture are held to kernels/cuda/budget.csv; `--write` writes that file.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / 'kernels' / 'cuda'
BUDGET = SOURCES / 'budget.csv'
TOOLCHAINS = {'11': '11.8', '12': '12.9', '13': '13.0'}  # of CUDA, by major version
THREADS = 256  # kThreads of kernels/cuda/device.h
COLUMNS = 'architecture kernel registers shared_bytes spill_bytes blocks occupancy_percent'.split()


class BuildError(Exception):
    """A compiler is missing or refuses, or a kernel takes more than its budget."""


@dataclass(frozen=True)
class Architecture:
    """A compute capability: its compiler, and what a multiprocessor has. Shared memory in KiB, blocks and threads."""

    name: str
    cuda: str
    shared: int
    threads: int
    blocks: int


ARCHITECTURES = (
    Architecture('sm_72', '11', 96, 2048, 32),  # Xavier NX
    Architecture('sm_86', '13', 100, 1536, 16),  # RTX 3080
    Architecture('sm_87', '12', 164, 1536, 16),  # Orin
    Architecture('sm_89', '13', 100, 1536, 24),  # L4, RTX 4090
    Architecture('sm_90', '13', 228, 2048, 32),  # H100
    Architecture('sm_110', '13', 228, 2048, 32),  # Thor
    Architecture('sm_120', '13', 100, 1536, 24),  # RTX 5090
)


@dataclass(frozen=True)
class Use:
    """What one kernel takes on one architecture. Shared memory and spills in bytes."""

    architecture: str
    kernel: str
    registers: int
    shared: int
    spills: int
    blocks: int
    occupancy: int

    @property
    def row(self) -> list[str]:
        return [self.architecture, self.kernel, *map(str, (self.registers, self.shared, self.spills, self.blocks))] + [
            str(self.occupancy)
        ]


def occupancy(architecture: Architecture, registers: int, shared: int) -> tuple[int, int]:
    """Blocks of THREADS that a multiprocessor holds at once, and the percentage of its threads that they are."""
    per_warp = -(-registers * 32 // 256) * 256  # registers are given out to warps in units of 256
    by_registers = 65536 // (per_warp * THREADS // 32)
    by_shared = architecture.shared * 1024 // (shared + 1024) if shared else architecture.blocks
    blocks = min(by_registers, by_shared, architecture.threads // THREADS, architecture.blocks)
    return blocks, 100 * blocks * THREADS // architecture.threads


def toolchain(cuda: str) -> Path:
    """Folder of one compiler; installed there by pip the first time."""
    folder = ROOT / '.cache' / 'cuda' / TOOLCHAINS[cuda]
    pins = [line for line in (ROOT / 'requirements' / 'kernels.txt').read_text().splitlines() if '==' in line]
    suffix = '' if cuda == '13' else f'-cu{cuda}'
    wanted = [pin for pin in pins if re.fullmatch(rf'nvidia-cuda-[a-z]+{suffix}==.*', pin)]
    done = folder / '.complete'
    if not done.exists() or done.read_text().split() != wanted:
        command = [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '--disable-pip-version-check',
            '--no-deps',
            '--upgrade',
        ]
        if subprocess.run([*command, '--target', folder, *wanted], check=False).returncode:
            raise BuildError(f'pip could not install {" ".join(wanted)}; its message is above')
        done.write_text('\n'.join(wanted))
    return folder


class Compiler:
    """NVRTC of one version."""

    def __init__(self, folder: Path) -> None:
        library = next(folder.glob('nvidia/**/libnvrtc.so.*'), None)
        if library is None:
            raise BuildError(f'{folder} holds no libnvrtc.so: delete that folder and run this again')
        for builtins in library.parent.glob('libnvrtc-builtins.so.*'):  # NVRTC looks for it by name alone
            ctypes.CDLL(str(builtins))
        self.nvrtc = ctypes.CDLL(str(library))
        self.includes = [str(path.parent) for path in folder.glob('nvidia/**/include/mma.h')]
        self.includes += [str(path.parent.parent) for path in folder.glob('nvidia/**/include/crt/mma.h')]

    def compile(self, source: Path, architecture: str) -> tuple[bytes, str]:
        """The cubin, and what the assembler says about it. Raises BuildError with the compiler's messages."""
        program = ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        self._check(self.nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
        folders = [str(source.parent), *dict.fromkeys(self.includes)]
        options = [f'-arch={architecture}', '-std=c++17', '--ptxas-options=-v', *(f'-I{folder}' for folder in folders)]
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = self.nvrtc.nvrtcCompileProgram(program, len(options), array)
        log = self._take(program, 'nvrtcGetProgramLogSize', 'nvrtcGetProgramLog').rstrip(b'\0').decode()
        if status:
            raise BuildError(f'{architecture}: {source.name} does not compile:\n{log}')
        return self._take(program, 'nvrtcGetCUBINSize', 'nvrtcGetCUBIN'), log

    def _take(self, program: ctypes.c_void_p, size_of: str, get: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self.nvrtc, size_of)(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self.nvrtc, get)(program, buffer))
        return buffer.raw

    def _check(self, status: int) -> None:
        if status:
            self.nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise BuildError(f'NVRTC: {self.nvrtc.nvrtcGetErrorString(status).decode()}')


def uses(architecture: Architecture, log: str) -> list[Use]:
    """What the assembler's report says of each kernel."""
    found = []
    for part in log.split('Compiling entry function ')[1:]:
        name = part[1 : part.index("'", 1)]
        registers = int(re.search(r'Used (\d+) registers', part)[1])  # type: ignore[index]
        shared = re.search(r'(\d+) bytes smem', part)
        spills = [int(n) for n in re.findall(r'(\d+) bytes spill', part)]
        size = int(shared[1]) if shared else 0
        found.append(
            Use(architecture.name, name, registers, size, sum(spills), *occupancy(architecture, registers, size))
        )
    return sorted(found, key=lambda use: use.kernel)


def read_budget() -> dict[tuple[str, str], dict[str, int]]:
    """What each kernel may take, by architecture and name."""
    with BUDGET.open() as file:
        rows = list(csv.DictReader(file))
    return {(r['architecture'], r['kernel']): {c: int(r[c]) for c in COLUMNS[2:]} for r in rows}


def over_budget(found: list[Use]) -> list[str]:
    """What is not as the budget has it, in words."""
    budget, problems = read_budget(), []
    for use in found:
        allowed = budget.get((use.architecture, use.kernel))
        if allowed is None:
            problems.append(f'{use.architecture} {use.kernel}: not in {BUDGET.name}')
            continue
        taken = {'registers': use.registers, 'shared_bytes': use.shared, 'spill_bytes': use.spills}
        for name, value in taken.items():
            if value > allowed[name]:
                problems.append(f'{use.architecture} {use.kernel}: {value} {name}, budget {allowed[name]}')
    problems += [f'{u.architecture} {u.kernel}: {u.spills} bytes of spills, 0 allowed' for u in found if u.spills]
    return problems


def write_budget(found: list[Use]) -> None:
    """Make what was found the budget, registers in the units of 8 that a thread gets."""
    with BUDGET.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        writer.writerows(replace(use, registers=-(-use.registers // 8) * 8).row for use in found)


def package_folder() -> Path:
    """Where the installed package looks for its cubins."""
    from dedelayed_ros.sparse.backends.cuda.pycuda_device import cubin_folder

    return cubin_folder()


def build(folder: Path, chosen: list[str]) -> list[Use]:
    """Compile for the chosen architectures into a folder, and return what the kernels take."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for architecture in ARCHITECTURES:
        if chosen and architecture.name not in chosen:
            continue
        cubin, log = Compiler(toolchain(architecture.cuda)).compile(SOURCES / 'kernels.cu', architecture.name)
        (folder / f'{architecture.name}.cubin').write_bytes(cubin)
        of_this = uses(architecture, log)
        found += of_this
        widest = max(of_this, key=lambda use: use.registers)
        spilled = sum(use.spills for use in of_this)
        print(
            f'{architecture.name}: CUDA {TOOLCHAINS[architecture.cuda]}, {len(of_this)} kernels, '
            f'{len(cubin) >> 10} KiB, '
            f'{spilled} bytes of spills, at most {widest.registers} registers ({widest.kernel})',
            flush=True,
        )
    return found


def main() -> int:
    """Parse the command line and compile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, help='folder for the cubins (default: where the package looks for them)')
    parser.add_argument('--arch', action='append', default=[], help='only this architecture, such as sm_87; repeatable')
    parser.add_argument('--write', action='store_true', help='make what is found the budget, instead of checking it')
    args = parser.parse_args()
    try:
        found = build(args.out or package_folder(), args.arch)
        problems = [] if args.write else over_budget(found)
    except BuildError as error:
        problems = [str(error)]
    if args.write and not problems:
        write_budget(found)
    for problem in problems:
        print(f'kernels: {problem}', file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
