"""The camera's rate follows what the uplink carries: over a link in virtual time, with a queue of its own."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.link.flight import Arrived, Sent
from dedelayed_ros.link.uplink_rate import UplinkRate
from dedelayed_ros.link.way_up import WayUp

STEP_S = 0.01
PROPAGATION_S = 0.05  # each way
ROOM = 12  # pictures on their way; with more the next is refused, and needs to be a key frame then


@dataclass
class Run:
    """What came of it: the limit at each step (kbit/s), when each picture arrived after how long, and when one was
    refused (s).
    """

    limits: list[float] = field(default_factory=list)
    trips: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    carried: float = 0.0  # bytes

    def queues(self, first_s: float, last_s: float = math.inf) -> np.ndarray:
        """Of pictures that arrived then: how much later than on an empty link they were acknowledged (s)."""
        return np.array([trip - 2 * PROPAGATION_S for at, trip in self.trips if first_s <= at < last_s])

    def limit_at(self, at_s: float) -> float:
        return self.limits[round(at_s / STEP_S)]


def drive(capacity, seconds, *, frame_rate=25.0, most=4000.0, late=lambda t: 0.0, adapt=True, seed=0, need=1.0):
    """A camera of ``most`` kbit/s, of which its pictures ``need`` a share, on a link of ``capacity(t)`` kbit/s."""
    rng, rate, run = random.Random(seed), UplinkRate(frame_rate, 500.0), Run()
    queue: list[list[float]] = []  # bytes left, bytes, when they were sent
    answers: list[tuple[float, float, float]] = []
    whole, next_s, encoder, limit = True, 0.0, most, math.inf
    for step in range(round(seconds / STEP_S)):
        now_s = step * STEP_S
        room = capacity(now_s) * 125 * STEP_S
        while queue and room > 0:
            passes = min(room, queue[0][0])
            queue[0][0] -= passes
            room -= passes
            if queue[0][0] <= 0:
                _, size, sent_s = queue.pop(0)
                answers.append((now_s + 2 * PROPAGATION_S + late(now_s), size, sent_s))
        while answers and answers[0][0] <= now_s:
            _, size, sent_s = answers.pop(0)
            trip_s = now_s - sent_s
            rate.arrived(int(size), (trip_s - 2 * PROPAGATION_S) * 1e3, now_s)
            run.trips.append((now_s, trip_s))
            run.carried += size
        if now_s >= next_s:
            next_s += 1 / frame_rate
            encoder += 0.3 * (min(most, limit) - encoder)  # an encoder takes some pictures to follow
            size = need * encoder * 125 / frame_rate * rng.uniform(0.7, 1.3) * (1 if whole else 4)
            if len(queue) + len(answers) >= ROOM:
                whole = False
                run.refused.append(now_s)
                rate.refused()
            elif whole or len(queue) + len(answers) <= ROOM // 2:
                whole = True
                queue.append([size, size, now_s])
                rate.sent(int(size), now_s)
            else:
                run.refused.append(now_s)
        oldest_s = min([q[2] for q in queue] + [a[2] for a in answers], default=now_s)
        if adapt:
            limit = rate.limit(now_s, (now_s - oldest_s - 2 * PROPAGATION_S) * 1e3)
        run.limits.append(limit)
    return run


@pytest.mark.parametrize('frame_rate', [10.0, 25.0, 60.0])
@pytest.mark.parametrize('capacity', [800.0, 1500.0, 3000.0])
def test_a_link_that_carries_less_is_used_without_a_queue_that_stays(capacity, frame_rate):
    run, free = (drive(lambda t: capacity, 40, frame_rate=frame_rate, adapt=adapt) for adapt in (True, False))
    queues = run.queues(5)
    assert np.quantile(queues, 0.5) < 0.06 + 1 / frame_rate
    assert np.quantile(queues, 0.95) < 0.2 + 2 / frame_rate
    assert np.quantile(free.queues(5), 0.5) > 3 * np.quantile(queues, 0.5) or frame_rate == 60.0
    assert len(run.refused) < 0.15 * len(free.refused)
    assert run.carried > 0.7 * capacity * 125 * 40  # and most of what it carries is used


def test_a_link_that_carries_enough_limits_nothing():
    for capacity in (4600.0, 20_000.0):
        assert set(drive(lambda t, c=capacity: c, 30).limits) == {math.inf}


def test_a_camera_that_needs_little_is_not_limited():
    assert set(drive(lambda t: 1500.0, 30, need=0.25).limits) == {math.inf}


def test_the_rate_comes_back_with_the_link():
    run = drive(lambda t: 1200.0 if 8 <= t < 20 else 10_000.0, 45)
    assert run.limit_at(7.9) == math.inf
    assert run.limit_at(10.5) < 1200
    assert np.quantile(run.queues(11, 20), 0.95) < 0.3
    assert run.limit_at(44) >= 4000


def test_a_stall_is_over_soon_after_it_ended():
    run = drive(lambda t: 0.0 if 8 <= t < 10 else 6000.0, 30)
    assert run.limit_at(9.9) < 2500
    assert np.quantile(run.queues(11), 0.95) < 0.1
    assert run.limit_at(25) >= 4000


def test_a_stall_shows_before_there_is_no_room_any_more():
    run = drive(lambda t: 0.0 if 8 <= t < 9 else 6000.0, 10, frame_rate=10.0)
    assert run.refused == []
    assert run.limit_at(8.8) < 2500


def test_a_slow_server_is_no_queue_of_the_network():
    """Its acknowledgements are late by as much, whatever is sent; by more or less than some time ago."""
    for seed in range(4):
        run = drive(lambda t: 20_000.0, 30, late=lambda t: (0.2, 0.0, 0.13, 0.0, 0.24, 0.0)[int(t) // 5], seed=seed)
        assert set(run.limits) == {math.inf}


PIECES = st.tuples(st.floats(0.1, 4.0), st.sampled_from([0.0, 300.0, 900.0, 2500.0, 30_000.0]))  # seconds, kbit/s


@given(st.lists(PIECES, min_size=1, max_size=8), st.integers(0, 99))
def test_on_any_link_the_least_is_left_and_nothing_is_limited_for_ever(pieces, seed):
    ends = np.cumsum([seconds for seconds, _ in pieces])

    def capacity(now_s):
        k = int(np.searchsorted(ends, now_s, side='right'))
        return pieces[k][1] if k < len(pieces) else 20_000.0

    run = drive(capacity, float(ends[-1]) + 25, seed=seed)
    assert min(run.limits) >= 500
    assert run.limits[-1] == math.inf


@pytest.fixture
def way_up() -> WayUp:
    """On which a camera of 4000 kbit/s has sent for a second."""
    way_up = WayUp(UplinkRate(25.0, 500.0))
    for picture in range(25):
        way_up.sent(20_000, 0.04 * picture)
    return way_up


def test_a_picture_that_found_no_room_is_told_once(way_up):
    assert way_up.limited(0.0, 50.0, refused=0, now_s=0.9)  # for whoever remembers an earlier limit
    assert way_up.limit_kbps == math.inf
    assert not way_up.limited(0.0, 50.0, refused=0, now_s=1.0)
    assert way_up.limited(0.0, 50.0, refused=3, now_s=1.0)
    assert 1800 < way_up.limit_kbps < 2100  # half of what was sent: nothing has arrived
    assert not way_up.limited(0.0, 50.0, refused=3, now_s=1.05)
    assert way_up.limited(0.0, 50.0, refused=3, now_s=2.5)
    assert way_up.limit_kbps > 2000


def test_what_arrives_late_and_later_limits(way_up):
    for picture in range(25):
        arrived = Arrived(Sent(picture, 0, 0, 0.0, 0.0, 20_000), size=20_000)
        way_up.arrived(arrived, 50.0 + 20 * picture, 50.0, 1.0 + 0.06 * picture)
        if way_up.limited(0.0, 50.0, refused=0, now_s=1.0 + 0.06 * picture) and picture:
            break
    assert 1500 < way_up.limit_kbps < 2300  # three quarters of 20 kB in 60 ms
    assert way_up.bandwidth.predict(3.0) is not None


def test_it_remembers_no_more_than_it_needs():
    rate = UplinkRate(25.0, 500.0)
    for picture in range(5000):
        rate.sent(9000, 0.04 * picture)
        rate.arrived(9000, 10.0, 0.04 * picture)
        rate.limit(0.04 * picture, 0.0)
    assert len(rate._arrivals) <= 26
    assert len(rate._queues) <= 10


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match='above 0'):
        UplinkRate(0.0, 500.0)
