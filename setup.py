"""The ROS-free core and the `dedelayed` command, for machines without ROS: `pip install .`

The CPU kernels are compiled when CMake and a C++ compiler are there. Without them the package installs and runs on its
reference implementations, and `dedelayed doctor` says so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
EXTRAS = ('street', 'train', 'bench', 'cuda', 'test')


def requirements(group: str) -> list[str]:
    """The requirements in one file of requirements/."""
    lines = (ROOT / 'requirements' / f'{group}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """The version in dedelayed_ros/version.py, read without importing the package."""
    found = re.search(r"VERSION = '(.+)'", (ROOT / 'dedelayed_ros' / 'version.py').read_text())
    if found is None:
        raise SystemExit('dedelayed_ros/version.py has no VERSION')
    return found.group(1)


def files_under(folder: str) -> list[tuple[str, list[str]]]:
    """The files of a folder as setuptools' data_files, below share/ as in a ROS installation."""
    groups: dict[str, list[str]] = {}
    for path in sorted((ROOT / folder).rglob('*')):
        if path.is_file() and path.suffix != '.pyc' and not path.name.startswith('.'):
            relative = path.relative_to(ROOT)
            groups.setdefault(f'share/dedelayed_ros/{relative.parent}', []).append(str(relative))
    return list(groups.items())


def data_of_package() -> list[str]:
    """What the package reads at run time beside its modules: weights, shaders, templates, …"""
    package = ROOT / 'dedelayed_ros'
    files = (path for path in sorted(package.rglob('*')) if path.is_file() and path.suffix not in ('.py', '.pyc'))
    return [str(path.relative_to(package)) for path in files]


class BuildWithKernels(build_py):
    """Compiles kernels/cpu into the package after its Python files are copied."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            raise SystemExit('an editable checkout is made by `make build`, which also builds the messages')
        build = Path(self.get_finalized_command('build').build_temp).absolute() / 'kernels'
        native = Path(self.build_lib).absolute() / 'dedelayed_ros' / '_native'
        if shutil.which('cmake') is None:
            self.warn('CMake is missing: installing without the CPU kernels (the reference implementations are used)')
            return
        steps = (
            ['cmake', '-S', 'kernels/cpu', '-B', build, f'-DDEDELAYED_NATIVE_DESTINATION={native}'],
            ['cmake', '--build', build, '--parallel'],
            ['cmake', '--install', build],
        )
        for step in steps:
            if subprocess.run([str(word) for word in step], cwd=ROOT, check=False).returncode:
                self.warn(
                    'the CPU kernels did not compile: installing without them (the reference implementations are used)'
                )
                shutil.rmtree(native, ignore_errors=True)
                return


class PlatformWheel(bdist_wheel):
    """A wheel for this platform and any Python 3: the kernels are reached through ctypes."""

    def get_tag(self) -> tuple[str, str, str]:
        return 'py3', 'none', super().get_tag()[2]


class PlatformDistribution(Distribution):
    """Holds a compiled library, although setuptools sees no extension module."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    name='dedelayed_ros',
    version=version(),
    description='A segmentation mask for every camera frame, made better by a large predictive model in the cloud',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['dedelayed_ros', 'dedelayed_ros.*']),
    package_data={'dedelayed_ros': data_of_package()},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/dedelayed_ros']),
        ('share/dedelayed_ros', ['package.xml']),
        *files_under('config'),
        *files_under('launch'),
    ],
    install_requires=requirements('core'),
    extras_require={group: requirements(group) for group in EXTRAS},
    entry_points={'console_scripts': ['dedelayed = dedelayed_ros.cli:main']},
    distclass=PlatformDistribution,
    cmdclass={'build_py': BuildWithKernels, 'bdist_wheel': PlatformWheel},
)
