"""Which frame an answer belongs to, and how it gets from there to now."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros import native
from dedelayed_ros.carry import FeatureCarrier, warp_features
from dedelayed_ros.frames import MotionField
from dedelayed_ros.link import FeatureRecord

GRID = (8, 12)
SIZE = (GRID[0] * 16, GRID[1] * 16)  # the camera's pixels: one block a cell
PERIOD_NS = 33_000_000


def shift(dx: int, dy: int) -> MotionField:
    """A field that moves everything by whole cells (16 camera pixels)."""
    qpel = np.zeros((*GRID, 2), np.int16)
    qpel[...] = (dx * 64, dy * 64)
    return MotionField(SIZE, qpel)


def answer(sequence: int, features: np.ndarray | None = None, *, stamp_ns: int | None = None) -> FeatureRecord:
    if features is None:
        features = np.full((2, *GRID), float(sequence + 1), np.float32)
    return FeatureRecord(
        sequence=sequence,
        stamp_ns=sequence * PERIOD_NS if stamp_ns is None else stamp_ns,
        features=features,
        predicted_delay_ms=100.0,
        round_trip_ms=90.0,
        server_ms=20.0,
        bytes_up=1000,
        bytes_down=500,
    )


def carrier_at(sequence: int, motion: MotionField | None = None, **kwargs: float) -> FeatureCarrier:
    carrier = FeatureCarrier(GRID, **kwargs)
    for i in range(sequence + 1):
        carrier.advance(i, i * PERIOD_NS, motion or MotionField.identity(SIZE))
    return carrier


def test_no_answer_is_none() -> None:
    assert carrier_at(3).current() is None


def test_answer_for_the_current_frame_is_used_as_it_is() -> None:
    carrier = carrier_at(3)
    features = np.random.default_rng(0).normal(size=(2, *GRID)).astype(np.float32)
    carrier.offer(answer(3, features))
    carried = carrier.current()
    assert carried is not None and carried.fresh and carried.age_ms == 0
    assert torch.equal(carried.features[0], torch.from_numpy(features))


def test_late_answer_is_carried_by_all_motion_since() -> None:
    carrier = carrier_at(5, shift(1, 0))
    features = np.random.default_rng(1).normal(size=(2, *GRID)).astype(np.float32)
    carrier.offer(answer(2, features))
    carried = carrier.current()
    assert carried is not None
    assert carried.age_ms == pytest.approx(99.0)
    expected = torch.zeros(2, *GRID)
    expected[:, :, 3:] = torch.from_numpy(features[:, :, :-3])  # three frames, one cell to the right each
    torch.testing.assert_close(carried.features[0], expected)


def test_a_held_answer_is_carried_on_and_fresh_only_once() -> None:
    carrier = carrier_at(2, shift(0, 1))
    features = np.random.default_rng(2).normal(size=(2, *GRID)).astype(np.float32)
    carrier.offer(answer(2, features))
    assert carrier.current().fresh  # type: ignore[union-attr]
    carrier.advance(3, 3 * PERIOD_NS, shift(0, 1))
    carried = carrier.current()
    assert carried is not None and not carried.fresh
    torch.testing.assert_close(carried.features[0, :, 1:], torch.from_numpy(features[:, :-1]))
    assert not carried.features[0, :, 0].any()


def test_stale_answers_are_dropped_at_the_limit() -> None:
    carrier = carrier_at(0, staleness_s=0.1)
    carrier.offer(answer(0))
    assert carrier.current() is not None
    for i in range(1, 4):
        carrier.advance(i, i * PERIOD_NS, shift(0, 0))
        assert carrier.current() is not None, 'up to 99 ms'
    carrier.advance(4, 4 * PERIOD_NS, shift(0, 0))
    assert carrier.current() is None
    assert carrier.dropped['stale'] == 1


def test_lost_motion_breaks_the_chain_but_not_the_future() -> None:
    carrier = carrier_at(2)
    carrier.offer(answer(2))
    assert carrier.current() is not None
    carrier.advance(3, 3 * PERIOD_NS, None)
    assert carrier.current() is None
    carrier.offer(answer(1, stamp_ns=1 * PERIOD_NS))
    assert carrier.current() is None, 'from before the break'
    carrier.offer(answer(3))
    assert carrier.current() is not None, 'from the frame after the break'
    assert carrier.dropped['motion lost'] == 2


def test_scene_cut_drops_what_was_seen_before_it() -> None:
    carrier = carrier_at(4)
    carrier.offer(answer(3))
    assert carrier.current() is not None
    carrier.advance(5, 5 * PERIOD_NS, shift(0, 0))
    carrier.cut()
    assert carrier.current() is None
    carrier.offer(answer(4))
    assert carrier.current() is None, 'an answer that was under way when the scene changed'
    carrier.offer(answer(5))
    assert carrier.current() is not None


def test_an_answer_may_come_before_its_frame() -> None:
    carrier = carrier_at(2)
    carrier.offer(answer(3))
    assert carrier.current() is None
    carrier.advance(3, 3 * PERIOD_NS, shift(0, 0))
    assert carrier.current() is not None


def test_answers_of_an_earlier_run_of_the_camera_are_refused() -> None:
    carrier = carrier_at(50)
    restart_ns = 80 * PERIOD_NS
    for i in range(5):  # the camera counts anew, its clock does not
        carrier.advance(i, restart_ns + i * PERIOD_NS, shift(0, 0))
    for i in (0, 3):  # the old run's frames, not this run's
        carrier.offer(answer(i))
        assert carrier.current() is None
    assert carrier.dropped['unknown frame'] == 2
    carrier.offer(answer(3, stamp_ns=restart_ns + 3 * PERIOD_NS))
    assert carrier.current() is not None


def test_wrong_grid_is_counted_not_used() -> None:
    carrier = carrier_at(1)
    carrier.offer(answer(1, np.zeros((2, 4, 4), np.float32)))
    assert carrier.current() is None
    assert carrier.dropped['wrong shape'] == 1


@settings(max_examples=60, deadline=None)
@given(
    delays=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=1, max_size=30),
    lost=st.sets(st.integers(1, 40), max_size=3),
)
def test_under_any_delay_loss_and_order_the_features_are_of_the_frame_they_name(
    delays: list[int | None], lost: set[int]
) -> None:
    """The carried value is the newest arrived answer's, aligned by exactly the motion since its frame.

    Every frame moves one cell to the right; the answer for frame i holds i+1 everywhere, so that both its identity
    and the columns that have moved in from outside (zeros) can be read off the carried features.
    """
    carrier = FeatureCarrier(GRID, staleness_s=10.0)
    arrivals: dict[int, list[int]] = {}
    for i, delay in enumerate(delays):
        if delay is not None:
            arrivals.setdefault(i + delay, []).append(i)
    arrived: list[int] = []
    for now in range(len(delays) + 13):
        carrier.advance(now, now * PERIOD_NS, None if now in lost else shift(1, 0))
        barrier = max((x for x in lost if x <= now), default=0)
        for i in arrivals.get(now, []):
            carrier.offer(answer(i))
            arrived.append(i)
        carried = carrier.current()
        usable = [i for i in arrived if i >= barrier]  # nothing crosses a lost picture
        assert (carried is None) == (not usable)
        if carried is None:
            continue
        i = max(usable)
        age = now - i
        assert carried.record.sequence == i
        assert carried.age_ms == pytest.approx(age * PERIOD_NS * 1e-6)
        expected = torch.zeros(2, *GRID)
        expected[:, :, min(age, GRID[1]) :] = i + 1
        assert torch.equal(carried.features[0], expected)


def test_parts_of_a_cell_are_carried_by_themselves() -> None:
    """Motion of half a cell moves what the channels of a cell describe, exactly, where whole cells would be mixed."""
    parts = torch.arange(2 * 8 * 8, dtype=torch.float32).reshape(1, 2, 8, 8) + 1  # two channels, eight pixels a part
    features = torch.pixel_unshuffle(parts, 2)  # [1, 8, 4, 4], sixteen pixels a cell
    qpel = np.zeros((4, 4, 2), np.int16)
    qpel[..., 0] = 4 * 8
    moved = torch.pixel_shuffle(warp_features(features, MotionField((64, 64), qpel), split=2), 2)
    assert torch.equal(moved[..., 1:], parts[..., :-1])
    assert torch.equal(moved[..., 0], torch.zeros(1, 2, 8))
    mixed = torch.pixel_shuffle(warp_features(features, MotionField((64, 64), qpel), split=1), 2)
    assert not torch.equal(mixed[..., 1:], parts[..., :-1])


def test_parts_follow_their_own_ways() -> None:
    """Two blocks that part from each other: of the cell between them, half came with each."""
    first, second = (np.zeros((1, 4, 2), np.int16) for _ in range(2))
    second[:, 2:, 0] = 4 * 8  # then the right half moves by eight pixels: of block 2, the left part came from block 1
    first[:, 1, 1] = 4  # where the step before was down by one pixel
    steps = [MotionField((16, 64), field).resized((16, 64), 8) for field in (first, second)]
    composed = steps[0].compose(steps[1])
    assert composed.qpel[0, :, 1].tolist() == [0, 0, 4, 4, 4, 0, 0, 0]
    assert composed.qpel[0, :, 0].tolist() == [0, 0, 0, 0, 32, 32, 32, 32]
    features = torch.pixel_unshuffle(torch.arange(16.0).reshape(1, 1, 2, 8), 2)
    carrier = FeatureCarrier((1, 4), split=2)
    carrier.advance(0, 0, None)
    carrier.offer(answer(0, features[0].numpy()))
    for number, field in enumerate((first, second), 1):
        carrier.advance(number, number * PERIOD_NS, MotionField((16, 64), field))
    carried = carrier.current()
    assert carried is not None
    assert torch.equal(carried.features, warp_features(features, composed, split=2))


def test_answers_are_decoded_once_and_carried_decoded() -> None:
    decoded = []

    def decode(latents: torch.Tensor) -> torch.Tensor:
        decoded.append(latents)
        return latents + 1.0

    carrier = FeatureCarrier(GRID, decode=decode)
    carrier.advance(0, 0, None)
    carrier.offer(answer(0))
    first = carrier.current()
    assert first is not None
    assert torch.equal(first.features, torch.full((1, 2, *GRID), 2.0))
    carrier.advance(1, PERIOD_NS, shift(1, 0))
    second = carrier.current()
    assert second is not None
    assert torch.equal(second.features[..., 1:], torch.full((1, 2, GRID[0], GRID[1] - 1), 2.0))
    assert torch.equal(second.features[..., 0], torch.zeros(1, 2, GRID[0])), 'what comes from nowhere is not decoded'
    assert len(decoded) == 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    grid=st.tuples(st.integers(1, 7), st.integers(1, 9)),
    split=st.sampled_from([1, 2, 4]),
    reach=st.sampled_from([0, 3, 64, 700]),
    whole=st.booleans(),
    each=st.booleans(),
)
def test_the_kernel_carries_as_its_definition_does(
    seed: int, grid: tuple[int, int], split: int, reach: int, whole: bool, each: bool
) -> None:
    if native.library() is None:
        pytest.skip(native.why_missing())
    rng = np.random.default_rng(seed)
    parts = split if each else 1
    blocks = (grid[0] * parts, grid[1] * parts)
    qpel = rng.integers(-reach, reach + 1, (*blocks, 2)).astype(np.int16)
    if whole:
        qpel = qpel // (64 // split) * (64 // split)
    motion = MotionField((16 * grid[0], 16 * grid[1]), qpel, rng.random(blocks) < 0.8, 16 // parts)
    features = torch.from_numpy(rng.normal(size=(1, 3 * split**2, *grid)).astype(np.float32))
    carried = warp_features(features, motion, split=split)
    expected = warp_features(features.clone().requires_grad_(), motion, split=split).detach()
    if whole:
        assert torch.equal(carried, expected)
    else:
        torch.testing.assert_close(carried, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(carried == 0, expected == 0)


@pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'the kernels are there')
@pytest.mark.parametrize('larger', [1, 2])
def test_pictures_correct_what_the_codec_says(larger: int) -> None:
    """The content moves a cell a frame and the codec says that nothing moves in half of the blocks."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (GRID[0] * 16, (GRID[1] + 8) * 16, 3)).astype(np.uint8)
    width, size = GRID[1] * 16, (GRID[0] * 16 * larger, GRID[1] * 16 * larger)
    carriers = [FeatureCarrier(GRID) for _ in '12']
    for i in range(4):
        blocks = (size[0] // 16, size[1] // 16)
        qpel = np.zeros((*blocks, 2), np.int16)
        qpel[np.arange(blocks[0]) // larger % 2 == 0, :, 0] = 64 * larger
        motion = MotionField(size, qpel)
        picture = wide[:, (4 - i) * 16 : (4 - i) * 16 + width]
        carriers[0].advance(i, i * PERIOD_NS, motion)
        carriers[1].advance(i, i * PERIOD_NS, motion, picture)
    features = rng.normal(size=(2, *GRID)).astype(np.float32)
    moved = features[:, :, : GRID[1] - 3]
    believed, seen = (_carried(carrier, answer(0, features))[:, :, 3:] for carrier in carriers)
    assert (believed == moved).mean() < 0.7
    assert (seen == moved).mean() > 0.9


def test_pictures_are_kept_while_they_can_be_of_use() -> None:
    carrier = FeatureCarrier(GRID, staleness_s=0.1)
    for i in range(20):
        carrier.advance(i, i * PERIOD_NS, shift(0, 0), np.zeros((*SIZE, 3), np.uint8))
        assert carrier._track.pictures() == min(i + 1, 4)
    carrier.reset()
    assert not carrier._track.pictures()


def _carried(carrier: FeatureCarrier, record: FeatureRecord) -> np.ndarray:
    carrier.offer(record)
    carried = carrier.current()
    assert carried is not None
    return carried.features[0].numpy()
