"""Opening Zenoh sessions, with defaults that fit a robot and errors that say what to do; and the names of the keys."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedelayed_ros.errors import LinkError

if TYPE_CHECKING:
    import zenoh

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,63}')
_ENDPOINT = re.compile(r'(?:(?P<protocol>[a-z]+)/)?(?P<address>.+:\d{1,5})(?P<rest>[?#].*)?')

ROOT = 'dedelayed'
OFFLOAD = 'offload'
"""What the key of an offloaded stream has after those of its camera, so that features and masks go side by side."""
StreamKey = tuple[str, ...]
"""(robot, camera), and for an offloaded stream (robot, camera, 'offload')."""
WORKERS = f'{ROOT}/@cloud'
"""Liveliness tokens of servers lie here; the @ keeps them out of `dedelayed/*/…`, so no robot name can collide."""

_DEFAULTS: dict[str, Any] = {
    'scouting/multicast/enabled': False,
    'scouting/gossip/enabled': False,
    # Shared memory would carry pictures past a relay or rate limit between two processes on one machine.
    'transport/shared_memory/enabled': False,
    # One failed attempt is an error here; the caller says so and tries again.
    'connect/timeout_ms': 0,
    'connect/exit_on_failure': True,
    # A connection that was lost is sought again by Zenoh itself, soon and for ever.
    'connect/retry': {'period_init_ms': 100, 'period_max_ms': 250, 'period_increase_factor': 1.5},
    # How long a peer may be mute before the connection is given up. Above any stall that a link should survive: the own
    # time-outs notice a mute cloud earlier.
    'transport/link/tx/lease': 4000,
    # A process that gets no processor for some milliseconds is not a full network: room for some records, and patience.
    'transport/link/tx/queue/size/data': 16,
    'transport/link/tx/queue/size/interactive_high': 16,
    'transport/link/tx/queue/congestion_control/drop/wait_before_drop': 5000,
    'transport/unicast/open_timeout': 1500,
    'transport/unicast/accept_timeout': 1500,
}


def endpoint(text: str) -> str:
    """`text` as a Zenoh endpoint; `host:port` means TCP. `LinkError` for anything else than [protocol/]host:port."""
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None or int(match['address'].rsplit(':', 1)[1].split('?')[0]) > 65535:
        raise LinkError(f'{text!r} is no endpoint; expected host:port or protocol/host:port, as tcp/192.168.1.5:7447')
    return f'{match["protocol"] or "tcp"}/{match["address"]}{match["rest"] or ""}'


def stream_key(robot: str, camera: str, *service: str) -> str:
    """`dedelayed/<robot>/<camera>`, and `service` after it; `LinkError` for a name that cannot be part of a key."""
    for what, name in (('robot', robot), ('camera', camera)):
        if not _NAME.fullmatch(name):
            raise LinkError(
                f'{what} name {name!r} cannot be used; expected 1 to 64 letters, digits, dots, dashes or underscores'
            )
    return '/'.join((ROOT, robot, camera, *service))


def parse_stream_key(key: str) -> StreamKey | None:
    """The stream of a key `dedelayed/<robot>/<camera>[/offload]/<what>`; None for any other."""
    root, *names = key.split('/')
    if root != ROOT or len(names) < 3 or not (_NAME.fullmatch(names[0]) and _NAME.fullmatch(names[1])):
        return None
    return tuple(names[:-1]) if names[2:-1] in ([], [OFFLOAD]) else None


def every_stream(what: str) -> tuple[str, str]:
    """Key expressions that match `what` of every stream."""
    return f'{ROOT}/*/*/{what}', f'{ROOT}/*/*/{OFFLOAD}/{what}'


def open_session(
    *,
    listen: Sequence[str] = (),
    connect: Sequence[str] = (),
    config: str | Path | None = None,
) -> zenoh.Session:
    """A Zenoh session that listens at or connects to the given endpoints.

    With `listen` it is a peer, else a client. `config` is a Zenoh configuration file to begin with (certificates,
    access control); what is given here and the defaults above that it does not set go over it. One attempt is made.

    Raises:
        LinkError: an address in use, an unknown host, nobody there, or a configuration that Zenoh refuses.
    """
    import zenoh

    listen = [endpoint(text) for text in listen]
    connect = [endpoint(text) for text in connect]
    if not listen and not connect and config is None:
        raise LinkError('no endpoint to listen at or to connect to was given')
    try:
        settings = zenoh.Config() if config is None else zenoh.Config.from_file(str(config))
        if config is None:
            settings.insert_json5('mode', json.dumps('peer' if listen else 'client'))
        for key, value in _DEFAULTS.items():
            if config is None or settings.get_json(key) in ('null', _stock(key)):
                settings.insert_json5(key, json.dumps(value))
        if listen:
            settings.insert_json5('listen/endpoints', json.dumps(listen))
        if connect:
            settings.insert_json5('connect/endpoints', json.dumps(connect))
        return zenoh.open(settings)
    except zenoh.ZError as error:
        raise LinkError(_explain(str(error), listen, connect, config)) from error


def _stock(key: str) -> str:
    """Zenoh's own default of `key`, as JSON: a file that holds it has not set it."""
    import zenoh

    return zenoh.Config().get_json(key)


def _explain(text: str, listen: Sequence[str], connect: Sequence[str], config: str | Path | None) -> str:
    """Zenoh's error in one sentence that says what to do, without the source lines it ends with."""
    plain = re.sub(r'\s*(\[| at )/\S+\.rs:\d+\.?\]?', '', text).strip()
    if 'Address already in use' in text:
        return (
            f'{_listed(listen)} is already in use: another server may be running there. '
            'Stop it, or listen at another port with --listen'
        )
    if 'Permission denied' in text or 'assign requested address' in text:
        return f'cannot listen at {_listed(listen)}: {plain}. Choose an address of this machine and a port above 1023'
    if 'lookup address' in text or 'Could not resolve' in text:
        return f'the host in {_listed([*listen, *connect])} is not known; check its name'
    if connect and ('Unable to connect' in text or 'Timeout' in text):
        return f'{_listed(connect)} cannot be reached: is the cloud (or router) running there, and the port open?'
    if config is not None:
        return f'Zenoh cannot use the configuration {config}: {plain}'
    return f'Zenoh cannot open {_listed([*listen, *connect])}: {plain}'


def _listed(endpoints: Sequence[str]) -> str:
    return ', '.join(endpoints) or 'the configured endpoint'
