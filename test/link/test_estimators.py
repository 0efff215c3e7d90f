"""Estimates follow what was measured, stay within it, and forget."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.link import BandwidthEstimator, DelayEstimator, RateMeter

delays = st.lists(st.floats(0, 5000), min_size=1, max_size=30)


def fed(values, **settings) -> DelayEstimator:
    estimator = DelayEstimator(**settings)
    for index, value in enumerate(values):
        estimator.observe(value, now_s=index * 0.04)
    return estimator


@given(delays, st.floats(0.05, 1))
def test_prediction_lies_within_the_window_and_covers_its_share(values, quantile):
    recent = values[-8:]
    predicted = fed(values, quantile=quantile, window=8).predict(len(values) * 0.04)
    assert min(recent) <= predicted <= max(recent)
    assert np.mean(np.array(recent) <= predicted) >= quantile


@given(delays)
def test_prediction_rises_with_the_quantile_and_with_the_delays(values):
    now = len(values) * 0.04
    by_quantile = [fed(values, quantile=q).predict(now) for q in (0.1, 0.5, 0.9, 1.0)]
    assert by_quantile == sorted(by_quantile)
    assert fed([v + 10 for v in values]).predict(now) >= fed(values).predict(now) + 9.99


def test_the_first_prediction_is_the_start_value_and_few_delays_count_by_their_worst():
    estimator = DelayEstimator(start_ms=150)
    assert estimator.predict(0.0) == 150
    estimator.observe(80, 0.0)
    estimator.observe(120, 0.1)
    estimator.observe(90, 0.2)
    assert estimator.predict(0.2) == 120


def test_old_delays_are_forgotten_by_number_and_by_age():
    estimator = DelayEstimator(window=10, max_age_s=5, start_ms=150)
    for i in range(10):
        estimator.observe(900, i * 0.1)
    for i in range(10):
        estimator.observe(50, 1 + i * 0.1)
    assert estimator.predict(2.0) == 50
    assert estimator.predict(5.95 + 0.1) == 50
    assert estimator.predict(7.0) == 150
    assert math.isnan(estimator.quantiles(7.0).p50)


def test_a_frame_still_waiting_is_a_lower_bound():
    estimator = fed([50] * 20)
    assert estimator.predict(0.8, at_least_ms=400) == 400
    assert estimator.predict(0.8, at_least_ms=10) == 50


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -1.0])
def test_impossible_delays_are_refused(bad):
    with pytest.raises(ValueError, match='delay'):
        DelayEstimator().observe(bad, 0.0)


@given(st.lists(st.tuples(st.integers(3000, 10**6), st.floats(0.001, 2)), min_size=1, max_size=30))
def test_bandwidth_lies_within_what_was_seen(transfers):
    estimator = BandwidthEstimator()
    for index, (size, seconds) in enumerate(transfers):
        estimator.observe(size, seconds, index * 0.04)
    seen = [size * 8e-3 / seconds for size, seconds in transfers]
    assert min(seen) * 0.999 <= estimator.predict(len(transfers) * 0.04) <= max(seen) * 1.001


def test_bandwidth_follows_a_change_and_ages_to_unknown():
    estimator = BandwidthEstimator(half_life_s=1)
    assert estimator.predict(0) is None
    for i in range(50):
        estimator.observe(50_000, 0.1, i * 0.1)  # 4 Mbit/s
    assert estimator.predict(5) == pytest.approx(4000)
    for i in range(50):
        estimator.observe(10_000, 0.1, 5 + i * 0.1)  # 0.8 Mbit/s
    assert estimator.predict(10) == pytest.approx(800, rel=0.2)
    assert estimator.predict(30) is None
    estimator.observe(50_000, 0.1, 30)
    assert estimator.predict(30) == pytest.approx(4000, rel=0.01)
    estimator.clear()
    assert estimator.predict(30) is None


def test_rate_meter_counts_its_window_only():
    meter = RateMeter(window_s=2)
    for i in range(100):
        meter.add(5000, i * 0.04)  # 1 Mbit/s
    assert meter.kbps(4.0) == pytest.approx(1000, rel=0.03)
    assert meter.kbps(7.0) == 0


def test_a_probe_is_due_when_nothing_was_sent_for_a_while_and_none_is_on_its_way() -> None:
    estimator = BandwidthEstimator(probe_after_s=1.0)
    assert estimator.probe_due(0.0), 'nothing is known'
    estimator.observe(10_000, 0.1, 0.0)
    assert not estimator.probe_due(0.9) and estimator.probe_due(1.0)
    estimator.probing(1.0)
    assert not estimator.probe_due(1.5) and estimator.probe_due(2.0), 'a stalled link is not flooded'
    estimator.observe(estimator.probe_bytes, 0.02, 2.2)
    assert estimator.predict(2.2) is not None and not estimator.probe_due(3.1)
    estimator.clear()
    assert estimator.probe_due(2.3)


def test_a_probe_corrects_what_a_large_frame_has_shown() -> None:
    slow, capped = BandwidthEstimator(), BandwidthEstimator(most_bytes=8000)
    for estimator in (slow, capped):
        estimator.observe(600_000, 4.8, 0.0)  # 1 Mbit/s
        estimator.observe(8000, 0.0064, 0.5)  # 10 Mbit/s
    assert slow.predict(0.5) == pytest.approx(1000, rel=0.05)
    predicted = capped.predict(0.5)
    assert predicted is not None and predicted > 1700
