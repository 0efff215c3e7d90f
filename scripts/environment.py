"""Make the virtual environment of a checkout: `python3 scripts/environment.py .venv`.

Run again, it changes only what it must.

Without a ROS installation the environment holds a real ROS 2 from wheels, whose two defects are mended here or stepped
around (scripts/workspace.py). With one sourced, that one is used, and the environment only adds what it lacks.
Standard library only: it runs on the bare interpreter of a fresh machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 10), (3, 12))
PACKAGES = {  # program or library that the build or the product needs → Debian package that has it
    'cmake': 'cmake',
    'c++': 'g++',
    'make': 'make',
    'libEGL.so.1': 'libegl1',
    'libGL.so.1': 'libgl1',
    'libgallium or swrast_dri.so': 'libgl1-mesa-dri',
    'venv': 'python3-venv',
}


class SetupError(Exception):
    """The machine lacks something that only its owner can add."""


def ros_is_sourced() -> bool:
    """Whether a ROS 2 installation is sourced whose rclpy this interpreter can import."""
    return bool(os.environ.get('ROS_DISTRO')) and importlib.util.find_spec('rclpy') is not None


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command; its failure ends the set-up with the command itself as the message."""
    words = [str(word) for word in command]
    if subprocess.run(words, env=env, check=False).returncode:
        raise SetupError(f'this command failed (its own message is above): {shlex.join(words)}')


def missing_parts() -> list[str]:
    """Names out of PACKAGES that this machine lacks."""
    libraries = [Path(folder) for folder in ('/usr/lib', '/usr/lib64', '/lib', '/usr/local/lib')]
    libraries += [path for folder in libraries for path in folder.glob('*-linux-gnu')]

    def has_library(pattern: str) -> bool:
        return any(next(folder.glob(pattern), None) for folder in libraries)

    found = {name: shutil.which(name) is not None for name in ('cmake', 'c++', 'make')}
    for library in ('libEGL.so.1', 'libGL.so.1'):
        found[library] = has_library(library)
    found['libgallium or swrast_dri.so'] = has_library('libgallium*.so') or has_library('dri/*_dri.so')
    found['venv'] = importlib.util.find_spec('ensurepip') is not None
    return [name for name, there in found.items() if not there]


def install_missing_parts() -> None:
    """Install what is missing where we may (root on Debian or Ubuntu); elsewhere say what is to be installed."""
    missing = missing_parts()
    if not missing:
        return
    packages = [PACKAGES[name] for name in missing]
    command = ['apt-get', 'install', '-y', '--no-install-recommends', *packages]
    if os.geteuid() == 0 and shutil.which('apt-get'):
        print(f'missing on this machine: {", ".join(missing)}; installing {" ".join(packages)}', flush=True)
        quiet = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
        subprocess.run(['apt-get', 'update', '-q'], env=quiet, check=False)
        subprocess.run(command, env=quiet, check=False)
        missing = missing_parts()
    if not missing:
        return
    advice = f'sudo apt-get install {" ".join(PACKAGES[name] for name in missing)}'
    needed = [name for name in missing if name in ('cmake', 'c++', 'make', 'venv')]
    if needed:
        raise SetupError(f'missing on this machine: {", ".join(missing)}. Install with: {advice}')
    print(f'note: without {", ".join(missing)} the simulated street cannot be drawn. Install with: {advice}')


def write_constraints(path: Path, *, without: dict[str, str | None]) -> None:
    """Write our pins to *path*, with the projects in *without* at their given versions instead (None: free)."""
    lines = (ROOT / 'requirements' / 'constraints.txt').read_text().splitlines()
    kept = [line for line in lines if re.split(r'[=<>!~; ]', line, maxsplit=1)[0] not in without]
    kept += [f'{name}=={version}' for name, version in without.items() if version]
    path.write_text('\n'.join(kept) + '\n')


