"""Remote features: one more input, with a cache that moves by whole cells."""

from __future__ import annotations

import numpy as np
import torch
from sparse_nets import Fused, integers
from sparse_scenes import shift
from torch import nn

from dedelayed_ros import sparse
from dedelayed_ros.frames import MotionField

SIZE, CELLS = (64, 96), (8, 12)


class Head(nn.Module):
    """What becomes of the features on their own; the image is only there to be the frame."""

    def __init__(self):
        super().__init__()
        self.expand, self.mix = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)
        self.image = nn.Conv2d(1, 1, 8, 8)

    def forward(self, image, features):
        return self.image(image), self.mix(self.expand(features))


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, shape)).float()


def compiled(**options):
    model = integers(Head(), 1, 1, 3)
    return model, sparse.compile(model, (torch.zeros(1, 1, *SIZE), torch.zeros(1, 2, *CELLS)), **options)


def test_a_repeated_answer_recomputes_nothing():
    _, module = compiled()
    image, features = numbers(1, 1, *SIZE), numbers(1, 2, *CELLS)
    module.step(image, features)
    _, stats = module.step(image, features, motion=MotionField.identity(SIZE))
    assert stats.compute_ratio == 0
    assert stats.layer('features').recompute_ratio == 0


def test_an_answer_shifted_by_whole_cells_recomputes_nothing_inside():
    model, module = compiled()
    big = numbers(1, 2, 24, 24)
    image = numbers(1, 1, *SIZE)
    module.step(image, big[..., 8:16, 8:20])
    got, stats = module.step(image, big[..., 8:16, 6:18], motion=shift(SIZE, 0, 16))
    assert torch.equal(got[1], model(image, big[..., 8:16, 6:18])[1])
    assert stats.layer('features').recompute_ratio == 2 / 12  # what came in
    new = module.recompute_set('mix')
    assert not new[:, 6:9].any() and new[:, :2].all()


def test_a_local_change_dirties_its_receptive_field():
    model, module = compiled()
    image, features = numbers(1, 1, *SIZE), numbers(1, 2, *CELLS)
    module.step(image, features)
    changed = features.clone()
    changed[..., 4, 5] += 1
    got, stats = module.step(image, changed, motion=MotionField.identity(SIZE))
    assert torch.equal(got[1], model(image, changed)[1])
    assert [round(stats.layer(n).compute_ratio * 96) for n in ('expand', 'mix')] == [9, 25]
    assert stats.layer('image').compute_ratio == 0


def test_motion_of_less_than_a_cell_is_kept_and_adds_up():
    """Four steps of 2 pixels are one cell: an answer that has moved by one is then recognised, and not before."""
    _, module = compiled()
    big = numbers(1, 2, 24, 24)
    image = numbers(1, 1, *SIZE)
    here, there = big[..., 8:16, 8:20], big[..., 8:16, 7:19]
    module.step(image, here)
    ratios = []
    for n in range(1, 5):
        _, stats = module.step(image, here if n < 4 else there, motion=shift(SIZE, 0, 2))
        ratios.append(stats.layer('features').recompute_ratio)
    # After the third step 6 of 8 pixels have been gone: the nearest whole cell is the next one already.
    assert ratios[:2] == [0, 0] and ratios[2] > 0.5
    module.reset()
    module.step(image, here)
    for _ in range(1, 3):
        module.step(image, here, motion=shift(SIZE, 0, 2))
    _, stats = module.step(image, there, motion=shift(SIZE, 0, 4))
    assert stats.layer('features').recompute_ratio == 1 / 12


def test_no_new_answer_carries_the_old_one():
    model, module = compiled()
    image = numbers(1, 1, *SIZE)
    columns = torch.arange(12.0)
    features = (columns + 100).expand(1, 2, *CELLS)
    module.step(image, features)
    for step in range(1, 9):
        got, _ = module.step(image, None, motion=shift(SIZE, 0, 3))
        held = module.held('features')
        assert torch.equal(got[1], model(image, held)[1])
        # Every value is within half a cell of where it belongs; what nothing came to is zero.
        gone = step * 3 / 8
        belongs = held - 100 + gone
        assert ((belongs - columns).abs() <= 0.5)[held > 0].all()
        assert (held > 0)[..., round(gone + 1) :].all() and (held > 0).any()


def test_no_answer_yet_is_zeros():
    model, module = compiled()
    image = numbers(1, 1, *SIZE)
    got, stats = module.step(image, None)
    assert stats.dense and torch.equal(got[1], model(image, torch.zeros(1, 2, *CELLS))[1])


def test_threshold_of_the_features():
    _, module = compiled(thresholds={'features': 0.5})
    image, features = numbers(1, 1, *SIZE), numbers(1, 2, *CELLS)
    module.step(image, features)
    changed = features + 0.25
    changed[..., 2, 2] += 1
    _, stats = module.step(image, changed, motion=MotionField.identity(SIZE))
    assert stats.layer('features').recompute_ratio == 1 / 96


def test_a_new_answer_does_not_touch_what_comes_before_it():
    """In the fused model only what follows the sum depends on the features."""
    model = integers(Fused(), 1, 1, 3)
    image, features = numbers(1, 3, *SIZE), numbers(1, 2, *CELLS)
    module = sparse.compile(model, (image, features))
    module.step(image, features)
    _, stats = module.step(image, features + 1, motion=MotionField.identity(SIZE))
    assert all(x.compute_ratio == 0 for x in stats.layers if x.name.startswith('stem'))
    assert stats.layer('expand').compute_ratio == 1
    assert 0 < stats.compute_ratio < 0.5
