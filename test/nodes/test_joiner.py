from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy does not import: no ROS here')
pytest.importorskip('dedelayed_ros.msg', reason='the messages are not built: run `make build`')

from dedelayed_ros.frames import EncodedPicture, MotionField
from dedelayed_ros.nodes.joiner import CameraImage, Joiner, Work
from dedelayed_ros.nodes.messages import CodedFrame

SIZE = (32, 48)
PERIOD_NS = 40_000_000


def field(number: int) -> MotionField:
    """A field that is known by its number."""
    return MotionField(SIZE, np.full((2, 3, 2), number, np.int16))


def image(number: int, *, arrived_s: float | None = None) -> CameraImage:
    arrived_s = time.monotonic() if arrived_s is None else arrived_s
    return CameraImage(np.zeros((*SIZE, 3), np.uint8), (number + 1) * PERIOD_NS, 'camera', arrived_s)


def coded(
    number: int, *, reference: int | None = None, keyframe: bool = False, size: tuple[int, int] = SIZE
) -> CodedFrame:
    reference = number if keyframe else number - 1 if reference is None else reference
    picture = EncodedPicture(b'', keyframe, size, field(number), 0.1)
    return CodedFrame(number, reference, (number + 1) * PERIOD_NS, 'camera', picture)


def joiner(*, wait_s: float = 5.0, depth: int = 10, expects: bool = True) -> Joiner:
    return Joiner(wait_s=wait_s, depth=depth, expects_motion=lambda: expects)


def motions(work: Work) -> list[int | None]:
    """The numbers of the fields of all pictures of a piece of work, in order."""
    fields = [*(skipped.motion for skipped in work.skipped), work.motion]
    return [None if one is None else int(one.qpel[0, 0, 0]) for one in fields]


def take(join: Joiner) -> Work:
    work = join.next()
    assert work is not None
    return work


@pytest.mark.timeout(10)
@pytest.mark.parametrize('motion_first', [False, True])
def test_each_image_gets_the_motion_of_its_stamp(motion_first: bool) -> None:
    join = joiner()
    works = []
    for number in range(4):
        if motion_first:
            join.offer_coded(coded(number))
        join.offer_image(image(number))
        if not motion_first:
            join.offer_coded(coded(number))
        works.append(take(join))
    assert [work.sequence for work in works] == [0, 1, 2, 3]
    assert [motions(work) for work in works] == [[None], [1], [2], [3]]


@pytest.mark.timeout(10)
def test_an_image_waits_for_its_motion() -> None:
    join = joiner()
    join.offer_image(image(0))
    threading.Timer(0.1, lambda: join.offer_coded(coded(0))).start()
    start = time.monotonic()
    assert take(join).sequence == 0
    assert time.monotonic() - start >= 0.09


@pytest.mark.timeout(10)
def test_it_waits_no_longer_than_it_may_and_not_at_all_when_nobody_encodes() -> None:
    late = joiner(wait_s=0.1)
    late.offer_image(image(0))
    start = time.monotonic()
    assert take(late).motion is None
    assert 0.09 <= time.monotonic() - start < 2
    assert late.unmatched == 1

    alone = joiner(wait_s=5.0, expects=False)
    alone.offer_image(image(0))
    start = time.monotonic()
    assert take(alone).motion is None
    assert time.monotonic() - start < 2
    assert alone.unmatched == 0


@pytest.mark.timeout(10)
def test_motion_of_images_that_never_came_is_handed_out_in_order() -> None:
    join = joiner()
    join.offer_coded(coded(0))
    join.offer_image(image(0))
    take(join)
    for number in (1, 2, 3):
        join.offer_coded(coded(number))
    join.offer_image(image(3))
    work = take(join)
    assert [skipped.sequence for skipped in work.skipped] == [1, 2]
    assert motions(work) == [1, 2, 3]


@pytest.mark.timeout(10)
def test_a_taker_that_cannot_keep_up_gets_the_newest_image_with_the_motion_of_the_dropped_ones() -> None:
    join = joiner(depth=2)
    join.offer_coded(coded(0))
    join.offer_image(image(0))
    take(join)
    for number in (1, 2, 3):
        join.offer_coded(coded(number))
        join.offer_image(image(number))
    work = take(join)
    assert work.sequence == 3
    assert motions(work) == [1, 2, 3]
    assert join.dropped == 2


@pytest.mark.timeout(10)
def test_a_lost_picture_breaks_the_chain_for_one_picture_only() -> None:
    join = joiner()
    join.offer_coded(coded(0))
    join.offer_image(image(0))
    take(join)
    # Picture 1 is lost, 2 predicts from it, 3 from 2.
    for number in (2, 3):
        join.offer_coded(coded(number))
        join.offer_image(image(number))
    assert motions(take(join)) == [None]
    assert motions(take(join)) == [3]


@pytest.mark.timeout(10)
def test_a_camera_that_leaves_frames_out_keeps_its_chain() -> None:
    join = joiner()
    for number, reference in ((0, 0), (2, 0), (5, 2)):
        join.offer_coded(coded(number, reference=reference, keyframe=number == 0))
        join.offer_image(image(number))
    assert [motions(take(join)) for _ in range(3)] == [[None], [2], [5]]


@pytest.mark.timeout(10)
def test_a_key_frame_continues_the_chain_only_without_a_gap() -> None:
    join = joiner()
    for number in (0, 1, 3):
        join.offer_coded(coded(number, keyframe=True))
        join.offer_image(image(number))
    assert [motions(take(join)) for _ in range(3)] == [[None], [1], [None]]


@pytest.mark.timeout(10)
def test_motion_that_came_too_late_still_tells_where_the_chain_is() -> None:
    join = joiner(wait_s=0.05)
    join.offer_coded(coded(0))
    join.offer_image(image(0))
    take(join)
    join.offer_image(image(1))
    assert motions(take(join)) == [None]
    join.offer_coded(coded(1))
    join.offer_coded(coded(2))
    join.offer_image(image(2))
    assert motions(take(join)) == [2]


@pytest.mark.timeout(10)
def test_motion_of_another_size_is_of_another_camera() -> None:
    join = joiner()
    join.offer_coded(coded(0))
    join.offer_image(image(0))
    take(join)
    join.offer_coded(coded(1, size=(16, 16)))
    join.offer_image(image(1))
    assert motions(take(join)) == [None]


@pytest.mark.timeout(10)
def test_a_camera_that_starts_again_begins_a_new_chain() -> None:
    join = joiner()
    join.offer_coded(coded(100))
    join.offer_image(image(100))
    take(join)
    join.offer_coded(coded(0, keyframe=True))
    join.offer_image(image(0))
    join.offer_coded(coded(1))
    join.offer_image(image(1))
    assert [motions(take(join)) for _ in range(2)] == [[None], [1]]


@pytest.mark.timeout(10)
def test_images_without_stamps_are_not_waited_for() -> None:
    join = joiner()
    for _ in range(2):
        join.offer_image(CameraImage(np.zeros((*SIZE, 3), np.uint8), 0, '', time.monotonic()))
    assert [take(join).sequence for _ in range(2)] == [0, 1]


@pytest.mark.timeout(10)
def test_closing_wakes_the_taker() -> None:
    join = joiner()
    threading.Timer(0.05, join.close).start()
    assert join.next() is None
