"""Bandwidth over time: what passes adds up, stalls are real, and made-up traces have the stated moments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dedelayed_ros.errors import InputError
from dedelayed_ros.sim.traces import TIERS, BandwidthTrace, open_trace, read_traces, synthesise

rates = st.lists(st.one_of(st.just(0.0), st.floats(0.1, 500)), min_size=1, max_size=6)


@settings(deadline=None)
@given(mbps=rates, begin_s=st.floats(0, 40), size=st.integers(1, 40_000_000))
def test_what_was_asked_for_has_passed_when_it_is_done(mbps: list[float], begin_s: float, size: int) -> None:
    assume(any(mbps))
    trace = BandwidthTrace(np.array(mbps))
    end_s = trace.done_s(begin_s, size)
    assert end_s >= begin_s
    assert trace.passed(end_s) - trace.passed(begin_s) == pytest.approx(size * 8e-6, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(mbps=rates, begin_s=st.floats(0, 20), first=st.integers(1, 10**7), second=st.integers(1, 10**7))
def test_two_transfers_in_turn_take_as_long_as_one(mbps: list[float], begin_s: float, first: int, second: int) -> None:
    assume(any(mbps))
    trace = BandwidthTrace(np.array(mbps))
    in_turn = trace.done_s(trace.done_s(begin_s, first), second)
    # In a stall, many moments have let the same through: what passed is what has to agree.
    assert trace.passed(in_turn) == pytest.approx(
        trace.passed(trace.done_s(begin_s, first + second)), rel=1e-6, abs=1e-6
    )


def test_nothing_passes_in_a_stall() -> None:
    trace = BandwidthTrace(np.array([8.0, 0.0, 0.0, 8.0]))
    assert trace.done_s(0.0, 500_000) == pytest.approx(0.5)
    assert trace.done_s(0.5, 500_000) == pytest.approx(1.0)
    assert trace.done_s(0.5, 500_001) == pytest.approx(3.000001)
    assert trace.done_s(1.5, 1) == pytest.approx(3.000001)
    assert trace.done_s(3.5, 500_000 + 1_000_000) == pytest.approx(5.0), 'and again from the beginning'


@pytest.mark.parametrize('name', TIERS)
def test_made_up_traces_have_the_moments_of_their_tier(name: str) -> None:
    tier = TIERS[name]
    pooled = np.concatenate([synthesise(tier, 600, seed).mbps for seed in range(200)])
    assert pooled.mean() == pytest.approx(tier.mean, rel=0.05)
    assert pooled.std() == pytest.approx(tier.deviation, rel=0.1)
    assert (pooled == 0).mean() == pytest.approx(tier.stalled, rel=0.2)
    one = synthesise(tier, 600, 3).mbps
    assert np.array_equal(one, synthesise(tier, 600, 3).mbps)
    assert np.corrcoef(one[:-1], one[1:])[0, 1] > 0.5, 'one second is like the next'


def test_traces_are_read_by_tier_and_name(tmp_path: Path) -> None:
    file = tmp_path / 'traces.csv'
    file.write_text('tier,trace,second,mbps\nlow,b,0,4\nlow,b,1,0\nlow,a,0,2.5\nhigh,c,0,900\n')
    found = read_traces(file, 'low')
    assert {name: trace.mbps.tolist() for name, trace in found.items()} == {'a': [2.5], 'b': [4.0, 0.0]}
    assert open_trace(f'{file}:low').mbps.tolist() == [2.5]
    assert open_trace(f'{file}:low', seed=1).mbps.tolist() == [4.0, 0.0]
    assert open_trace(f'{file}:high:c').mbps.tolist() == [900.0]
    assert len(open_trace('medium').mbps) == 600


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('tier,trace,second,mbps\nlow,a,0,fast\n', 'expected a number of Mbit/s'),
        ('tier,trace,second,mbps\nlow,a,0,-1\n', 'none below 0'),
        ('tier,trace,second,mbps\nlow,a,0,0\n', 'nothing ever passes'),
        ('a,b\n1,2\n', 'expected tier, trace, second, mbps'),
        ('tier,trace,second,mbps\nhigh,a,0,1\n', "no tier 'low'; there is high"),
    ],
)
def test_files_that_hold_no_trace_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / 'traces.csv'
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        open_trace(f'{file}:low')


def test_descriptions_that_mean_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'slow'; expected 'low', 'medium', 'high'"):
        open_trace('slow')
    with pytest.raises(InputError, match='cannot read'):
        open_trace(f'{tmp_path}/none.csv:low')
