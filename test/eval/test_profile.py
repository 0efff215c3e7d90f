"""`dedelayed profile`: what it writes is what the dispatcher reads, and more new content takes longer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dedelayed_ros import native
from dedelayed_ros.cli import main
from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.profile import ProfileSettings, curve

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')


def test_the_command_writes_a_profile_and_its_spread(tmp_path: Path) -> None:
    figures = tmp_path / 'figures.json'
    words = ['--model', 'street-v1', '--size', '256x256', '--rounds', '2', '--processor-time']
    assert main(['profile', *words, '--out', str(tmp_path), '--json', str(figures)]) == 0
    found = json.loads(figures.read_text())
    rows = found['rows']
    assert [row['ratio'] for row in rows] == sorted(row['ratio'] for row in rows)
    assert rows[0]['recompute_ratio'] == 0 and rows[-1]['recompute_ratio'] == 1
    assert rows[0]['compute_ratio'] == 0 and rows[-1]['compute_ratio'] == 1
    assert all(row['ms_low'] <= row['ms'] <= row['ms_high'] for row in rows)
    assert rows[0]['ms'] < rows[-1]['ms']
    profile = LatencyProfile.load(tmp_path / 'street-v1.json')
    assert profile(0.0) < profile(1.0)
    assert profile.measured['dense_ms'] == found['dense_ms']
    assert (tmp_path / 'street-v1.png').stat().st_size > 1000


def test_rows_become_a_curve_over_either_ratio() -> None:
    rows = [
        {'recompute_ratio': r, 'compute_ratio': c, 'ms': ms, 'ms_low': ms - 1, 'ms_high': ms + 1}
        for r, c, ms in ((0.0, 0.0, 5.0), (0.1, 0.3, 20.0), (1.0, 1.0, 60.0))
    ]
    about = dict.fromkeys(('model', 'input', 'backend', 'threads', 'dtype', 'clock', 'rounds', 'dense_ms'), 0)
    assert curve(rows, 'recompute_ratio', about)(0.1) == 20
    assert curve(rows, 'compute_ratio', about)(0.3) == 20
    assert curve(rows, 'compute_ratio', about).measured['spread'][1] == [0.3, 19.0, 21.0]


def test_processor_time_is_of_one_thread() -> None:
    with pytest.raises(InputError, match='one thread'):
        ProfileSettings(clock='processor', threads=2)
    with pytest.raises(InputError, match='rounds is 0'):
        ProfileSettings(rounds=0)
