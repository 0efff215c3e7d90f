"""The street as a camera."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import Frame, Source, open_source
from dedelayed_ros.sim.street import StreetClip, StreetSource, open_street
from dedelayed_ros.sim.street.engine import open_context

SIZE = (96, 192)


@pytest.fixture(scope='module', autouse=True)
def _renderer() -> None:
    try:
        open_context().release()
    except InputError as error:
        pytest.skip(str(error))


def test_it_is_a_source_and_gives_the_frames_of_its_clip() -> None:
    begun = time.time_ns()
    with StreetSource(7, size=SIZE, rate=25.0, frames=3, pace='fast', frame_id='front') as source:
        assert isinstance(source, Source)
        frames = list(source)
    with StreetClip(7, size=SIZE, rate=25.0, frames=3) as clip:
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, clip, strict=True))
    assert all(isinstance(f, Frame) for f in frames)
    assert [f.sequence for f in frames] == [0, 1, 2]
    assert [f.stamp_ns - frames[0].stamp_ns for f in frames] == [0, 40_000_000, 80_000_000]
    assert begun <= frames[0].stamp_ns <= time.time_ns()
    assert frames[0].frame_id == 'front'
    assert frames[0].picture is None


def test_frames_come_when_they_are_due_and_not_before() -> None:
    with open_street('7', size=SIZE, rate=4.0) as source:
        for frame in (source.read(), source.read(), source.read()):
            assert frame is not None
            assert time.time_ns() >= frame.stamp_ns - 2_000_000


def test_the_world_goes_on_while_nobody_reads() -> None:
    with open_street('8', size=SIZE, rate=20.0) as source, StreetClip(8, size=SIZE, rate=20.0) as clip:
        first = source.read()
        time.sleep(0.4)
        later = source.read()
        assert first is not None
        assert later is not None
        assert later.sequence - first.sequence >= 7
        for _ in range(later.sequence):
            clip.skip()
        expected = clip.read()
        assert expected is not None
        assert np.array_equal(later.image, expected.image)


def test_options_in_the_name_and_arguments_that_outrank_them() -> None:
    with open_source('street:3?size=64x48&rate=12&frames=1', pace='fast', openers={'street': open_street}) as source:
        assert source.size == (48, 64)
        assert source.rate == 12.0
        assert source.read() is not None
        assert source.read() is None
    with open_street('3?size=64x48', size=SIZE) as source:
        assert source.size == SIZE


@pytest.mark.parametrize('name', ['', 'x', '-3', '3?size=64', '3?rate=fast', '3?colour=red', '3?size'])
def test_a_wrong_name_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(InputError, match='street:17'):
        open_street(name)
