"""An answer belongs to exactly the frame that was sent, and is news only once."""

from __future__ import annotations

import pytest

from dedelayed_ros.link import FeaturesDown
from dedelayed_ros.link.flight import Arrived, Flight, Sent

MS = 1_000_000


def sent(sequence: int, at_ms: int = 0, size: int = 100) -> Sent:
    return Sent(sequence, 1000 + sequence, at_ms * MS, 0.0, 100.0, size)


def answer(sequence: int, at_ms: int = 0, stamp_ns: int | None = None) -> FeaturesDown:
    stamp_ns = 1000 + sequence if stamp_ns is None else stamp_ns
    return FeaturesDown(sequence, stamp_ns, at_ms * MS, 100.0, sequence, 0.0, 0.0, (1, 1, 1), b'x')


@pytest.fixture
def flight() -> Flight:
    flight = Flight(memory_s=1.0)
    for sequence in range(5):
        flight.send(sent(sequence, at_ms=40 * sequence))
    return flight


def test_acknowledgements_cover_all_before(flight):
    assert flight.unacknowledged == 5
    assert flight.waiting_ms(200 * MS) == 200
    assert flight.acknowledge(2) == Arrived(sent(2, at_ms=80), size=3 * sent(0, at_ms=0).size)
    assert flight.unacknowledged == 2
    assert flight.waiting_ms(200 * MS) == 80
    assert flight.acknowledge(1) is None
    assert flight.acknowledge(99) is None
    assert flight.unacknowledged == 2
    flight.acknowledge(4)
    assert flight.waiting_ms(200 * MS) == 0


def test_answers_name_their_frame_and_count_the_bytes_of_those_passed_over(flight):
    first = flight.answer(answer(1, at_ms=40))
    assert (first.sent.sequence, first.bytes_up) == (1, 200)
    second = flight.answer(answer(4, at_ms=160))
    assert (second.sent.sequence, second.bytes_up) == (4, 300)


@pytest.mark.parametrize(
    ('record', 'reason'),
    [
        (answer(2, at_ms=80), 'duplicate'),
        (answer(1, at_ms=40), 'overtaken'),
        (answer(9), 'unknown frame'),
        (answer(3, at_ms=120, stamp_ns=7), 'unknown frame'),
        (answer(3, at_ms=121), 'unknown frame'),
    ],
)
def test_what_does_not_fit_is_refused_by_name(flight, record, reason):
    flight.answer(answer(2, at_ms=80))
    assert flight.answer(record) == reason
    assert flight.answer(answer(3, at_ms=120)).sent.sequence == 3


def test_old_pictures_are_forgotten_and_their_answers_stale(flight):
    flight.acknowledge(0)
    assert flight.forget(1090 * MS) == 2  # 0 was acknowledged; 1 and 2 were lost
    assert flight.unacknowledged == 2
    assert flight.answer(answer(2, at_ms=80)) == 'stale'
    assert flight.answer(answer(3, at_ms=120)).sent.sequence == 3
