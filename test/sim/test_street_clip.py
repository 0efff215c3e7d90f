"""The simulated street: repeatable, labelled with the classes it says, and with a motion that is true."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.sim.street import StreetClip, StreetFrame, classes
from dedelayed_ros.sim.street.engine import open_context
from dedelayed_ros.sim.street.export import still
from dedelayed_ros.sim.street.layout import Street

SIZE = (120, 240)


@pytest.fixture(scope='module', autouse=True)
def _renderer() -> None:
    try:
        open_context().release()
    except InputError as error:
        pytest.skip(str(error))


def frames_of(seed: int, count: int, rate: float = 15.0, size: tuple[int, int] = SIZE) -> list[StreetFrame]:
    with StreetClip(seed, size=size, rate=rate, frames=count) as clip:
        return list(clip)


def same(a: StreetFrame, b: StreetFrame) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ('image', 'labels', 'motion'))


def warp(previous: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The previous picture carried to now (nearest), and where its source was in the frame."""
    h, w = previous.shape[:2]
    y, x = np.mgrid[:h, :w]
    from_x, from_y = np.rint(x - motion[..., 0]).astype(int), np.rint(y - motion[..., 1]).astype(int)
    inside = (from_x >= 0) & (from_x < w) & (from_y >= 0) & (from_y < h)
    return previous[np.clip(from_y, 0, h - 1), np.clip(from_x, 0, w - 1)], inside


def test_frames_have_the_promised_form() -> None:
    frames = frames_of(11, 3, rate=20.0)
    assert [f.stamp_s for f in frames] == pytest.approx([0.0, 0.05, 0.1])
    for f in frames:
        assert f.image.shape == (*SIZE, 3)
        assert f.image.dtype == np.uint8
        assert f.image.flags.c_contiguous
        assert f.labels.shape == SIZE
        assert f.labels.dtype == np.uint8
        assert f.motion.shape == (*SIZE, 2)
        assert f.motion.dtype == np.float32
        assert np.isfinite(f.motion).all()
        assert set(np.unique(f.labels)) <= {*range(19), classes.NONE}
        assert f.image.std() > 15  # a picture, not a plain


def test_a_seed_decides_everything() -> None:
    first, again, other = frames_of(21, 3), frames_of(21, 3), frames_of(22, 3)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], other[0])


def test_a_skipped_frame_changes_nothing_after_it() -> None:
    whole = frames_of(23, 3)
    with StreetClip(23, size=SIZE, rate=15.0) as clip:
        clip.skip()
        clip.skip()
        last = clip.read()
    assert last is not None
    assert same(last, whole[2])
    assert last.stamp_s == whole[2].stamp_s


def test_every_class_occurs_and_none_crowds_out_the_rest() -> None:
    counts = np.zeros(256)
    for seed in (2, 11, 26, 28, 32):
        for frame in frames_of(seed, 3, rate=2.0, size=(96, 192)):
            counts += np.bincount(frame.labels.reshape(-1), minlength=256)
    share = counts / counts.sum()
    for k, name in enumerate(classes.NAMES):
        assert share[k] > 0.0008, f'{name}: {share[k]:.5f}'
    assert share[classes.NONE] < 0.01
    assert share[classes.ROAD] < 0.5


@pytest.mark.parametrize('seed', [1, 9, 205])
def test_motion_carries_the_previous_frame_to_this_one(seed: int) -> None:
    before, now = frames_of(seed, 2, size=(200, 400))
    assert np.abs(now.motion).max() > 4
    carried, inside = warp(before.image.astype(int), now.motion)
    error = np.abs(carried - now.image).mean(-1)[inside].mean()
    for wrong in (0.0, 0.7, 1.3, -1.0):
        other, there = warp(before.image.astype(int), now.motion * wrong)
        assert error < 0.85 * np.abs(other - now.image).mean(-1)[there].mean(), wrong
    labels, inside = warp(before.labels, now.motion)
    assert (labels == now.labels)[inside].mean() > 0.94  # the rest is uncovered, or an edge


def test_lane_markings_and_tram_tracks_are_drawn_and_are_road() -> None:
    """And nothing else changes: what is painted on the road is road."""

    def first(seed: int, *, lines: bool, rails: bool) -> StreetFrame:
        street = Street.of(seed)
        with StreetClip(seed, size=(160, 320), rate=15.0) as clip:
            if not (lines and rails):
                clip._engine.set_street(street.lines() if lines else [], street.rails() if rails else None)
            frame = clip.read()
        assert frame is not None
        return frame

    shares = []
    for seed, lines, rails in [(1, False, True), (128, True, False)]:  # a street without trams, and one with
        drawn, bare = first(seed, lines=True, rails=True), first(seed, lines=lines, rails=rails)
        assert np.array_equal(drawn.labels, bare.labels)
        changed = (drawn.image != bare.image).any(-1)
        shares.append(changed[drawn.labels == classes.ROAD].mean())
        assert changed[drawn.labels == classes.ROAD].sum() > 0.8 * changed.sum(), (
            'but for reflections and what is blurred'
        )
    assert min(shares) > 0.005, shares


