"""`dedelayed doctor`: what this machine has and lacks, and how to get it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from dedelayed_ros.cli import checks
from dedelayed_ros.cli.checks import CHECKS, ESSENTIAL, Finding

HELP = 'say what this machine has and lacks, and how to get it'
PARALLEL = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--cloud', metavar='ENDPOINT', help='also try to reach a cloud, as tcp/host:port or host:port')
    parser.add_argument('--time-out', type=float, default=90.0, metavar='S', help='for each check (default: 90)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the findings there too')


def run(args: argparse.Namespace) -> int:
    """Print a line for each finding. Exit code 0 when the essential parts work, 1 otherwise."""
    wanted: dict[str, tuple[str, ...]] = {name: () for name in CHECKS if name != 'cloud'}
    if args.cloud:
        wanted['cloud'] = (args.cloud,)
    findings: dict[str, Finding] = {}
    with ThreadPoolExecutor(PARALLEL) as pool:
        pending = {
            name: pool.submit(isolated, name, *given, time_out_s=args.time_out) for name, given in wanted.items()
        }
        for name, future in pending.items():
            findings[name] = future.result()
            print(line(findings[name]), flush=True)
    lacking = [finding.name for name, finding in findings.items() if is_fatal(name, finding)]
    print(f'\nessential parts that do not work: {", ".join(lacking)}' if lacking else '\nall essential parts work')
    if args.json:
        report = {name: dict(asdict(finding), essential=name in ESSENTIAL) for name, finding in findings.items()}
        args.json.write_text(json.dumps({'ok': not lacking, 'findings': report}, indent=2) + '\n')
    return 1 if lacking else 0


def is_fatal(name: str, finding: Finding) -> bool:
    """Whether the exit code tells of it: an essential part that does not work, or a ROS that is there and does not."""
    return finding.state == 'broken' if name == 'ros' else name in ESSENTIAL and finding.state != 'ok'


def isolated(name: str, *arguments: str, time_out_s: float, module: str = checks.__name__) -> Finding:
    """The finding of a check that runs in a process of its own: one that dies or hangs is a finding too."""
    command = [sys.executable, '-m', module, name, *arguments]
    # Safe path: the sources in the current folder are not the package that is examined.
    env = dict(os.environ, PYTHONSAFEPATH='1')
    try:
        process = subprocess.run(command, env=env, capture_output=True, text=True, timeout=time_out_s, check=False)
    except subprocess.TimeoutExpired:
        return Finding(name, 'broken', f'no answer within {time_out_s:g} s', 'Try again with a longer --time-out')
    try:
        return Finding(**json.loads(process.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        code = process.returncode
        how = f'died of {signal.Signals(-code).name}' if code < 0 else f'ended with exit code {code}'
        said = process.stderr.strip().splitlines()[-1:] or ['it said nothing']
        return Finding(name, 'broken', f'the check {how}: {said[0]}', 'The library that it uses is broken here')


def line(finding: Finding) -> str:
    """One finding as text: state, name, what was found, and below it what to do."""
    text = f'{finding.state:8}{finding.name:16}{finding.found}'
    return f'{text}\n{"":24}{finding.advice}' if finding.advice else text
