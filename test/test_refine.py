"""Motion corrected by pictures: against the definition in plain Python, and what it is for."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dedelayed_ros import native
from dedelayed_ros.frames import MotionField
from dedelayed_ros.refine import refined

needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'the kernels are there')


def pixels(quarters: int) -> int:
    return int(math.copysign((abs(quarters) + 2) // 4, quarters))


def by_definition(motion: MotionField, then: np.ndarray, now: np.ndarray) -> MotionField:
    """What :func:`refined` says, block by block."""
    (height, width), block = motion.size, motion.block
    rows, columns = motion.valid.shape
    vectors = [[tuple(int(v) for v in motion.qpel[r, c]) for c in range(columns)] for r in range(rows)]
    known = motion.valid.tolist()

    def mean_difference(r: int, c: int, vector: tuple[int, int]) -> Fraction | None:
        """In grey levels; None where the block's centre was outside of the frame."""
        y, x = np.arange(r * block, min(height, (r + 1) * block)), np.arange(c * block, min(width, (c + 1) * block))
        dx, dy = (pixels(v) for v in vector)
        if not (0 <= y[len(y) // 2] - dy < height and 0 <= x[len(x) // 2] - dx < width):
            return None
        source = then[np.clip(y - dy, 0, height - 1)[:, None], np.clip(x - dx, 0, width - 1)[None]]
        differences = np.abs(now[y[:, None], x[None]].astype(int) - source)
        return Fraction(int(differences.sum()), differences.size)

    for way in (1, -1):
        for r, c in list(product(range(rows), range(columns)))[::way]:
            best, score, tried = None, math.inf, set()
            if known[r][c]:
                own = mean_difference(r, c, vectors[r][c])
                assert own is not None
                if own <= 2:
                    continue
                best, score, tried = vectors[r][c], own - Fraction(1, 2), {tuple(map(pixels, vectors[r][c]))}
            around = [(r, c - way), (r - way, c), (r - way, c + way), (r - way, c - way)]
            near = [vectors[y][x] for y, x in around if 0 <= y < rows and 0 <= x < columns and known[y][x]]
            for penalty in (Fraction(0), Fraction(1, 4)):
                if penalty and best is not None:
                    steps = [(d * x, d * y) for d in (4, 8) for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))]
                    near = [(best[0] + x, best[1] + y) for x, y in steps]
                for vector in near:
                    if tuple(map(pixels, vector)) in tried:
                        continue
                    tried.add(tuple(map(pixels, vector)))
                    difference = mean_difference(r, c, vector)
                    if difference is not None and difference + penalty < score:
                        best, score = vector, difference + penalty
            if best is not None:
                vectors[r][c], known[r][c] = best, True
    return MotionField(motion.size, np.array(vectors), np.array(known), block)


@needs_kernels
@settings(max_examples=60, deadline=None)
@example(seed=37, height=37, width=37, block=8)  # a tie that is none in floating point
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 44),
    block=st.sampled_from([5, 8, 16]),
)
def test_the_kernel_does_what_is_said(seed: int, height: int, width: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    # Few levels and coarse pictures: ties, and blocks that are good as they are.
    then, now = (
        np.repeat(rng.integers(0, 4, (height, width // 2 + 1, 3)) * 3, 2, 1)[:, :width].astype(np.uint8) for _ in '12'
    )
    if rng.random() < 0.5:
        now = np.roll(then, tuple(rng.integers(-5, 6, 2)), (0, 1))
    grid = (-(-height // block), -(-width // block))
    motion = MotionField((height, width), rng.integers(-30, 31, (*grid, 2)), rng.random(grid) < 0.8, block)
    assert refined(motion, then, now) == by_definition(motion, then, now)


@needs_kernels
def test_wrong_vectors_and_missing_ones_are_found_again() -> None:
    rng = np.random.default_rng(0)
    wide = np.repeat(np.repeat(rng.integers(0, 256, (40, 60, 3)), 4, 0), 4, 1).astype(np.uint8)
    then, now = wide[8:136, 12:204], wide[5:133, 5:197]  # the picture moved 7 to the right and 3 down
    true = np.broadcast_to(np.array([28, 12], np.int16), (16, 24, 2))
    off = true + np.where(rng.random((16, 24, 1)) < 0.4, rng.integers(-60, 61, (16, 24, 2)), 0)
    damaged = MotionField((128, 192), off, rng.random((16, 24)) < 0.8, block=8)
    mended = refined(damaged, then, now)
    inside = np.s_[2:-2, 2:-2]
    assert mended.valid[inside].all()
    assert (mended.qpel[inside] == true[inside]).all(-1).mean() > 0.97
    assert (damaged.valid & (damaged.qpel == true).all(-1))[inside].mean() < 0.6


def test_what_fits_stays_as_it_is() -> None:
    picture = np.full((32, 48, 3), 100, np.uint8)
    motion = MotionField((32, 48), np.random.default_rng(1).integers(-9, 10, (4, 6, 2)), block=8)
    kept = refined(motion, picture, picture + 2)
    assert kept.block == 8
    assert np.array_equal(kept.qpel[motion.valid], motion.qpel[motion.valid])


def test_without_kernels_the_codec_s_word_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, 'library', lambda: None)
    motion = MotionField.identity((32, 48), block=8)
    assert refined(motion, np.zeros((32, 48, 3), np.uint8), np.full((32, 48, 3), 255, np.uint8)) is motion


def test_pictures_of_another_size_are_refused() -> None:
    motion, picture = MotionField.identity((32, 48)), np.zeros((32, 48, 3), np.uint8)
    with pytest.raises(ValueError, match=r'uint8 \(32, 48, 3\)'):
        refined(motion, picture, picture[:16])
    with pytest.raises(ValueError, match='float32'):
        refined(motion, picture.astype(np.float32), picture)
