"""The way between any two pictures of a stream, and what keeps it from going astray."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros import native
from dedelayed_ros.carry import FeatureCarrier, warp_features
from dedelayed_ros.frames import MotionField
from dedelayed_ros.link import FeatureRecord
from dedelayed_ros.motion_track import MotionLost, MotionTrack
from dedelayed_ros.refine import refined

SIZE, GRID = (128, 192), (8, 12)
PERIOD_NS = 33_000_000
MOVED, SAID = 12, 16  # quarters of a pixel a frame: how far the content of `pan` goes, and what the codec says

needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'the kernels are there')


def uniform(quarters: int, block: int = 16) -> MotionField:
    """Everything moves right by so many quarters of a pixel."""
    qpel = np.zeros((*MotionField.identity(SIZE, block).valid.shape, 2), np.int16)
    qpel[..., 0] = quarters
    return MotionField(SIZE, qpel, block=block)


def pan(frames: int) -> list[np.ndarray]:
    """Pictures of smooth content that moves right by ``MOVED``."""
    step = MOVED // 4
    noise = torch.from_numpy(np.random.default_rng(0).random((1, 3, SIZE[0] // 6, SIZE[1] // 6 + frames)))
    size = (SIZE[0], SIZE[1] + step * frames)
    wide = (255 * F.interpolate(noise, size, mode='bilinear')[0].permute(1, 2, 0)).numpy().astype(np.uint8)
    starts = [step * (frames - 1 - i) for i in range(frames)]
    return [np.ascontiguousarray(wide[:, x : x + SIZE[1]]) for x in starts]


def tracked(frames: int, *, pictures: bool) -> MotionTrack:
    """A codec that is wrong by a pixel a frame."""
    track = MotionTrack()
    for i, picture in enumerate(pan(frames)):
        track.append(i * PERIOD_NS, uniform(SAID), picture if pictures else None)
    return track


def error(motion: MotionField, frames: int) -> float:
    """Mean distance in pixels from the true motion over so many frames, where its source is in the frame."""
    inside = motion.valid & uniform(MOVED * frames).valid
    return float(np.abs(motion.qpel[inside] - (MOVED * frames, 0)).sum(-1).mean()) / 4


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), ends=st.tuples(st.integers(0, 12), st.integers(0, 12)), memory=st.integers(13, 20))
def test_without_pictures_the_way_is_the_motion_composed(seed: int, ends: tuple[int, int], memory: int) -> None:
    rng = np.random.default_rng(seed)
    fields = [MotionField(SIZE, rng.integers(-80, 81, (*GRID, 2)).astype(np.int16)) for _ in range(13)]
    track = MotionTrack(memory)
    assert [track.append(i * PERIOD_NS, field) for i, field in enumerate(fields)] == list(range(13))
    earlier, later = sorted(ends)
    way = track.way(earlier, later)
    if earlier == later:
        assert way is None
    else:
        assert way == reduce(MotionField.compose, fields[earlier + 1 : later + 1])


@needs_kernels
def test_a_long_way_is_corrected_in_spans() -> None:
    """A pixel a frame is more than one correction finds after half a second."""
    spans, at_once = tracked(16, pictures=True), tracked(16, pictures=False)
    way, composed = spans.way(0, 15), at_once.way(0, 15)
    assert way is not None and composed is not None
    pictures = pan(16)
    assert error(composed, 15) == 15
    assert error(refined(composed, pictures[0], pictures[15]), 15) > 10
    assert error(spans.corrected(way, 0, 15), 15) == 0


@needs_kernels
def test_ways_that_begin_within_a_span_take_the_next_one() -> None:
    track = tracked(16, pictures=True)  # spans of five frames
    expected = [uniform(SAID), *(refined(uniform(5 * SAID), pan(16)[i], pan(16)[i + 5]) for i in (5, 10))]
    assert track.way(4, 15) == reduce(MotionField.compose, expected)
    assert track.way(4, 14) == reduce(MotionField.compose, [*expected[:2], *[uniform(SAID)] * 4])
    assert track.way(6, 9) == reduce(MotionField.compose, [uniform(SAID)] * 3)


@pytest.mark.parametrize('pictures', [False, True])
@pytest.mark.parametrize('asked', [False, True])
def test_no_way_leads_over_what_is_not_known(pictures: bool, asked: bool) -> None:
    track = MotionTrack()
    for i, picture in enumerate(pan(13)):
        track.append(i * PERIOD_NS, None if i == 3 else uniform(SAID), picture if pictures else None)
        if i == 10:
            if asked:
                track.way(5, 10)
            track.cut()
    for earlier, later in ((0, 3), (2, 4), (0, 12), (5, 10), (9, 12)):
        with pytest.raises(MotionLost):
            track.way(earlier, later)
    for earlier, later in ((0, 2), (3, 9), (10, 12)):
        assert track.way(earlier, later) is not None


def test_what_is_older_than_its_memory_is_lost() -> None:
    track = MotionTrack(memory=4)
    for i in range(8):
        track.append(i * PERIOD_NS, uniform(SAID))
    assert track.way(3, 7) is not None
    with pytest.raises(MotionLost):
        track.way(2, 7)


def test_forgotten_pictures_correct_nothing() -> None:
    track = tracked(16, pictures=True)
    track.forget(15 * PERIOD_NS)
    assert track.pictures() == 1
    way = track.way(0, 15)
    assert way is not None and way == reduce(MotionField.compose, [uniform(SAID)] * 15)
    assert track.corrected(way, 0, 15) is way


@pytest.mark.parametrize('kept_ns', [3 * PERIOD_NS, 20 * PERIOD_NS])
def test_a_long_stream_keeps_no_more_than_a_short_one(kept_ns: int) -> None:
    track, picture = MotionTrack(memory=30), pan(1)[0]
    for i in range(200):
        number = track.append(i * PERIOD_NS, uniform(SAID), picture)
        track.forget(i * PERIOD_NS - kept_ns)
        track.way(max(0, number - 20), number)
    assert track.pictures() == kept_ns // PERIOD_NS + 1
    assert len(track._next) + len(track._spans) <= 2 * 4 and len(track._motions) == 30


@needs_kernels
def test_clocks_that_are_set_back_begin_another_span() -> None:
    track = MotionTrack()
    pictures = pan(12)
    for i, picture in enumerate(pictures):
        track.append(i * PERIOD_NS - (i >= 6) * 10**12, uniform(SAID), picture)
    assert track.way(6, 11) == refined(uniform(5 * SAID), pictures[6], pictures[11])


@needs_kernels
def test_a_held_answer_goes_on_from_what_was_corrected() -> None:
    carrier = FeatureCarrier(GRID, staleness_s=1.0)
    features = np.random.default_rng(1).normal(size=(2, *GRID)).astype(np.float32)
    for i, picture in enumerate(pan(16)):
        carrier.advance(i, i * PERIOD_NS, uniform(SAID), picture)
        carrier.offer(FeatureRecord(0, 0, features, 100.0, 90.0, 20.0, 1000, 500))
        carried = carrier.current()
    assert carried is not None and not carried.fresh
    expected = warp_features(torch.from_numpy(features), uniform(15 * MOVED))
    assert (carried.features[0] - expected)[:, :, 4:].abs().mean() < 0.05
