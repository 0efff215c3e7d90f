"""What a run ran on: the figures mean little without it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

_PACKAGES = ('torch', 'numpy', 'av', 'eclipse-zenoh')


def describe() -> dict[str, object]:
    """Processor, memory, system, versions, and how busy the machine was in the last minute (1-minute load average)."""
    return {
        'processor': _processor(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        'memory_gib': round(psutil.virtual_memory().total / 2**30, 1),
        'system': _system(),
        'python': platform.python_version(),
        'load_before': round(os.getloadavg()[0], 2),
        'packages': {name: _version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()['PRETTY_NAME']
    except (OSError, KeyError):
        name = platform.system()
    return f'{name}, {platform.system()} {platform.release()} {platform.machine()}'


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
