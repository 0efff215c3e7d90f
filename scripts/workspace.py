"""Build the package with colcon and let a virtual environment see the result: `scripts/workspace.py .venv`.

The environment gets a path file (the package is found in colcon's install tree, the only copy there is), a start-up
hook (scripts/site_hook.py) and the `dedelayed` command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALL = ROOT / 'install' / 'dedelayed_ros'
PACKAGE = 'dedelayed_ros'


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file whole or not at all, so that a process that starts meanwhile never reads half of it."""
    if path.exists() and path.read_text() == text:
        return
    fresh = path.with_name(f'{path.name}.{os.getpid()}')
    fresh.write_text(text)
    fresh.replace(path)


def build(venv: Path) -> None:
    """Run colcon on this checkout, against the sourced ROS or the one in *venv*."""
    python = venv / 'bin' / 'python'
    env = dict(os.environ)
    colcon = 'colcon'
    if (venv / 'bin' / 'colcon').exists():  # ROS wheels
        colcon = str(venv / 'bin' / 'colcon')
        env.update(AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv))
    command = [colcon, 'build', '--symlink-install', '--packages-select', PACKAGE]
    command += ['--event-handlers', 'console_stderr-', 'console_cohesion-', '--cmake-args']
    command += [f'-DPython3_EXECUTABLE={python}', '-DBUILD_TESTING=OFF']
    result = subprocess.run(command, cwd=ROOT, env=env, check=False)
    if result.returncode:
        log = ROOT / 'log' / 'latest_build' / PACKAGE / 'stdout_stderr.log'
        print(log.read_text()[-6000:] if log.exists() else '', file=sys.stderr)
        sys.exit(f'build: colcon failed; the end of its log ({log}) is above')


def remove_stale_links() -> None:
    """Remove links to sources that are gone: colcon adds links and never takes one away."""
    for path in INSTALL.rglob('*'):
        if path.is_symlink() and not path.exists():
            path.unlink()


def site_packages(venv: Path) -> Path:
    """The folder of *venv* from which its interpreter reads path files."""
    return Path(
        sysconfig.get_path('purelib', 'venv' if sys.version_info >= (3, 11) else 'posix_prefix', {'base': str(venv)})
    )


def connect(venv: Path) -> None:
    """Let *venv* see the package in the install tree, its message libraries and its command."""
    modules = next(INSTALL.glob(f'**/{PACKAGE}/msg/__init__.py')).parent.parent.parent
    names = {'@PACKAGE@': PACKAGE, '@MODULES@': str(modules), '@LIBRARIES@': str(INSTALL / 'lib')}
    hook = (ROOT / 'scripts' / 'site_hook.py').read_text()
    for name, value in names.items():
        hook = hook.replace(name, value)
    site = site_packages(venv)
    write_if_changed(site / f'_{PACKAGE}_hook.py', hook)
    write_if_changed(site / f'{PACKAGE}.pth', f'{modules}\nimport _{PACKAGE}_hook\n')
    command = venv / 'bin' / 'dedelayed'
    command.unlink(missing_ok=True)
    command.symlink_to(INSTALL / 'bin' / 'dedelayed')


def main() -> int:
    """Build, tidy and connect."""
    venv = Path(sys.argv[1]).absolute()
    build(venv)
    remove_stale_links()
    connect(venv)
    return 0


if __name__ == '__main__':
    sys.exit(main())
