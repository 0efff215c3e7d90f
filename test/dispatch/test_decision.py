"""The policy as a truth table: every line is a situation, what is chosen in it, and what the reason says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros.dispatch import ORDER, AccuracyTable, Choice, Situation, decide, patience_ms
from dedelayed_ros.models import zoo

# A frame of 8000 bits on 1000 kbit/s: 8 ms up, 1 ms down, 40 ms of propagation, 20 of computing: 69 ms in the cloud.
OFFLOAD = Situation(
    edge_ms=100.0,
    cloud_ms=20.0,
    bytes_up=1000,
    bytes_down=125,
    uplink_kbps=1000.0,
    downlink_kbps=1000.0,
    full_ms=30.0,
    full_bytes_up=10_000,
)
TABLE = AccuracyTable(local=0.49, offload=0.53, fused=((0.0, 0.57), (100.0, 0.55), (500.0, 0.52), (1000.0, 0.50)))
AUTO = replace(
    OFFLOAD,
    possible=frozenset(ORDER),
    accuracy=TABLE,
    local_ms=15.0,
    fused_age_ms=100.0,
    fused_kbps=800.0,
    deadline_ms=120.0,
)

CASES: list[tuple[str, Situation, dict[str, Any], Choice, str]] = [
    ('the cloud is faster', OFFLOAD, {}, 'cloud', 'cloud 69.0 ms against edge 100.0'),
    ('the edge is faster', OFFLOAD, {'edge_ms': 60.0}, 'edge', 'edge 60.0 ms against cloud 69.0'),
    ('a tie', OFFLOAD, {'edge_ms': 69.0}, 'cloud', 'cloud 69.0 ms against edge 69.0'),
    ('within ε', OFFLOAD, {'edge_ms': 60.0, 'epsilon_ms': 9.0}, 'cloud', 'within ε of edge 60.0'),
    ('just beyond ε', OFFLOAD, {'edge_ms': 59.9, 'epsilon_ms': 9.0}, 'edge', 'edge 59.9 ms'),
    ('a queue in the server', OFFLOAD, {'queue_ms': 40.0}, 'edge', 'cloud 109.0'),
    ('coding takes its time', OFFLOAD, {'coding_ms': 40.0}, 'edge', 'cloud 109.0'),
    ('far away', OFFLOAD, {'propagation_ms': 40.0}, 'edge', 'cloud 109.0'),
    ('a downlink that is not known', OFFLOAD, {'downlink_kbps': None}, 'cloud', 'cloud 68.0 ms'),
    ('no downlink', OFFLOAD, {'downlink_kbps': 0.0}, 'edge', 'nothing passes on the downlink'),
    ('no bandwidth', OFFLOAD, {'uplink_kbps': 0.0}, 'edge', 'nothing passes on the uplink'),
    ('bandwidth unknown', OFFLOAD, {'uplink_kbps': None}, 'edge', 'the bandwidth is not known'),
    ('bandwidth NaN', OFFLOAD, {'uplink_kbps': math.nan}, 'edge', 'the bandwidth is not known'),
    ('nothing to send', OFFLOAD, {'uplink_kbps': 0.0, 'bytes_up': 0}, 'cloud', 'cloud 61.0 ms'),
    ('an answer too late to be waited for', OFFLOAD, {'give_up_ms': 60.0}, 'edge', '69 ms are more than is waited for'),
    ('an answer just in time', OFFLOAD, {'give_up_ms': 70.0}, 'cloud', 'cloud 69.0'),
    ('no key frame yet', OFFLOAD, {'obstacle': 'the cloud waits for a key frame'}, 'edge', 'waits for a key frame'),
    ('a stall', OFFLOAD, {'stalled_ms': 200.0}, 'edge', 'stalled for 200 ms'),
    ('not yet a stall', OFFLOAD, {'stalled_ms': 199.0}, 'cloud', 'cloud 69.0'),
    ('not connected', OFFLOAD, {'connected': False}, 'edge', 'no server is connected'),
    ('no profile of the edge', OFFLOAD, {'edge_ms': None}, 'cloud', 'all that is possible; not edge: no profile'),
    ('no profile of the cloud', OFFLOAD, {'cloud_ms': math.nan}, 'edge', 'no profile of the server'),
    ('no profile at all', OFFLOAD, {'edge_ms': None, 'cloud_ms': None}, 'edge', 'the robot: not cloud: no profile'),
    ('nothing known at all', Situation(), {}, 'edge', 'the robot'),
    ('evicted', OFFLOAD, {'cached': False}, 'edge', 'cloud 151.0'),
    ('evicted, but fast', OFFLOAD, {'cached': False, 'uplink_kbps': 1e5}, 'cloud', 'cloud 71.8'),
    ('evicted, dense time unknown', OFFLOAD, {'cached': False, 'full_ms': None}, 'edge', 'no profile of the server'),
    ('a NaN that slipped in', OFFLOAD, {'queue_ms': math.nan}, 'edge', 'cannot be estimated'),
    ('only the edge may', OFFLOAD, {'possible': frozenset({'edge'})}, 'edge', 'all that is possible'),
    ('fused is the best', AUTO, {}, 'fused', 'fused is the most accurate (55.0)'),
    ('fused, fresh', AUTO, {'fused_age_ms': 0.0}, 'fused', '(57.0)'),
    ('fused, aged: offload', AUTO, {'fused_age_ms': 500.0}, 'cloud', 'cloud 69.0 ms against edge 100.0 of those'),
    ('alike within the tolerance: the faster', AUTO, {'fused_age_ms': 430.0}, 'fused', 'within 0.5 points of 53.0'),
    ('fused too old', AUTO, {'fused_age_ms': 1001.0}, 'cloud', 'features of 1001 ms are too old'),
    ('fused, age unknown', AUTO, {'fused_age_ms': math.nan}, 'cloud', 'no remote features'),
    ('fused does not fit', AUTO, {'uplink_kbps': 799.0}, 'cloud', 'the uplink has 799 of 800 kbit/s'),
    ('offload too late, edge in time', AUTO, {'fused_age_ms': None, 'deadline_ms': 50.0, 'edge_ms': 45.0}, 'edge', ''),
    ('only local in time', AUTO, {'fused_age_ms': None, 'deadline_ms': 50.0}, 'local', 'local is the most accurate'),
    ('none in time', AUTO, {'deadline_ms': 5.0}, 'fused', 'none is done within 5 ms: fused 15.0 ms against cloud 69.0'),
    ('not connected', AUTO, {'connected': False, 'deadline_ms': 50.0}, 'local', 'not fused: no server is connected'),
    ('nothing is known of accuracy', AUTO, {'accuracy': None}, 'fused', 'fused 15.0 ms against cloud 69.0'),
    ('faster, but loses frames', OFFLOAD, {'edge_ms': 60.0, 'period_ms': 50.0}, 'cloud', 'not edge: 60 ms a frame do'),
    ('the edge just keeps up', OFFLOAD, {'edge_ms': 60.0, 'period_ms': 60.0}, 'edge', 'edge 60.0 ms against cloud'),
    ('nothing keeps up', OFFLOAD, {'connected': False, 'period_ms': 50.0}, 'edge', 'none keeps up with a frame every'),
    ('no frames lost for accuracy', AUTO, {'connected': False, 'period_ms': 50.0}, 'local', 'not edge: 100 ms a frame'),
    ('as few lost as can be', AUTO, {'connected': False, 'period_ms': 10.0}, 'local', 'every 10 ms: local 15.0 ms'),
    ('a period that is not known', OFFLOAD, {'edge_ms': 60.0, 'period_ms': math.nan}, 'edge', 'edge 60.0 ms'),
    ('only local exists', Situation(possible=frozenset({'local'})), {}, 'local', 'no profile of the local model'),
]  # fmt: skip


@pytest.mark.parametrize(('situation', 'change', 'choice', 'reason'), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_truth_table(situation: Situation, change: dict[str, Any], choice: Choice, reason: str) -> None:
    decision = decide(replace(situation, **change))
    assert decision.choice == choice, decision.reason
    assert reason in decision.reason


numbers = st.one_of(st.none(), st.just(math.nan), st.just(0.0), st.floats(0, 1e6), st.just(math.inf))
plain = st.one_of(st.just(math.nan), st.just(0.0), st.floats(0, 1e6), st.just(math.inf))


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Situation,
        possible=st.frozensets(st.sampled_from(ORDER), min_size=1),
        edge_ms=numbers,
        cloud_ms=numbers,
        bytes_up=plain,
        bytes_down=plain,
        uplink_kbps=numbers,
        downlink_kbps=numbers,
        queue_ms=plain,
        coding_ms=plain,
        connected=st.booleans(),
        cached=st.booleans(),
        full_ms=numbers,
        full_bytes_up=plain,
        stalled_ms=plain,
        epsilon_ms=plain,
        local_ms=numbers,
        fused_age_ms=numbers,
        accuracy=st.sampled_from([None, TABLE]),
        deadline_ms=plain,
        period_ms=plain,
    )
)
def test_whatever_the_numbers_somebody_computes_the_frame(situation: Situation) -> None:
    decision = decide(situation)
    assert decision.choice in situation.possible or decision.choice in ('edge', 'local')
    usable = [e for e in decision.estimates if e.possible]
    assert not usable or decision.choice in [e.choice for e in usable]
    assert decision.reason
    assert decide(situation) == decision or 'nan' in repr(situation), 'a pure function'
    json.dumps(decision.as_dict(), allow_nan=False)


def test_a_decision_carries_its_inputs_and_estimates() -> None:
    decision = decide(AUTO)
    card = decision.as_dict()
    assert card['situation']['bytes_up'] == 1000 and card['situation']['uplink_kbps'] == 1000
    assert {e['choice']: e['latency_ms'] for e in card['estimates']} == {
        'cloud': 69.0, 'fused': 15.0, 'edge': 100.0, 'local': 15.0
    }  # fmt: skip
    assert decision.estimate('cloud').accuracy == 0.53
    with pytest.raises(KeyError):
        decide(OFFLOAD).estimate('fused')


def test_accuracy_is_read_between_the_ages_that_were_measured() -> None:
    assert TABLE.fused_at(50.0) == pytest.approx(0.56)
    assert TABLE.fused_at(-5.0) == 0.57
    assert TABLE.fused_at(1000.0) == 0.50
    assert TABLE.fused_at(1000.1) is None and TABLE.fused_at(math.nan) is None
    assert AccuracyTable(0.4, 0.5).fused_at(0.0) is None


def test_accuracy_comes_from_what_the_models_entry_has_measured() -> None:
    entry = zoo.entry(zoo.DEFAULT)
    table = AccuracyTable.measured(entry.measured, 0.53)
    assert table is not None and table.offload == 0.53
    assert len(table.fused) > 3 and [age for age, _ in table.fused] == sorted(age for age, _ in table.fused)
    fresh, old = table.fused_at(0.0), table.fused_at(table.fused[-1][0])
    assert fresh is not None and old is not None and fresh > old > 0
    assert fresh > table.local > 0, 'what fusing is for'
    assert AccuracyTable.measured({}, 0.5) is None
    assert AccuracyTable.measured(zoo.entry('street-conv').measured, 0.5) is None


def test_the_inputs_of_a_decision_are_figures() -> None:
    inputs = decide(replace(OFFLOAD, edge_ms=None)).inputs()
    assert inputs['bytes_up'] == OFFLOAD.bytes_up and inputs['connected'] == 1.0
    assert math.isnan(inputs['edge_ms']) and inputs['edge_expected_ms'] == math.inf
    assert inputs['cloud_expected_ms'] == pytest.approx(69.0)
    assert all(isinstance(value, float) for value in inputs.values())


@pytest.mark.parametrize(
    ('edge_ms', 'propagation_ms', 'patience'),
    [
        (60.0, 20.0, 190.0),  # the robot still has the 60 that it takes
        (200.0, 20.0, 159.5),  # expected after 69: half of the 181 that remain, and not 50
        (240.0, 100.0, 239.5),  # expected after 229
        (400.0, 20.0, 159.5),  # the robot cannot be in time itself
        (None, 20.0, 250.0),
        (math.nan, 20.0, 250.0),
    ],
)
def test_the_cloud_is_waited_for_while_there_is_time(
    edge_ms: float | None, propagation_ms: float, patience: float
) -> None:
    situation = replace(OFFLOAD, edge_ms=edge_ms, propagation_ms=propagation_ms, give_up_ms=250.0)
    assert patience_ms(decide(situation)) == pytest.approx(patience)


def test_in_auto_the_robots_own_is_the_local_model() -> None:
    situation = replace(AUTO, edge_ms=200.0, local_ms=15.0, deadline_ms=250.0)
    assert patience_ms(decide(situation)) == 235.0
    assert patience_ms(decide(replace(situation, deadline_ms=math.inf))) == math.inf
