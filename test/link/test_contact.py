"""Who serves the stream, told by what happened and when."""

from __future__ import annotations

import itertools

import pytest

from dedelayed_ros.link import HelloReply, Timing
from dedelayed_ros.link.contact import Contact


def reply(worker: int = 1, accepted: bool = True, reason: str = '') -> HelloReply:
    return HelloReply(accepted, reason, f'server-{worker}', 'm', 'c', worker=worker)


@pytest.fixture
def contact() -> Contact:
    contact = Contact('tcp/host:1', Timing())
    contact.check(0.0, waiting_s=0, reachable=True)
    return contact


@pytest.fixture
def served(contact) -> Contact:
    assert contact.replied(reply(), 0.0, 100.0)
    assert contact.connected
    assert contact.reason == ''
    return contact


def hellos(contact: Contact, begin_s: float, end_s: float) -> list[float]:
    times = [begin_s + i / 100 for i in range(round((end_s - begin_s) * 100))]
    return [t for t in times if contact.hello_due(t)]


def test_hello_is_repeated_for_ever_at_most_half_a_second_apart(contact):
    said = hellos(contact, 0, 60)
    gaps = [b - a for a, b in itertools.pairwise(said)]
    assert said[0] == 0
    assert min(gaps) >= 0.24
    assert max(gaps) <= 0.51
    assert not contact.connected


def test_a_silent_cloud_is_noticed_within_its_limit_and_welcome_back(served):
    for i in range(101):
        served.check(i / 100, waiting_s=i / 100, reachable=True)
    assert served.connected
    served.check(1.02, waiting_s=1.02, reachable=True)
    assert not served.connected
    assert 'not answered' in served.reason
    assert served.hello_due(1.02)
    served.heard(1.2)
    assert served.connected


def test_an_idle_camera_is_not_a_silent_cloud(served):
    served.check(100.0, waiting_s=0.0, reachable=True)
    assert served.connected


def test_the_death_of_its_own_server_only_ends_it(served):
    served.worker_gone(2, 1.0)
    assert served.connected
    served.worker_gone(1, 1.0)
    assert not served.connected
    assert served.hello_due(1.0)


def test_a_new_server_is_greeted_at_once(served):
    served.worker_gone(1, 1.0)
    assert served.hello_due(1.0)
    assert not served.hello_due(1.1)
    served.worker_seen(2, 1.1)
    assert served.hello_due(1.1)
    assert served.replied(reply(2), 1.2, 90.0)
    assert (served.worker, served.name) == (2, 'server-2')


def test_what_a_server_says_after_it_went_away_is_not_believed(served):
    served.worker_gone(1, 1.0)
    assert not served.replied(reply(1), 1.01, 10.0)
    assert not served.connected
    served.worker_seen(1, 1.5)  # only the way to it was lost
    assert served.replied(reply(1), 1.6, 10.0)
    assert served.connected


def test_a_refusal_is_told_and_retried_seldom(contact):
    contact.hello_due(0.0)
    contact.replied(reply(accepted=False, reason='no room'), 0.1, 1.0)
    assert contact.reason == 'no room'
    assert len(hellos(contact, 0.1, 10.1)) in (4, 5)


def test_one_server_that_accepts_counts_for_more_than_those_that_refuse(served):
    assert not served.replied(reply(2, accepted=False, reason='full'), 0.1, 1.0)
    assert not served.replied(reply(3), 0.1, 1.0)
    assert (served.connected, served.worker) == (True, 1)


def test_an_evicted_stream_waits_for_a_picture(served):
    served.idle('evicted')
    assert hellos(served, 0, 10) == []
    served.wanted()
    assert served.hello_due(10.0)


def test_reasons_tell_unreachable_from_unanswered(contact):
    assert 'no dedelayed cloud has answered' in contact.reason
    contact.check(1.0, waiting_s=0, reachable=False)
    assert 'cannot be reached' in contact.reason
    contact.unreachable('nobody there')
    assert contact.reason == 'nobody there'
