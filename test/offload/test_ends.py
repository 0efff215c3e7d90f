"""What the ends of the offload mode take, as frames tell."""

from __future__ import annotations

import numpy as np
import pytest

from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.link import MaskRecord
from dedelayed_ros.offload import ends
from dedelayed_ros.offload.ends import End, Ends


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the ends see; to be set."""
    now = [100.0]
    monkeypatch.setattr(ends.time, 'monotonic', lambda: now[0])
    return now


def test_an_end_is_known_by_its_first_frame(clock: list[float]) -> None:
    end = End(None)
    assert end(0.5) is None
    end.learn(0.0, 3.0)
    assert end(0.5) is None, 'a frame of which nothing was computed says nothing of those of which something is'
    end.learn(1.0, 40.0)
    assert end(1.0) == 40.0 and end(0.0) == 10.0


def test_an_end_that_nobody_asks_is_tried_again(clock: list[float]) -> None:
    end = End(None)
    end.learn(1.0, 60.0)
    clock[0] += 10
    asked = end(1.0)
    assert asked is not None and 40 < asked < 45
    clock[0] += 1000
    assert end(1.0) == 30.0, 'but never for nothing'


def test_what_it_takes_then_counts_the_more(clock: list[float]) -> None:
    for since_s, least, most in ((0.1, 56, 58), (10.0, 44, 46), (100.0, 30, 30)):
        end = End(None)
        end.learn(1.0, 60.0)
        clock[0] += since_s
        end.learn(1.0, 30.0)
        learned = end(1.0)
        assert learned is not None and least <= learned <= most


def test_a_profile_of_a_file_holds_until_a_frame_says_otherwise(clock: list[float]) -> None:
    end = End(LatencyProfile(np.array([0.0, 1.0]), np.array([5.0, 50.0])))
    clock[0] += 1000
    assert end(1.0) == 50.0
    end.learn(1.0, 60.0)
    assert end(1.0) == pytest.approx(51.0)


def answer(sequence: int, *, queue_ms: float, round_trip_ms: float = 0.0) -> MaskRecord:
    """The cloud's, that computed everything in 20 ms."""
    mask = np.zeros((4, 4), np.uint8)
    return MaskRecord(sequence, mask, mask, round_trip_ms, queue_ms, 20.0, 1.0, 1.0, 1000, 100, 1000)


def test_a_queue_is_worked_off_and_forgotten(clock: list[float]) -> None:
    both = Ends(End(None), End(None))
    both.learn(answer(1, queue_ms=6000.0), 10.0, None)
    assert both.waiting_ms == 6000
    clock[0] += 4
    assert both.waiting_ms == pytest.approx(1500), 'half of it each two seconds'
    clock[0] += 2
    assert both.waiting_ms == 0, 'six seconds of work are done in six seconds'
    both.learn(answer(2, queue_ms=100.0), 10.0, None)
    clock[0] += 0.05
    assert both.waiting_ms == pytest.approx(50)
    both.learn(answer(2, queue_ms=900.0), 10.0, None)
    assert both.waiting_ms == pytest.approx(50), 'an answer is learned from once'
