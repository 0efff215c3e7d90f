"""What an end would compute, estimated: right at full size, and cheap and nearly right at a quarter of it."""

from __future__ import annotations

import numpy as np
import pytest

from dedelayed_ros.offload import Novelty

SIZE = (64, 96)


@pytest.mark.parametrize('bound', [0, 12])
def test_a_quarter_of_the_size_tells_much_the_same(footage, bound) -> None:
    full, small = Novelty(SIZE, bound=bound), Novelty(SIZE, bound=bound, shrink=4)
    pairs = []
    for number, frame in enumerate(footage[:40]):
        for novelty in (full, small):
            novelty.observe(frame.motion)
        pairs.append((full.expected(frame.picture), small.expected(frame.picture)))
        if number % 2 == 0:
            full.remember(frame.picture)
            small.remember(frame.picture)
    found = np.array(pairs)
    assert found[0].tolist() == [1.0, 1.0]
    assert np.abs(found[:, 0] - found[:, 1]).mean() < 0.15


def test_what_is_not_known_is_new(footage) -> None:
    novelty = Novelty(SIZE, bound=8, shrink=4)
    novelty.observe(footage[0].motion)
    novelty.remember(footage[0].picture)
    assert novelty.expected(footage[0].picture) == 0.0
    novelty.observe(None)
    assert novelty.expected(footage[0].picture) == 1.0
    novelty.remember(footage[0].picture)
    novelty.lose()
    assert novelty.expected(footage[0].picture) == 1.0


def test_how_far_estimates_are_off_is_learned_and_unlearned(footage) -> None:
    novelty = Novelty(SIZE, bound=8, shrink=4)
    novelty.remember(footage[0].picture)
    changed = footage[0].picture.copy()
    changed[:16] = 255 - changed[:16]
    first = novelty.expected(changed)
    assert 0.1 < first < 0.4
    for _ in range(40):
        novelty.learn(novelty.expected(changed), min(1.0, 2 * first))
    assert novelty.expected(changed) == pytest.approx(2 * first, rel=0.05)
    for _ in range(40):
        novelty.learn(novelty.expected(changed), first)
    assert novelty.expected(changed) == pytest.approx(first, rel=0.05)
