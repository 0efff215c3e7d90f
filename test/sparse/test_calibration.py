"""Calibration: its file, its names, and the search within a budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sparse_nets import Fused, ResNetFPN, integers
from torch import nn

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.calibration import Calibration, Search, Trial, search, search_tiles, stable_names
from dedelayed_ros.sparse.graph import trace

SEARCH = Search(
    loss=0.1,
    frame='x',
    levels=(1.0, 2.0, 4.0),
    layers=(('a', (1.0, 2.0)), ('b', (1.0, 2.0))),
    tolerances=((0.0, 0.0), (0.5, 1.0)),
)


def model_of(loss, gain):
    """An engine made up of two functions: accuracy lost and work saved by a calibration."""

    def evaluate(calibration):
        return Trial(calibration, 1 - loss(calibration), 1 - gain(calibration), 1 - gain(calibration))

    return evaluate


def total(calibration, weights):
    return sum(weights.get(name, 0) * value for name, value in calibration.thresholds.items())


def run(loss, gain, plan=SEARCH):
    return search(plan, 1.0, model_of(loss, gain), lambda text: None)


def test_two_thirds_of_the_budget_go_to_the_input_and_the_rest_evenly_to_the_layers():
    """At 0.1 in all: 0.0667 for the input, and 0.0167 more with each layer."""
    weights = {'x': 0.03, 'a': 0.01, 'b': 0.01}
    best, _ = run(lambda c: total(c, weights), lambda c: 0.01 * total(c, {'x': 1, 'a': 1, 'b': 1}))
    # 4 would cost 0.12, 2 costs 0.06; then 0.0833 allow 2 for a (0.08), and 0.1 allow 2 for b (0.1).
    assert best.calibration.thresholds == {'x': 2.0, 'a': 2.0, 'b': 2.0}
    tight = run(lambda c: total(c, {**weights, 'a': 0.02}), lambda c: 0.01 * total(c, {'x': 1, 'a': 1, 'b': 1}))[0]
    assert tight.calibration.thresholds == {'x': 2.0, 'a': 1.0, 'b': 2.0}


def test_the_loss_never_exceeds_the_budget():
    for scale in (0.001, 0.01, 0.03, 0.2):
        best, trials = run(lambda c, s=scale: total(c, {'x': s, 'a': s, 'b': s}), lambda c: 0.01 * total(c, {'x': 1}))
        assert 1 - best.accuracy <= 0.1
        assert best in trials


def test_accuracy_that_does_not_fall_steadily_is_no_trap():
    """A small threshold that happens to cost much does not keep a larger one from being taken."""
    best, _ = run(lambda c: 0.5 if c.thresholds.get('x') == 1.0 else 0.0, lambda c: 0.01 * total(c, {'x': 1}))
    assert best.calibration.thresholds['x'] == 4.0


def test_what_saves_nothing_is_left_out():
    best, _ = run(lambda c: 0.0, lambda c: 0.01 * total(c, {'x': 1, 'b': 1}))
    assert best.calibration.thresholds == {'x': 4.0, 'b': 2.0}


def test_tolerances_are_chosen_with_the_inputs_threshold():
    best, _ = run(lambda c: 0.0, lambda c: 0.1 * c.remainder + 0.01 * total(c, {'x': 1}))
    assert (best.calibration.remainder, best.calibration.spread) == (0.5, 1.0)
    exact, _ = run(lambda c: 0.2 * c.remainder, lambda c: 0.1 * c.remainder + 0.01 * total(c, {'x': 1}))
    assert exact.calibration.remainder == 0


def test_nothing_within_the_budget_is_exact():
    best, _ = run(lambda c: 0.5 if c.thresholds else 0.0, lambda c: total(c, {'x': 1}))
    assert best.calibration == Calibration()


def tiles(losses, levels=(1.0, 2.0, 4.0, 8.0, 16.0)):
    """The threshold that is found for losses, a number for each part of the footage, by threshold."""
    tried = []

    def evaluate(calibration):
        (level,) = calibration.thresholds.values()
        tried.append(level)
        return Trial(calibration, 0.5, 1 / level, 1 / level), losses(level)

    best, _ = search_tiles(0.03, 'x', 32, 0.0, levels, evaluate, lambda text: None)
    return best and best.calibration.thresholds['x'], tried


def test_the_budget_of_tiles_holds_on_every_part_of_the_footage():
    assert tiles(lambda level: (0.001 * level, 0.001 * level))[0] == 16
    assert tiles(lambda level: (0.001 * level, 0.005 * level))[0] == 4
    assert tiles(lambda level: (0.1, 0.0))[0] is None
    assert search_tiles(0.03, 'x', 16, 2.0, (1.0,), lambda c: (Trial(c, 1, 1, 1), (0.0,)), lambda text: None)[
        0
    ].calibration.alignment == Alignment('tiles', tile=16, margin=2.0)


def test_one_threshold_that_happens_to_cost_too_much_is_no_trap():
    assert tiles(lambda level: (0.04 if level == 4 else 0.0,))[0] == 16
    found, tried = tiles(lambda level: (0.01 * level,))
    assert (found, tried) == (2.0, [1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize('bad', [{'loss': 0.0}, {'loss': 1.0}, {'share': 0.0}, {'share': 1.5}])
def test_budgets_are_checked(bad):
    with pytest.raises(InputError, match='expected numbers between 0 and 1'):
        Search(**{'loss': 0.1, 'frame': 'x', 'levels': (), 'layers': (), 'tolerances': (), **bad})


def test_the_file_comes_back(tmp_path: Path):
    written = Calibration(0.25, 0.5, {'x': 0.1, 'stem.add#1': 2.0}, 'abc', {'miou': 0.4})
    written.save(tmp_path / 'deep' / 'file.json')
    assert Calibration.load(tmp_path / 'deep' / 'file.json') == written
    tiled = Calibration(thresholds={'x': 0.1}, tile=16, margin=0.5)
    tiled.save(tmp_path / 'tiled.json')
    assert Calibration.load(tmp_path / 'tiled.json') == tiled
    assert tiled.alignment == Alignment('tiles', tile=16, margin=0.5)


@pytest.mark.parametrize(
    'change',
    [
        {'version': 2},
        {'thresholds': {'x': -1}},
        {'thresholds': {'x': 'much'}},
        {'thresholds': {'x': float('nan')}},
        {'remainder': 0.7},
        {'tile': 12},
        {'thresholds': None},
        {'more': 1},
    ],
)
def test_a_file_that_is_not_right_is_refused(tmp_path: Path, change):
    path = tmp_path / 'file.json'
    Calibration(0.25, 0.5, {'x': 0.1}).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match='dedelayed calibrate'):
        Calibration.load(path)
    with pytest.raises(InputError, match='cannot be used'):
        Calibration.load(tmp_path / 'nothing.json')


def test_names_do_not_depend_on_what_else_is_traced():
    """With features there is one more addition before the others; the layers that both traces have keep their names."""
    model = integers(Fused())
    image, features, age = torch.zeros(1, 3, 48, 64), torch.zeros(1, 2, 6, 8), torch.zeros(1)
    alone, fused = trace(model, (image,)), trace(model, (image, features, age))
    names = set(stable_names(alone).values())
    assert names - {'clamp'} <= set(stable_names(fused).values())
    big = trace(integers(ResNetFPN()), (image,))
    assert len(set(stable_names(big).values())) == len(big.nodes)


def test_a_calibration_sets_alignment_and_thresholds():
    model = integers(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 3)))
    image = torch.zeros(1, 1, 16, 16)
    module = sparse.compile(model, (image,), calibration=Calibration(0.5, 1.0, {'input': 2.0}))
    module.step(image)
    _, stats = module.step(image + 2, motion=MotionField.identity((16, 16)))
    assert stats.compute_ratio == 0
    _, stats = module.step(image + 2.5, motion=MotionField.identity((16, 16)))
    assert stats.compute_ratio == 1
    again = module.with_tolerance()
    again.step(image)
    assert again.step(image + 2, motion=MotionField.identity((16, 16)))[1].compute_ratio == 1
    with pytest.raises(InputError, match='none of these layers'):
        sparse.compile(model, (image,), calibration=Calibration(0, 0, {'other': 1.0}))
    with pytest.raises(InputError, match='its own alignment'):
        sparse.compile(model, (image,), calibration=Calibration(), thresholds={'0': 1.0})
