"""The package as a whole: what is said in two places agrees, and a checkout's environment sees one copy of it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import dedelayed_ros
from dedelayed_ros import cli
from dedelayed_ros.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
DEDELAYED = Path(sys.executable).parent / 'dedelayed'
MESSAGES = {'EncodedFrame', 'MaskProvenance', 'RemoteFeatures'}
INSTALLED = ROOT / 'install' / 'dedelayed_ros'
in_checkout = pytest.mark.skipif(
    not (ROOT / 'install' / '.built').exists(), reason='not a checkout built by `make build`'
)


def test_versions_agree() -> None:
    manifest = ET.parse(ROOT / 'package.xml').getroot()
    assert manifest.findtext('version') == VERSION
    assert manifest.findtext('name') == 'dedelayed_ros'


def test_top_level_module_is_empty() -> None:
    assert (ROOT / 'dedelayed_ros' / '__init__.py').read_text() == '', 'the message generator installs an empty one'


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_each_command_has_its_module(name: str) -> None:
    module = cli.module_of(name)
    assert isinstance(module.HELP, str)
    assert callable(module.add_arguments)
    assert callable(module.run)


def test_help_names_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(['--help'])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(re.search(rf'^    {name}\b', text, re.MULTILINE) for name in cli.COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        'import sys; from dedelayed_ros import cli; cli.build_parser(); '
        "print([name for name in ('torch', 'av', 'zenoh', 'rclpy', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '[]'


def test_errors_of_the_user_are_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_args: object) -> int:
        raise cli.DedelayedError('the file x is missing: name another')

    monkeypatch.setattr('dedelayed_ros.cli.doctor.run', failing)
    assert cli.main(['doctor']) == 2
    assert capsys.readouterr().err == 'dedelayed: the file x is missing: name another\n'

    def interrupted(_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr('dedelayed_ros.cli.doctor.run', interrupted)
    assert cli.main(['doctor']) == 130


def test_messages_are_generated_from_every_file() -> None:
    assert {path.stem for path in (ROOT / 'msg').glob('*.msg')} == MESSAGES
    listed = re.findall(r'msg/(\w+)\.msg', (ROOT / 'CMakeLists.txt').read_text())
    assert set(listed) == MESSAGES


def test_messages_load_with_their_libraries() -> None:
    pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
    messages = importlib.import_module('dedelayed_ros.msg')
    assert {name for name in dir(messages) if not name.startswith('_') and name[0].isupper()} >= MESSAGES
    for name in sorted(MESSAGES):
        kind = getattr(messages, name)
        kind.__class__.__import_type_support__()
        assert kind.__class__._TYPE_SUPPORT is not None


def test_each_installed_node_has_a_module_with_main() -> None:
    listed = re.search(r'foreach\(node ([\w ]+)\)', (ROOT / 'CMakeLists.txt').read_text())
    assert listed is not None
    for node in listed.group(1).split():
        source = (ROOT / 'dedelayed_ros' / 'nodes' / f'{node}.py').read_text()
        assert re.search(r'^def main\(', source, re.MULTILINE), f'nodes/{node}.py has no main()'


@in_checkout
@pytest.mark.skipif('ROS_DISTRO' in os.environ, reason='an installed ROS has to be sourced for its messages')
def test_sources_in_the_current_folder_do_not_hide_the_messages() -> None:
    """Unsourced, with an empty environment, from the checkout's root: the install tree is what is imported."""
    pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
    code = (
        'import dedelayed_ros.msg as msg, dedelayed_ros.masks as masks; '
        'print(msg.__file__); print(masks.backend_name()); kind = msg.EncodedFrame.__class__; '
        'kind.__import_type_support__(); print(kind._TYPE_SUPPORT is not None)'
    )
    env = {'PATH': os.environ['PATH'], 'HOME': '/nonexistent'}
    for guard in ({}, {'_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'}):  # the guard may be inherited without the library path
        result = subprocess.run(
            [sys.executable, '-c', code], cwd=ROOT, env={**env, **guard}, capture_output=True, text=True, check=True
        )
        messages, backend, loaded = result.stdout.splitlines()
        assert INSTALLED in Path(messages).parents
        assert backend.startswith('cpu')
        assert loaded == 'True'


@in_checkout
def test_command_of_the_environment() -> None:
    result = subprocess.run([DEDELAYED, '--version'], env={}, cwd='/', capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f'dedelayed_ros {VERSION}'


@in_checkout
def test_every_module_is_linked() -> None:
    installed = Path(dedelayed_ros.__file__).parent
    assert INSTALLED in installed.parents
    for source in (ROOT / 'dedelayed_ros').rglob('*.py'):
        link = installed / source.relative_to(ROOT / 'dedelayed_ros')
        assert link.exists(), f'{link} is missing: run `make build`'
        assert link.resolve() == source or link.read_bytes() == source.read_bytes()


def test_every_requirement_is_pinned() -> None:
    folder = ROOT / 'requirements'

    def names(file: Path) -> set[str]:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith('#')]
        return {re.split(r'[=<>!~;\[ ]', line, maxsplit=1)[0].lower() for line in lines}

    pinned = names(folder / 'constraints.txt')
    # Each set of compilers has versions of its own, in a folder of its own.
    pinned |= {line.partition('==')[0] for line in (folder / 'kernels.txt').read_text().splitlines() if '==' in line}
    for file in folder.glob('*.txt'):
        unpinned = names(file) - pinned - {'pycuda'}  # built from source against the machine's own CUDA
        assert not unpinned, f'{file.name}: {sorted(unpinned)} have no pin in constraints.txt'
