from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dedelayed_ros.cli.processes import ProcessError, Processes

SLEEP = [sys.executable, '-S', '-c', 'import time; print("ready", flush=True); time.sleep(60)']
THREADED = [
    sys.executable, '-S', '-c',
    'import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print("ready", flush=True)',
]  # fmt: skip
STUBBORN = [
    sys.executable, '-S', '-c',
    'import signal, time; signal.signal(2, signal.SIG_IGN); print("ready", flush=True); time.sleep(60)',
]  # fmt: skip


def gone(pid: int, *, within_s: float = 5.0) -> bool:
    """Whether the process ends within some seconds; one that only waits to be collected has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_leaving_ends_every_child_even_a_stubborn_one(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        children = [processes.start('meek', SLEEP), processes.start('stubborn', STUBBORN)]
        for child in children:
            processes.wait_for('it is silent', lambda child=child: child.says('ready'), seconds=10, who=[child])
        began = time.monotonic()
        processes.stop(grace_s=0.3)
    assert time.monotonic() - began < 3
    assert [child.running for child in children] == [False, False]


def test_an_error_ends_every_child(tmp_path: Path) -> None:
    children = []

    def interrupted() -> None:
        with Processes(tmp_path) as processes:
            children.append(processes.start('meek', SLEEP))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [child.running for child in children] == [False]


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a child that its parent died')
def test_children_do_not_survive_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        'import sys, time; from pathlib import Path; from dedelayed_ros.cli.processes import Processes\n'
        f'p = Processes(Path({str(tmp_path)!r}))\n'
        f'print(p.start("child", {SLEEP!r}).pid, flush=True); time.sleep(60)'
    )
    parent = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_a_child_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start('camera', [sys.executable, '-S', '-c', 'print("no such device"); raise SystemExit(3)'])
        child.process.wait()
        with pytest.raises(ProcessError, match=r'(?s)camera ended by itself with exit status 3.*no such device'):
            processes.check()
        processes.check()  # told once


def test_waiting_ends_with_the_process_that_is_waited_for(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start('cloud', [sys.executable, '-S', '-c', 'print("port in use")'])
        with pytest.raises(ProcessError, match='port in use'):
            processes.wait_for('the cloud is not ready', lambda: False, seconds=30, who=[child])


def test_waiting_in_vain_says_for_what(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start('cloud', SLEEP)
        processes.wait_for('silent', lambda: child.says('ready'), seconds=10)
        with pytest.raises(ProcessError, match=r'(?s)waited 0.1 s in vain: no mask arrived.*ready'):
            processes.wait_for('no mask arrived', lambda: False, seconds=0.1, who=[child])


def test_a_killed_child_is_dead_at_once_and_no_failure(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start('cloud', SLEEP)
        processes.kill(child)
        assert not child.running
        assert child.process.returncode == -signal.SIGKILL
        processes.check()
        again = processes.start('cloud', SLEEP)
        assert not again.says('no such line')
        assert again.pid != child.pid
        assert again.log == child.log


@pytest.mark.skipif(sys.platform != 'linux', reason='priorities of threads are looked up as Linux has them')
def test_a_child_has_a_group_of_its_own_and_gives_way_with_all_its_threads(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start('cloud', THREADED)
        processes.wait_for('silent', lambda: child.says('ready'), seconds=10)
        processes.lower_priority(child, 7)
        threads = [int(path.name) for path in Path(f'/proc/{child.pid}/task').iterdir()]
        assert len(threads) == 2
        assert [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads] == [7, 7]
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
        assert os.getsid(child.pid) == os.getsid(0), 'priorities count within a session only'
