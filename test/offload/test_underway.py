"""Frames under way are finished in order, one at a time, and what fails is told where frames are put in."""

from __future__ import annotations

import threading

import pytest

from dedelayed_ros.offload.underway import Underway

pytestmark = pytest.mark.timeout(30)


def test_frames_are_finished_in_order_while_others_are_put_in() -> None:
    go, done = threading.Event(), []
    with Underway(depth=3) as underway:
        underway.put(lambda: (go.wait(10), done.append(0)))
        underway.put(lambda: done.append(1))
        assert done == []
        go.set()
        underway.put(lambda: done.append(2), alone=True)
        assert done == [0, 1, 2]
        underway.put(lambda: done.append(3))
        underway.drain()
        assert done == [0, 1, 2, 3]
        underway.put(lambda: done.append(4))
    assert done == [0, 1, 2, 3, 4]


def test_there_is_room_for_so_many_and_no_more() -> None:
    go, entered = threading.Event(), threading.Event()
    with Underway(depth=2) as underway:
        underway.put(lambda: go.wait(10))
        underway.put(lambda: None)
        third = threading.Thread(target=lambda: (underway.put(lambda: None), entered.set()))
        third.start()
        assert not entered.wait(0.2)
        go.set()
        assert entered.wait(10)
        third.join()


def test_what_a_frame_raises_comes_out_and_the_next_ones_are_finished() -> None:
    def fail() -> None:
        raise ValueError('this frame')

    done = []
    underway = Underway()
    with pytest.raises(ValueError, match='this frame'):
        underway.put(fail, alone=True)
    underway.put(lambda: done.append(1))
    underway.put(fail)
    with pytest.raises(ValueError, match='this frame'):
        underway.close()
    assert done == [1]