def test_things_that_move_on_their_own_have_their_own_motion() -> None:
    agree, still = [], []
    for seed in (6, 9, 205):
        before, now = frames_of(seed, 2, size=(200, 400))
        vehicle = (now.labels >= classes.CAR) & (now.labels <= classes.TRAIN)
        carried, inside = warp(before.labels, now.motion)
        agree.append((carried == now.labels)[vehicle & inside].mean())
        still.append((before.labels == now.labels)[vehicle].mean())
    assert np.mean(agree) > 0.94
    assert np.mean(agree) > np.mean(still) + 0.02


def test_motion_of_the_road_is_that_of_the_plane_it_lies_in() -> None:
    """Rays through road pixels, met with z = 0 and projected with the camera of a frame ago, end where motion says."""
    size = (160, 320)
    checked = 0
    for seed in (1, 6, 17):
        with StreetClip(seed, size=size, rate=15.0) as clip:
            clip.read()
            before = clip._view
            frame = clip.read()
            now = clip._view
        assert frame is not None
        y, x = np.nonzero(frame.labels == classes.ROAD)
        keep = y > size[0] * 0.7  # near: far away a hundredth of a pixel is metres
        y, x = y[keep][::37], x[keep][::37]
        clip_space = np.stack([(x + 0.5) / size[1] * 2 - 1, (y + 0.5) / size[0] * 2 - 1, 0 * x, 1 + 0 * x])
        ray = (np.linalg.inv(now.turn_matrix) @ clip_space)[:3]
        point = now.eye[:, None] + ray * (-now.eye[2] / ray[2])
        was = before.matrix @ np.concatenate([point, np.ones((1, len(x)))])
        was_x, was_y = (was[:2] / was[3] * 0.5 + 0.5) * np.array(size[::-1])[:, None]
        there = was[3] > 0.1
        expected = np.stack([x + 0.5 - was_x, y + 0.5 - was_y], -1)[there]
        off = np.abs(frame.motion[y, x][there] - expected).max(-1)
        assert np.median(off) < 0.02
        checked += len(off)
    assert checked > 300


def test_rows_run_from_top_to_bottom() -> None:
    for seed in (1, 3, 4):
        labels = frames_of(seed, 1)[0].labels
        rows = np.arange(SIZE[0])[:, None] + 0 * labels
        assert rows[labels == classes.SKY].mean() < rows[labels == classes.ROAD].mean()


def in_thread(read: Callable[[], StreetFrame | None]) -> StreetFrame | None:
    got: list[StreetFrame | None] = []
    worker = threading.Thread(target=lambda: got.append(read()))
    worker.start()
    worker.join()
    return got[0] if got else None


def test_a_clip_may_change_threads_and_share_a_process() -> None:
    alone = frames_of(31, 4)
    with StreetClip(31, size=SIZE, rate=15.0) as one:
        got = [in_thread(one.read)]
        with StreetClip(32, size=SIZE, rate=15.0) as two:
            got += [one.read(), two.read() and one.read(), in_thread(one.read)]
            assert in_thread(two.read) is not None
    assert all(a is not None and same(a, b) for a, b in zip(got, alone, strict=True))


@pytest.mark.timeout(60)
def test_a_spawned_process_renders_the_same() -> None:
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        there = pool.apply(still, (41, SIZE, 15.0, 0))
    assert np.array_equal(there, still(41, SIZE, 15.0, 0))


def test_closing_ends_the_clip() -> None:
    clip = StreetClip(5, size=SIZE)
    clip.close()
    clip.close()
    assert clip.read() is None


@pytest.mark.parametrize(
    ('arguments', 'part'),
    [
        ({'seed': -1}, '-1'),
        ({'seed': 1, 'size': (8, 640)}, '640x8'),
        ({'seed': 1, 'rate': 0.0}, '0'),
    ],
)
def test_what_cannot_be_rendered_is_refused(arguments: dict, part: str) -> None:
    with pytest.raises(InputError, match=part):
        StreetClip(**arguments)


def test_a_machine_without_moderngl_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'moderngl', None)
    with pytest.raises(InputError, match='pip install moderngl.*libegl1'):
        StreetClip(1, size=SIZE)
