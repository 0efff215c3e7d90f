"""Asks and pictures in any order: the right picture with all motion since the last one, or that it is missing."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dedelayed_ros.cloud.asked_pictures import WAIT_S, WATCH_S, AskedPictures, Found, Missing
from dedelayed_ros.cloud.shared_picture import SharedPicture
from dedelayed_ros.frames import DecodedPicture, MotionField
from dedelayed_ros.link import AskUp, Code
from dedelayed_ros.offload.endpoint import MotionSince

SIZE = (32, 48)


def shown(number: int, motion: MotionField | None = None, *, reference: int | None = None, session: int = 1, **kind):
    """A picture of the other stream; without motion a key frame, unless it says what it predicts from."""
    image = np.full((*SIZE, 3), number % 7, np.uint8)
    if reference is None:
        reference = number if motion is None else number - 1
    decoded = DecodedPicture(image, motion, kind.get('intra', 0.0 if motion is not None else 1.0))
    return SharedPicture(session, number, reference, 100 + number, None if kind.get('lost') else decoded)


def wanted(number: int) -> AskUp:
    return AskUp(number, 100 + number, 0)


def moved(fate: random.Random) -> MotionField:
    qpel = np.array([[[fate.randrange(-20, 20) for _ in range(2)] for _ in range(3)] for _ in range(2)], np.int16)
    return MotionField(SIZE, qpel)


def same(one: MotionField | None, other: MotionField | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.to_bytes() == other.to_bytes()


@pytest.mark.parametrize('seed', range(20))
def test_motion_is_that_between_the_pictures_that_are_computed_whenever_they_are_asked_for(seed: int) -> None:
    fate = random.Random(seed)
    asked, account, expected, found = AskedPictures(SIZE), MotionSince(), {}, []
    due: list[tuple[int, int]] = []  # when an ask comes, counted in pictures, and of which it is
    last_due = 0
    for number in range(150):
        keyframe, lost = number == 0 or fate.random() < 0.05, fate.random() < 0.03
        picture = shown(number, None if keyframe else moved(fate), lost=lost)
        if lost:
            account.lose()
        else:
            before = expected.get('newest')
            account.observe(picture.decoded.motion if before == number - 1 else None)
            expected['newest'] = number
        ask = fate.random() < 0.3
        if ask:
            last_due = max(last_due, number + fate.randrange(-3, 12))
            due.append((last_due, number))
            if not lost:
                expected[number] = account.take()
        for moment, frame in [one for one in due if one[0] <= number]:
            due.remove((moment, frame))
            found += asked.ask(wanted(frame), 0.0)
        found += asked.show(picture)
    assert len(found) > 25
    for one in found:
        number = one.ask.sequence
        if isinstance(one, Missing):
            assert one.code == Code.NEED_KEYFRAME and number not in expected
        else:
            assert one.picture[0, 0, 0] == number % 7
            assert same(one.motion, expected[number]), number
    assert [one.ask.sequence for one in found] == sorted(one.ask.sequence for one in found)


def test_after_a_gap_in_what_was_watched_no_motion_is_known() -> None:
    asked, still = AskedPictures(SIZE), MotionField.identity(SIZE)
    asked.show(shown(0))
    (first,) = asked.ask(wanted(0), 0.0)
    assert isinstance(first, Found) and first.motion is None
    asked.show(shown(1, still))
    (second,) = asked.ask(wanted(1), 0.0)
    assert isinstance(second, Found) and second.motion is not None
    asked.show(shown(3, still))  # which predicts from one that was not shown
    (third,) = asked.ask(wanted(3), 0.0)
    assert isinstance(third, Found) and third.motion is None
    asked.show(shown(4, still, intra=0.9))
    (fourth,) = asked.ask(wanted(4), 0.0)
    assert isinstance(fourth, Found) and fourth.motion is None, 'a cut'


def test_a_picture_of_another_stamp_is_refused_and_one_of_another_session_is_another_picture() -> None:
    asked = AskedPictures(SIZE)
    asked.show(shown(5))
    (refused,) = asked.ask(AskUp(5, 999, 0), 0.0)
    assert isinstance(refused, Missing)
    assert refused.code == Code.REFUSED
    assert 'has the stamp 105, the one that was asked for has 999' in refused.reason
    assert asked.ask(wanted(6), 0.0) == []
    (missing,) = asked.show(shown(0, session=2))
    assert isinstance(missing, Missing) and 'of a stream that ended' in missing.reason
    (missing,) = asked.ask(AskUp(0, 7, 0), 0.0)
    assert isinstance(missing, Missing) and missing.code == Code.REFUSED


def test_what_is_kept_and_what_waits_is_bounded_in_number_and_time() -> None:
    asked, still = AskedPictures(SIZE), MotionField.identity(SIZE)
    asked.show(shown(0))
    for number in range(1, 60):
        asked.show(shown(number, still))
    assert asked.bytes == 16 * SIZE[0] * SIZE[1] * 3
    (missing,) = asked.ask(wanted(20), 10.0)
    assert isinstance(missing, Missing) and 'not kept any more' in missing.reason
    assert asked.look_after(10.0 + WATCH_S - 0.1) == []
    assert asked.bytes
    assert asked.due_s(10.0) == pytest.approx(WATCH_S)
    asked.look_after(10.0 + WATCH_S)
    assert (asked.bytes, asked.due_s(20.0)) == (0, None)

    gone = [one for number in range(100, 134) for one in asked.ask(wanted(number), 20.0)]
    assert [one.ask.sequence for one in gone] == [100, 101]
    assert asked.due_s(20.0) == pytest.approx(WAIT_S)
    late = asked.look_after(20.0 + WAIT_S)
    assert [one.ask.sequence for one in late] == list(range(102, 134))
    assert {one.code for one in late} == {Code.NEED_KEYFRAME}


def test_what_is_forgotten_costs_one_full_computation() -> None:
    asked, still = AskedPictures(SIZE), MotionField.identity(SIZE)
    for number in range(3):
        asked.show(shown(number, still if number else None))
    asked.ask(wanted(1), 0.0)
    asked.forget()
    assert asked.bytes == 0
    (missing,) = asked.ask(wanted(2), 0.0)
    assert isinstance(missing, Missing)
    asked.show(shown(3, still))
    (found,) = asked.ask(wanted(3), 0.0)
    assert isinstance(found, Found) and found.motion is None
    asked.show(shown(4, still))
    asked.lose()
    (found,) = asked.ask(wanted(4), 0.0)
    assert isinstance(found, Found) and found.motion is None, 'the model computed another picture meanwhile'
