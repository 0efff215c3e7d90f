"""The `dedelayed` command: one module a command, each with `HELP`, `add_arguments(parser)` and `run(args) -> int`.

The modules import what is heavy (torch, PyAV, Zenoh) inside `run`, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from dedelayed_ros.errors import DedelayedError
from dedelayed_ros.version import VERSION

COMMANDS = (
    'demo',
    'run',
    'cloud',
    'relay',
    'street',
    'import',
    'footage',
    'train',
    'calibrate',
    'profile',
    'eval',
    'bench',
    'doctor',
)
_MODULES = {'import': 'adopt'}  # where a command's own name is none for a module


def module_of(command: str) -> ModuleType:
    """The module of the command of that name."""
    return importlib.import_module(f'{__name__}.{_MODULES.get(command, command)}')


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of the whole command line, with the sub-commands that are named in *commands*."""
    parser = argparse.ArgumentParser(
        prog='dedelayed',
        description='A segmentation mask for every camera frame, made better by the cloud when it can.',
    )
    parser.add_argument('--version', action='version', version=f'dedelayed_ros {VERSION}')
    parsers = parser.add_subparsers(metavar='COMMAND', required=True)
    for name in commands:
        module = module_of(name)
        command = parsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by *argv* (default: the process's own arguments) and return its exit code.

    2: the user can mend it (one message on stderr says how); 130: interrupted with Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = words[:1] if words and words[0] in COMMANDS else COMMANDS
    try:
        args = build_parser(chosen).parse_args(words)
        return int(args.run(args))
    except DedelayedError as error:
        print(f'dedelayed: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
