"""`dedelayed doctor`: it reports what is there, and no check can take it down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dedelayed_ros.cli import checks, main
from dedelayed_ros.cli.checks import Finding
from dedelayed_ros.cli.doctor import is_fatal, isolated, line
from dedelayed_ros.errors import LinkError


@pytest.mark.timeout(500)
def test_report_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / 'doctor.json'
    code = main(['doctor', '--time-out', '200', '--json', str(report)])
    printed = capsys.readouterr().out
    written = json.loads(report.read_text())
    findings = written['findings']
    assert code == (0 if written['ok'] else 1)
    assert set(findings) == set(checks.CHECKS) - {'cloud'}
    for finding in findings.values():
        assert f'{finding["state"]:8}{finding["name"]:16}{finding["found"]}' in printed
        assert (finding['state'] == 'ok') or finding['advice'], 'what does not work says what to do'
    for name in ('python', 'package', 'torch', 'libx264', 'motion_vectors', 'zenoh'):
        assert findings[name]['state'] == 'ok', findings[name]


@pytest.mark.timeout(60)
def test_cloud_that_is_not_there(free_port: Callable[[], int]) -> None:
    finding = isolated('cloud', f'127.0.0.1:{free_port()}', time_out_s=50)
    assert finding.state == 'broken'
    assert 'cannot be reached' in finding.found
    assert is_fatal('cloud', finding)


@pytest.fixture
def check_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A function that makes a module of some lines of Python, to be run in place of the checks."""

    def make(code: str) -> str:
        (tmp_path / 'misbehaving_check.py').write_text(code)
        monkeypatch.setenv('PYTHONPATH', str(tmp_path))
        return 'misbehaving_check'

    return make


@pytest.mark.parametrize(
    ('code', 'words'),
    [
        ('import os; os.kill(os.getpid(), 11)', 'died of SIGSEGV'),
        ('import time; time.sleep(60)', 'no answer within 3 s'),
        ('print("no JSON")', 'ended with exit code 0'),
        ('raise SystemExit("driver is gone")', 'exit code 1: driver is gone'),
    ],
)
def test_check_that_dies_or_hangs_is_a_finding(check_module: Callable[[str], str], code: str, words: str) -> None:
    finding = isolated('zenoh', time_out_s=3, module=check_module(code))
    assert finding.state == 'broken'
    assert words in finding.found
    assert is_fatal('zenoh', finding)


@pytest.mark.parametrize(
    ('error', 'state', 'words'),
    [
        (ModuleNotFoundError("No module named 'zenoh'"), 'missing', "No module named 'zenoh'"),
        (LinkError('the port is closed: open it'), 'broken', 'the port is closed: open it'),
        (OSError('disk full'), 'broken', 'OSError: disk full'),
    ],
)
def test_check_that_raises_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, error: Exception, state: str, words: str
) -> None:
    def failing() -> Finding:
        raise error

    monkeypatch.setitem(checks.CHECKS, 'zenoh', failing)
    finding = checks.run_check('zenoh')
    assert (finding.state, finding.found) == (state, words)


def test_only_what_is_needed_is_fatal() -> None:
    missing = Finding('x', 'missing', 'not there', 'get it')
    broken = Finding('x', 'broken', 'fails', 'mend it')
    assert is_fatal('torch', missing)
    assert is_fatal('ros', broken)
    assert not is_fatal('ros', missing)
    assert not is_fatal('cuda', broken)
    assert set(checks.ESSENTIAL) <= set(checks.CHECKS)
    assert line(missing).splitlines()[1].strip() == 'get it'
