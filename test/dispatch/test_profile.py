"""Latency profiles: monotone, refined by what is measured, kept in a file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.dispatch.profile import never_falling
from dedelayed_ros.errors import InputError


def profile(*ms: float) -> LatencyProfile:
    return LatencyProfile(np.linspace(0, 1, len(ms)), np.array(ms), {'model': 'street-conv'})


def test_it_is_linear_between_its_points_and_level_beyond() -> None:
    f = LatencyProfile(np.array([0.1, 0.5, 0.9]), np.array([10.0, 20.0, 40.0]))
    assert [f(ratio) for ratio in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)] == [10, 10, 15, 20, 30, 40]
    assert math.isnan(f(math.nan))
    assert f.scaled(16)(0.3) == 240


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=9), st.floats(0, 1), st.floats(0, 1e3), st.floats(0, 1))
def test_it_never_falls_whatever_is_measured(ms: list[float], ratio: float, seen: float, weight: float) -> None:
    f = LatencyProfile(np.linspace(0, 1, len(ms)) if len(ms) > 1 else np.array([0.5]), np.array(ms))
    g = f.refined(ratio, seen, weight)
    for curve in (f, g):
        assert (np.diff(curve.ms) >= 0).all() and (curve.ms >= 0).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9))
def test_levelling_is_the_nearest_in_least_squares(values: list[float]) -> None:
    found = never_falling(values)
    assert (np.diff(found) >= 0).all()
    assert found.sum() == pytest.approx(sum(values), abs=1e-6)
    # The projection onto a cone is orthogonal to what it leaves.
    assert (found * (np.array(values) - found)).sum() == pytest.approx(0, abs=1e-3)


def test_measurements_move_it_there_and_the_rest_a_little() -> None:
    f = profile(10, 20, 30)
    for _ in range(60):
        f = f.refined(0.5, 40.0)
    assert f(0.5) == pytest.approx(40, rel=0.05)
    assert 10 < f(0.0) < 20, 'a machine that became slower is slower at other ratios too'
    assert profile(10, 20, 30).refined(0.5, 20.0).ms.tolist() == [10, 20, 30]
    assert profile(10, 20, 30).refined(0.25, 25.0, 0.2).ms[0] > 10


@pytest.mark.parametrize('ms', [math.nan, math.inf, -1.0])
def test_a_clock_that_was_set_changes_nothing(ms: float) -> None:
    f = profile(10, 20)
    assert f.refined(0.5, ms) is f


def test_a_file_keeps_it(tmp_path: Path) -> None:
    f = profile(1.5, 2.25, 9)
    f.save(tmp_path / 'deep' / 'profile.json')
    g = LatencyProfile.load(tmp_path / 'deep' / 'profile.json')
    assert (g.ms == f.ms).all() and (g.ratios == f.ratios).all() and g.measured == {'model': 'street-conv'}


@pytest.mark.parametrize(
    'text', ['', '{}', '{"version": 2, "ratios": [0], "ms": [1], "measured": {}}',
             '{"version": 1, "ratios": [0], "ms": [1, 2], "measured": {}}']
)  # fmt: skip
def test_files_that_hold_none_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / 'profile.json'
    file.write_text(text)
    with pytest.raises(InputError, match='dedelayed profile'):
        LatencyProfile.load(file)
    with pytest.raises(InputError, match='dedelayed profile'):
        LatencyProfile.load(tmp_path / 'none.json')


@pytest.mark.parametrize(
    ('ratios', 'ms'), [([], []), ([0.5, 0.5], [1, 2]), ([0, 1.5], [1, 2]), ([0, 1], [1, -2]), ([0, 1], [1, math.nan])]
)
def test_numbers_out_of_range_are_refused(ratios: list[float], ms: list[float]) -> None:
    with pytest.raises(InputError, match='rising within 0–1'):
        LatencyProfile(np.array(ratios), np.array(ms))
