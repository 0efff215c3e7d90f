"""Sessions open with the defaults that a robot needs, or say in one sentence what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dedelayed_ros.errors import LinkError
from dedelayed_ros.link.session import endpoint, open_session, parse_stream_key, stream_key

CONFIGS = sorted((Path(__file__).resolve().parents[2] / 'config' / 'zenoh').glob('*.json5'))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('tcp/127.0.0.1:7447', 'tcp/127.0.0.1:7447'),
        ('cloud.example.org:7447', 'tcp/cloud.example.org:7447'),
        (' tls/[::1]:7447#iface=lo ', 'tls/[::1]:7447#iface=lo'),
    ],
)
def test_endpoints(text, expected):
    assert endpoint(text) == expected


@pytest.mark.parametrize('text', ['', 'bananas', 'tcp/host', 'host:99999', 'host:port', 'TCP/host:1x'])
def test_what_is_no_endpoint_says_so(text):
    with pytest.raises(LinkError, match='expected host:port'):
        endpoint(text)


@pytest.mark.parametrize('name', ['', 'a/b', '*', '@cloud', 'ro bot', '-x', 'x' * 65, 'rö'])
def test_names_that_cannot_be_keys(name):
    with pytest.raises(LinkError, match='cannot be used'):
        stream_key(name, 'camera')
    assert parse_stream_key(f'dedelayed/{name}/camera/up') is None


def test_keys_are_read_as_they_are_written():
    assert parse_stream_key(stream_key('r2.d2', 'front_left') + '/up') == ('r2.d2', 'front_left')
    assert parse_stream_key(stream_key('r2.d2', 'front_left', 'offload') + '/up') == ('r2.d2', 'front_left', 'offload')
    assert parse_stream_key('dedelayed/r/c/other/up') is None
    assert parse_stream_key('other/r/c/up') is None
    assert parse_stream_key('dedelayed/r/c') is None


def test_a_port_in_use(free_port):
    with socket.socket() as other:
        other.bind(('127.0.0.1', free_port()))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LinkError, match=f'{port} is already in use.*--listen'):
            open_session(listen=[f'tcp/127.0.0.1:{port}'])


def test_nobody_there_and_nobody_known(free_port):
    with pytest.raises(LinkError, match=r'cannot be reached: is the cloud .* running'):
        open_session(connect=[f'127.0.0.1:{free_port()}'])
    with pytest.raises(LinkError, match='is not known; check its name'):
        open_session(listen=['tcp/no-such-host.invalid:7447'])


def test_no_endpoint_at_all():
    with pytest.raises(LinkError, match='no endpoint'):
        open_session()


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_the_sample_configurations_open_a_session(config, free_port):
    port = free_port()
    if config.stem == 'robot':
        with open_session(listen=[f'127.0.0.1:{port}']), open_session(connect=[f'127.0.0.1:{port}'], config=config):
            pass
    else:
        with open_session(listen=[f'127.0.0.1:{port}'], config=config):
            pass


def test_a_broken_configuration_names_its_file(tmp_path):
    broken = tmp_path / 'broken.json5'
    broken.write_text('{ mode: "nonsense" }')
    with pytest.raises(LinkError, match=r'broken\.json5'):
        open_session(listen=['127.0.0.1:1'], config=broken)
