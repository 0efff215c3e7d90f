from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from dedelayed_ros.train.optimiser import Adan, WeightAverage, warmup_stable_decay


def test_adan_follows_its_algorithm() -> None:
    """Two scalar steps, computed by hand from algorithm 1 of Xie et al. (2022)."""
    b1, b2, b3, lr, decay = 0.98, 0.92, 0.99, 0.1, 0.02
    parameter = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimiser = Adan([parameter], lr=lr, weight_decay=decay)
    x, m, v, n, previous = 1.0, 0.0, 0.0, 0.0, None
    for step, gradient in enumerate((0.5, -0.25), 1):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimiser.step()
        change = 0.0 if previous is None else gradient - previous
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * change
        n = b3 * n + (1 - b3) * (gradient + b2 * change) ** 2
        rate = lr / (math.sqrt(n / (1 - b3**step)) + 1e-8)
        x = (x - rate * (m / (1 - b1**step) + b2 * v / (1 - b2**step))) / (1 + lr * decay)
        previous = gradient
        assert float(parameter.detach()) == pytest.approx(x, rel=1e-9)


def test_adan_finds_the_bottom_of_a_narrow_valley() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimiser = Adan([parameter], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        (parameter * torch.tensor([1.0, 10.0])).square().sum().backward()
        optimiser.step()
    assert float(parameter.detach().abs().max()) < 0.05


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [warmup_stable_decay(step, 300, 50) for step in range(300)]
    assert rates[0] == pytest.approx(1 / 50)
    assert rates[49:200] == [1.0] * 151
    assert rates[-1] == pytest.approx(0.01)
    assert all(later <= earlier for earlier, later in pairwise(rates[200:]))


def test_the_average_forgets_the_start_and_follows_counters() -> None:
    model = nn.BatchNorm1d(1)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(5.0)
        model.num_batches_tracked.fill_(7)
    for step in range(200):
        average.update(model, step)
    assert float(average.state['weight']) == pytest.approx(5.0, abs=1e-4)
    assert int(average.state['num_batches_tracked']) == 7
