"""Modes offload and auto in the whole system, over a link whose bandwidth is a low tier's: masks and decisions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from dedelayed_ros.cli.ros import find_ros
from dedelayed_ros.frames import open_source, resize
from dedelayed_ros.report import Recording

pytestmark = [
    pytest.mark.skipif(find_ros()[0] is None, reason=find_ros()[1] or 'ROS is there'),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope='module')
def short_clip(real_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third picture of the real clip, 192×80: a machine that is busy with other things keeps up with it."""
    out = tmp_path_factory.mktemp('clip') / 'short.mp4'
    with av.open(str(out), 'w') as container, open_source(str(real_clip), pace='fast') as source:
        stream = container.add_stream('libx264', rate=Fraction(25, 3))
        stream.height, stream.width, stream.pix_fmt = 80, 192, 'yuv420p'
        for frame in source:
            if frame.sequence % 3 == 0:
                picture = av.VideoFrame.from_ndarray(resize(frame.image, (80, 192)), format='rgb24')
                container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return out


@pytest.mark.parametrize('mode', ['offload', 'auto'])
def test_every_frame_has_a_mask_and_says_what_was_decided_and_why(short_clip: Path, tmp_path: Path, mode: str) -> None:
    command = [
        sys.executable, '-m', 'dedelayed_ros.cli', 'demo', '--input', str(short_clip), '--out', str(tmp_path),
        '--mode', mode, '--trace', 'low', '--rtt-ms', '40', '--seconds', '5',
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / 'summary.json').read_text())
    calm = summary['machine']['load_before'] < 2 * summary['machine']['cores']
    assert summary['masks_out'] == summary['frames_in'], 'a frame that there is no time for has the mask before it'
    assert summary['masks_carried'] <= (0 if calm else 0.2) * summary['frames_in']
    assert summary['notes'] == [], 'the cloud could be chosen before anything was counted'
    assert ('bridge' in summary['ros']['nodes']) == (mode == 'auto')

    decided = summary['decisions']
    assert sum(decided['preferred'].values()) == sum(
        summary[f'masks_{source}'] for source in ('cloud', 'fused', 'local')
    )
    assert set(decided['preferred']) <= {'cloud', 'edge', *(('fused', 'local') if mode == 'auto' else ())}
    assert decided['inputs']['uplink_kbps']['p50'] > 0
    assert decided['inputs']['propagation_ms']['p50'] >= 20
    assert decided['changes'][0]['reason']
    asked = decided['pictures']['asked_for']
    assert asked > 0 if mode == 'auto' else asked == 0, 'the bridge sends the pictures in mode auto alone'
    made = Recording(tmp_path / 'recording').provenance.values()
    assert all(p.choice and p.decision and 'cloud_expected_ms' in p.inputs for p in made if p.source != 'carried')
    page = (tmp_path / 'report.html').read_text()
    assert 'Where frames were computed, and why' in page
    assert decided['changes'][0]['reason'].split(' ')[0] in page
