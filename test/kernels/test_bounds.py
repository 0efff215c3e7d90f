"""The bounds of scripts/bounds.py: less work is never slower, and the tables are of what ships."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from plans import traced
from torch import nn

from dedelayed_ros.models import zoo

sys.path.insert(0, str(Path(__file__).parents[2] / 'scripts'))
import bounds


def test_a_smaller_share_takes_less():
    layers = nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ConvTranspose2d(16, 4, 2, 2)
    plan = traced(nn.Sequential(*layers).eval(), (torch.zeros(1, 3, 64, 96),))
    for gpu in bounds.GPUS:
        for _, item in bounds.FORMATS:
            found = [bounds.bound_ms(gpu, bounds.work_of(plan, item, ratio), item) for ratio in bounds.RATIOS]
            totals = [total for total, _, _ in found]
            assert totals == sorted(totals) and 0 < totals[0] < totals[-1]
            assert all(0 <= memory <= total for total, memory, _ in found)
    dense = bounds.work_of(plan, 4, 1.0)
    assert sum(work.done for work in dense) == 2 * plan.macs
    assert [work.tensor for work in dense if work.done] == [True, True, False]
    assert '| transposedconv | 1 |' in '\n'.join(bounds.operations(plan))


def test_the_tables_are_of_the_models_that_ship():
    headings = [line[3:] for line in bounds.TABLES.read_text().splitlines() if line.startswith('## ')]
    assert headings == [zoo.DEFAULT, 'street-conv'], 'run `python scripts/bounds.py --write`'
