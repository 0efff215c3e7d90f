from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dedelayed_ros.report import Account, Event, screen, summarise
from dedelayed_ros.report.summary import percentiles


def test_the_figures_are_those_of_the_story(account: Account) -> None:
    summary = summarise(account)
    # Fused: rows 0 to 29 (1.5 s) but row 7, and 76 to 99 (from 3.8 s); of the 46 local ones row 50 never came.
    assert (summary['frames_in'], summary['masks_out'], summary['dropped_frames']) == (100, 98, 2)
    assert (summary['masks_fused'], summary['masks_local']) == (29 + 24, 45)
    assert summary['latency_ms']['p50'] == pytest.approx(24.5, abs=0.6)
    assert summary['arrival_ms']['p50'] == pytest.approx(summary['latency_ms']['p50'] + 1, abs=0.01)
    assert summary['remote_age_ms'] == {'p50': 150.0, 'p95': 150.0, 'p99': 150.0}
    assert (summary['uplink_kbps'], summary['downlink_kbps']) == (100.0, 20.0)
    assert summary['longest_gap_ms'] == pytest.approx(
        100 + 2, abs=0.01
    )  # row 7 is missing; row 8 is 2 ms slower than 6
    assert summary['degraded'] == {'no remote features': 45}
    assert summary['stages_ms']['model']['p95'] == 12.0


def test_the_outage_is_told_as_it_was(account: Account) -> None:
    away = summarise(account)['outage']
    assert (away['frames_in'], away['masks_out']) == (40, 39)
    assert away['last_fused_after_s'] == 0.45  # the frame at 1.45 s is the last before 1.5 s
    assert away['late_fused'] == 0
    # Features 150 ms old at 3.8 s are of a frame after the restart; that mask is published 26 ms after its stamp.
    assert away['fused_again_s'] == pytest.approx(0.8 + 0.026)


def test_features_that_are_used_for_too_long_are_counted(account: Account) -> None:
    strict = replace(account, staleness_s=0.2)
    assert summarise(strict)['outage']['late_fused'] == 4  # rows 26 to 29: later than 1.0 s + 0.2 s + 50 ms


def test_features_from_before_the_restart_do_not_count_as_fused_again(account: Account) -> None:
    """Masks at 3.8 s with features 150 ms old do not prove a cloud that was started at 3.7 s."""
    late = replace(account, events=(Event('cloud killed', 1.0), Event('cloud restarted', 3.7)))
    # The first frame whose features were seen after 3.7 s is that at 3.9 s (150 ms: seen at 3.75 s).
    assert summarise(late)['outage']['fused_again_s'] == pytest.approx(0.2 + 0.028)


def test_a_cloud_that_is_never_used_again_is_told(account: Account) -> None:
    summary = summarise(replace(account, events=(Event('cloud killed', 4.0),)))
    assert summary['outage']['fused_again_s'] is None
    assert summary['outage']['restarted_at_s'] is None
    assert 'killed at 4.0 s' in screen(summary)


def test_nothing_measured_is_null_and_valid_json(account: Account) -> None:
    nothing = tuple(replace(f, mask=None, provenance=None, stamp_s=None, arrival_s=None) for f in account.frames)
    summary = summarise(replace(account, frames=nothing, traffic=(), events=()))
    assert (summary['masks_out'], summary['dropped_frames']) == (0, 100)
    assert summary['latency_ms'] == {'p50': None, 'p95': None, 'p99': None}
    assert summary['uplink_kbps'] is None
    json.dumps(summary, allow_nan=False)
    assert '0 of 100 frames' in screen(summary)


def test_the_screen_shows_what_matters(account: Account) -> None:
    text = screen(summarise(account))
    for part in ('98 of 100 frames', '53 fused, 45 local', '100 kbit/s up', 'fused again 0.83 s', 'camera 11'):
        assert part in text
    assert len(text.splitlines()) < 24


def test_percentiles_are_interpolated() -> None:
    assert percentiles(range(101)) == {'p50': 50.0, 'p95': 95.0, 'p99': 99.0}
