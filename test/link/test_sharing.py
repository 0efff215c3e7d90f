"""When a robot asks whether the cloud shares pictures between streams, and what it makes of the answers."""

from __future__ import annotations

import itertools

from dedelayed_ros.link.sharing import FIRST_PAUSE_S, LONGEST_PAUSE_S, Sharing


def questions(sharing: Sharing, begin_s: float, end_s: float, refuse: str = '') -> list[float]:
    """When it asks, looked at twenty times a second; each time it is refused, where that is said."""
    asked = []
    for tick in range(round(begin_s * 20), round(end_s * 20)):
        if sharing.question_due(tick / 20):
            asked.append(tick / 20)
            if refuse:
                sharing.refuse(refuse, tick / 20)
    return asked


def test_it_asks_at_once_and_takes_silence_for_a_refusal() -> None:
    sharing = Sharing()
    assert sharing.agreed is None
    assert questions(sharing, 0, 2) == [0, 1]
    assert sharing.agreed is None
    assert questions(sharing, 2, 4)
    assert sharing.agreed is False
    assert 'does not answer' in sharing.reason


def test_after_refusals_it_asks_less_and_less_often_but_for_ever() -> None:
    sharing = Sharing()
    asked = questions(sharing, 0, 60, refuse='not here')
    pauses = [b - a for a, b in itertools.pairwise(asked)]
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_PAUSE_S
    assert set(pauses[-5:]) == {LONGEST_PAUSE_S}
    assert sharing.reason == 'not here'


def test_what_was_agreed_is_not_asked_until_it_ends() -> None:
    sharing = Sharing()
    sharing.question_due(0)
    sharing.agree(0.1)
    assert questions(sharing, 0.2, 20) == []
    sharing.refuse('gone', 20)
    assert questions(sharing, 20, 21) == [20 + FIRST_PAUSE_S]


def test_what_never_holds_does_not_flap() -> None:
    sharing = Sharing()
    changes, now_s = 0, 0.0
    while now_s < 120:
        if sharing.question_due(now_s):
            sharing.agree(now_s)
            sharing.refuse('no such picture', now_s)
            changes += 1
        now_s += 0.05
    assert changes <= 4 + 120 / LONGEST_PAUSE_S


def test_another_server_is_asked_at_once() -> None:
    sharing = Sharing()
    questions(sharing, 0, 30, refuse='not here')
    sharing.forget()
    assert (sharing.agreed, sharing.reason, sharing.open) == (None, '', False)
    assert sharing.question_due(30)
