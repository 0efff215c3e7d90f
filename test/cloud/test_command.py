"""`dedelayed cloud` and `dedelayed relay` as processes: a line when ready, a message when not, an end when told."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from tiny import Camera, wait_until

from dedelayed_ros.greeting import feature_format, greeting
from dedelayed_ros.link import CloudClient, FeatureRecord, LinkSettings
from dedelayed_ros.models import zoo

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def command(process_env):
    """Runs `dedelayed ARGS` as a process."""
    running: list[subprocess.Popen] = []

    def start(*args: str) -> subprocess.Popen:
        env = dict(process_env, PYTHONPATH=os.pathsep.join(sys.path))
        running.append(
            subprocess.Popen(
                [sys.executable, '-m', 'dedelayed_ros.cli', *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                text=True,
            )
        )
        return running[-1]

    yield start
    for child in running:
        child.kill()
        child.communicate()


def test_a_cloud_serves_the_model_of_the_zoo_until_it_is_told_to_end(command, free_port, tmp_path):
    port, ready = free_port(), tmp_path / 'ready'
    child = command(
        'cloud', '--listen', f'127.0.0.1:{port}', '--threads', '1', '--name', 'test-cloud', '--ready-file', str(ready)
    )
    size = (64, 96)
    hello = greeting(zoo.DEFAULT, size, 10.0)
    got: list[FeatureRecord] = []
    camera: list[Camera] = []
    client = CloudClient(
        LinkSettings(endpoint=f'127.0.0.1:{port}'),
        hello,
        got.append,
        request_keyframe=lambda: camera[0].request_keyframe(),
        feature_format=feature_format(zoo.DEFAULT),
    )
    # The robot is there first: it is served as soon as the model is loaded.
    with client, Camera(client.submit, rate=10.0) as running:
        camera.append(running)
        said = child.stdout.readline()
        assert said.startswith(f'ready: {zoo.DEFAULT} at 127.0.0.1:{port} as test-cloud')
        assert re.search(r', on (cpu|cuda) in (float32|bfloat16)$', said)
        wait_until(lambda: len(got) >= 3, 20, str(client.status))
        wait_until(ready.exists)
        assert client.status.worker == 'test-cloud'
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 0
        wait_until(lambda: not client.status.connected)
    assert got[0].features.shape == hello.feature_shape
    assert not ready.exists()
    assert child.stderr.read() == ''


@pytest.mark.parametrize('name', ['cloud', 'relay'])
def test_a_port_in_use_is_one_message_and_exit_2(command, name):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        child = command(name, '--listen', f'127.0.0.1:{port}')
        out, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert out == ''
    assert len(err.splitlines()) == 1
    assert str(port) in err
    assert '--listen' in err


def test_an_unknown_model_is_one_message_and_exit_2(command):
    child = command('cloud', '--model', 'no-such-model', '--listen', '127.0.0.1:1')
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert len(err.splitlines()) == 1
    assert "no model 'no-such-model'" in err


def test_a_gpu_that_is_not_there_is_one_message_and_exit_2(command, free_port, monkeypatch, process_env):
    monkeypatch.setitem(process_env, 'CUDA_VISIBLE_DEVICES', '')
    child = command('cloud', '--listen', f'127.0.0.1:{free_port()}', '--device', 'cuda')
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert len(err.splitlines()) == 1
    assert 'finds no GPU' in err
    assert "use 'cpu'" in err


def test_a_relay_relays_writes_its_statistics_and_ends_on_ctrl_c(command, free_port, tmp_path):
    port, stats = free_port(), tmp_path / 'stats.jsonl'
    with socket.create_server(('127.0.0.1', 0)) as target:
        child = command(
            'relay', '--listen', f'127.0.0.1:{port}', '--to', f'127.0.0.1:{target.getsockname()[1]}', '--rtt-ms', '40',
            '--stats', str(stats),
        )  # fmt: skip
        assert child.stdout.readline().startswith('ready')
        with socket.create_connection(('127.0.0.1', port)) as robot:
            served, _ = target.accept()
            robot.sendall(b'x' * 1000)
            served.sendall(served.recv(1000) + b'y')
            wait_until(lambda: stats.exists() and json.loads(stats.read_text().splitlines()[-1])['bytes_down'] > 1000)
            served.close()
    last = json.loads(stats.read_text().splitlines()[-1])
    assert set(last) == {'t_ns', 'bytes_up', 'bytes_down'}
    assert (last['bytes_up'], last['bytes_down']) == (1000, 1001)
    assert abs(last['t_ns'] - time.time_ns()) < 5e9
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=10) == 130
    assert child.stderr.read() == ''