def version_of(python: Path | str, project: str) -> str | None:
    """Version of an installed project as *python* sees it, None when it is not there."""
    code = f'from importlib.metadata import version; print(version({project!r}))'
    result = subprocess.run([str(python), '-c', code], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def install_packages(venv: Path, *, with_ros: bool, torch_args: list[str], groups: list[str]) -> None:
    """Install the requirement files named by *groups* at their pinned versions."""
    python = venv / 'bin' / 'python'
    pip = (python, '-m', 'pip', 'install', '--disable-pip-version-check', '--progress-bar', 'off')
    constraints = venv / 'constraints.txt'
    free: dict[str, str | None] = {}
    if with_ros:  # its compiled messages fit the NumPy that they were built with
        free['numpy'] = version_of(sys.executable, 'numpy')
    if torch_args:
        write_constraints(constraints, without={**free, 'torch': None})
        run(*pip, '-c', constraints, *torch_args, 'torch')
        free['torch'] = version_of(python, 'torch')
    write_constraints(constraints, without=free)
    files = [ROOT / 'requirements' / f'{group}.txt' for group in groups]
    run(*pip, '-q', '-c', constraints, *(word for file in files for word in ('-r', file)))


def mend_wheels(venv: Path) -> None:
    """Let the CMake exports of the ROS wheels name this machine's include folders, not those of their build machine."""
    code = 'import numpy; print(numpy.get_include())'
    numpy_include = subprocess.check_output([venv / 'bin' / 'python', '-c', code], text=True).strip()
    for file in venv.glob('share/**/*.cmake'):
        text = file.read_text()
        mended = re.sub(r'/opt/python/[^/;"]+/lib/python3\.\d+/site-packages/numpy/_core/include', numpy_include, text)
        mended = re.sub(r'/opt/python/[^/;"]+/include/python3\.\d+', sysconfig.get_path('include'), mended)
        if mended != text:
            file.write_text(mended)


def make_environment(venv: Path, torch_args: list[str], extra: list[str]) -> None:
    """The whole set-up of one virtual environment, noted in `<venv>/.environment` when it is complete."""
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise SetupError(
            f'Python {sys.version.split()[0]} found, 3.10 to 3.12 needed: name one with `make PYTHON=python3.12 …`'
        )
    with_ros = ros_is_sourced()
    kind = f'ROS {os.environ["ROS_DISTRO"]}' if with_ros else 'ROS wheels'
    stamp = venv / '.environment'
    earlier = stamp.read_text().splitlines() if stamp.exists() else []
    if earlier and earlier[0] != kind:
        raise SetupError(
            f'{venv} was made for {earlier[0]}, and now it would be {kind}: run `make clean` and `rm -r {venv}` first, '
            'or keep both with `make VENV=other-folder …`'
        )
    install_missing_parts()
    if with_ros and not shutil.which('colcon'):
        raise SetupError('colcon is missing: sudo apt-get install python3-colcon-common-extensions')
    if not (venv / 'bin' / 'python').exists():
        print(f'making {venv} with Python {sys.version.split()[0]} and {kind} (some minutes) …', flush=True)
        run(sys.executable, '-m', 'venv', *(['--system-site-packages'] if with_ros else []), venv)
    groups = ['core', 'street', 'test', *([] if with_ros else ['ros-wheels']), *extra]
    install_packages(venv, with_ros=with_ros, torch_args=torch_args, groups=groups)
    if not with_ros:
        mend_wheels(venv)
    stamp.write_text('\n'.join([kind, *groups]) + '\n')


def main() -> int:
    """Parse the command line and make the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('venv', type=Path, help='folder of the virtual environment')
    parser.add_argument('--torch-args', default='', help='arguments of `pip install` that choose another torch build')
    parser.add_argument('--extra', action='append', default=[], help='another file of requirements/ to install')
    args = parser.parse_args()
    try:
        make_environment(args.venv.absolute(), shlex.split(args.torch_args), args.extra)
    except SetupError as error:
        print(f'set-up: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
