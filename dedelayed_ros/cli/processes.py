"""Child processes that end with their parent, and whose failure is told with the end of their log."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from dedelayed_ros.errors import DedelayedError

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 15


class ProcessError(DedelayedError):
    """A process that was needed has ended, or did not get ready."""


@dataclass
class Child:
    """A running process; ``expected_to_end`` once somebody means to end it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    expected_to_end: bool = False
    log_start: int = 0
    """Where its own lines begin in the log."""

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def log_tail(self) -> str:
        """The last lines that it wrote, indented."""
        return '\n'.join(f'    {line}' for line in self._lines()[-_TAIL_LINES:]) or '    (it wrote nothing)'

    def says(self, beginning: str) -> bool:
        """Whether it has written a line with that beginning."""
        return any(line.startswith(beginning) for line in self._lines())

    def _lines(self) -> list[str]:
        return self.log.read_bytes()[self.log_start :].decode(errors='replace').splitlines()


class Processes:
    """Starts, watches and ends processes. Leaving the ``with`` block ends all of them.

    Each child has a process group of its own and dies with this process even if that is killed (on Linux). What a child
    writes goes to ``logs/<name>.log``.
    """

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: list[Child] = []
        self._files: list[IO[bytes]] = []

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Child:
        """Start ``command``. A second start under the same name goes on in the same log."""
        log = self._logs / f'{name}.log'
        again = any(child.name == name for child in self._children)
        file = log.open('ab' if again else 'wb')
        start = file.tell()
        self._files.append(file)
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            preexec_fn=_bind_to_parent(),
        )
        child = Child(name, process, log, log_start=start)
        self._children.append(child)
        return child

    def lower_priority(self, child: Child, nice: int) -> None:
        """Let a running process, with all its threads, give way to others."""
        if child.running:
            os.setpriority(os.PRIO_PGRP, child.pid, nice)

    def kill(self, child: Child) -> None:
        """End it the hard way (SIGKILL), as a crash or a power cut would."""
        child.expected_to_end = True
        _signal_group(child, signal.SIGKILL)
        child.process.wait()

    def check(self) -> None:
        """Raise ProcessError when a process that should be running has ended."""
        for child in self._children:
            if not child.expected_to_end and not child.running:
                child.expected_to_end = True
                raise ProcessError(
                    f'{child.name} ended by itself with {_ending(child.process.returncode)}. '
                    f'The end of {child.log}:\n{child.log_tail()}'
                )

    def wait_for(self, what: str, ready: Callable[[], bool], *, seconds: float, who: Iterable[Child] = ()) -> None:
        """Wait until ``ready()``; raise ProcessError after ``seconds``, or when a process ends meanwhile.

        ``what`` says what is missing then, and ``who`` are the processes that may know why.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                logs = ''.join(f'\n  {child.log}:\n{child.log_tail()}' for child in who)
                heading = ' The ends of the logs:' if logs else ''
                raise ProcessError(f'waited {seconds:g} s in vain: {what}.{heading}{logs}')
            time.sleep(0.05)

    def sleep_until(self, moment_ns: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Watch over the processes until a moment of the wall clock (nanoseconds), doing ``meanwhile`` now and then."""
        while (left := (moment_ns - time.time_ns()) / 1e9) > 0:
            self.check()
            meanwhile()
            time.sleep(min(left, 0.05))

    def cpu_seconds(self) -> dict[str, tuple[int, float]]:
        """Process id and processor time so far of each running process, by name."""
        used = {}
        for child in self._children:
            if child.running:
                times = psutil.Process(child.pid).cpu_times()
                used[child.name] = (child.pid, times.user + times.system)
        return used

    def stop(self, *, grace_s: float = 5.0) -> None:
        """Ask all of them to end (SIGINT), and make those end that have not after ``grace_s`` seconds."""
        for child in self._children:
            child.expected_to_end = True
            if child.running:
                _signal_group(child, signal.SIGINT)
        deadline = time.monotonic() + grace_s
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(child, signal.SIGKILL)
                child.process.wait()
        for file in self._files:
            file.close()
        self._files.clear()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _bind_to_parent() -> Callable[[], None]:
    """What a child does before it becomes its program."""
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None
    parent = os.getpid()

    def prepare() -> None:
        # A group, so that all that it starts ends with it, but not a session: Linux shares the processor between
        # sessions first, and then a low priority would mean nothing to the other children.
        os.setpgid(0, 0)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return prepare


def _signal_group(child: Child, number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _ending(code: int) -> str:
    return f'signal {signal.Signals(-code).name}' if code < 0 else f'exit status {code}'
