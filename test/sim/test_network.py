"""The link in virtual time: bytes are conserved, the peak rate is a bound, clients share, and more takes longer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dedelayed_ros.sim.network import Link, Server
from dedelayed_ros.sim.traces import TIERS, BandwidthTrace, synthesise

rates = st.lists(st.one_of(st.just(0.0), st.floats(0.5, 500)), min_size=1, max_size=6)
transfers = st.lists(st.tuples(st.integers(0, 2_000_000), st.floats(0, 1), st.integers(0, 2)), min_size=1, max_size=12)


def sent(trace: BandwidthTrace, wanted: list[tuple[int, float, int]], start_s: float = 0.0) -> list:
    """All transfers of [(bytes, seconds after the one before, client)]."""
    link, now_s, found = Link(trace, start_s=start_s), 0.0, []
    for size, gap_s, client in wanted:
        now_s += gap_s
        found.append(link.send(size, now_s, client))
    assert link.carried_bytes == sum(size for size, _, _ in wanted)
    return found


@settings(deadline=None, max_examples=60)
@given(mbps=rates, wanted=transfers, start_s=st.floats(0, 9))
def test_bytes_are_conserved_and_the_capacity_is_shared(
    mbps: list[float], wanted: list[tuple[int, float, int]], start_s: float
) -> None:
    assume(any(mbps))
    trace = BandwidthTrace(np.array(mbps))
    found = sent(trace, wanted, start_s)
    for transfer in found:
        passed = trace.passed(transfer.end_s + start_s) - trace.passed(transfer.begin_s + start_s)
        assert passed == pytest.approx(transfer.size * 8e-6, rel=1e-6, abs=1e-5), 'what was sent is what passed'
        assert transfer.carried_s >= transfer.size * 8e-6 / max(mbps) - 1e-9, 'nothing is faster than the peak'
        assert transfer.arrived_s == pytest.approx(transfer.end_s + 0.02)
    for before, after in itertools.pairwise(found):
        assert after.begin_s >= before.end_s, 'one after the other: together they never have more than the link'
        assert after.begin_s == pytest.approx(max(after.sent_s, before.end_s)), 'and the link never idles meanwhile'


@settings(deadline=None, max_examples=60)
@given(mbps=rates, at_s=st.floats(0, 9), size=st.integers(1, 10**7), more=st.integers(1, 10**7))
def test_more_takes_longer(mbps: list[float], at_s: float, size: int, more: int) -> None:
    assume(any(mbps))
    trace = BandwidthTrace(np.array(mbps))
    assert Link(trace).send(size + more, at_s).end_s > Link(trace).send(size, at_s).end_s


def test_clients_together_take_as_long_as_one_with_all_their_bytes() -> None:
    trace = synthesise(TIERS['low'], 60, 4)
    many = sent(trace, [(200_000, 0.0, client) for client in range(3)] * 5)
    assert many[-1].end_s == pytest.approx(sent(trace, [(3_000_000, 0.0, 0)])[0].end_s)
    assert {transfer.client for transfer in many} == {0, 1, 2}
    assert many[1].waited_s == pytest.approx(many[0].carried_s)


def test_nothing_passes_while_the_trace_stalls() -> None:
    trace = BandwidthTrace(np.array([8.0, 0.0, 0.0, 8.0]))
    assert Link(trace).send(1000, 1.5).end_s == pytest.approx(3.001)
    assert Link(trace, start_s=1.0).send(1000, 0.5).end_s == pytest.approx(2.001)
    assert Link(trace).send(0, 1.5).end_s == 1.5


@pytest.mark.parametrize(('size', 'at_s'), [(-1, 3.0), (5, 1.0), (5, float('nan'))])
def test_events_come_in_order(size: int, at_s: float) -> None:
    link = Link(BandwidthTrace(np.ones(3)))
    link.send(10, 2.0)
    with pytest.raises(ValueError, match='no earlier than'):
        link.send(size, at_s)


def test_a_server_does_one_job_at_a_time() -> None:
    server = Server()
    assert server.queue_ms(1.0) == 0
    assert server.run(1.0, 500) == 1.5
    assert server.queue_ms(1.2) == pytest.approx(300)
    assert server.run(1.2, 100) == pytest.approx(1.6)
    assert server.run(9.0, 100) == pytest.approx(9.1)
