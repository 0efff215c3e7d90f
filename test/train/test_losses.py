from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dedelayed_ros.train.losses import Confusion, class_weights, segmentation_loss


def test_rare_classes_weigh_more_within_bounds() -> None:
    weights = class_weights(np.array([0.9, 0.05, 0.05, 1e-9, 0.0]), 0.5)
    assert weights[0] == pytest.approx(1 / 3)
    assert weights[3] == 3.0
    assert weights[4] == 1.0
    assert weights[1] == pytest.approx(1.0)


def test_a_right_answer_costs_less_than_a_wrong_one_and_255_nothing() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[..., 16:] = 255
    right = torch.zeros(1, 3, 4, 4)
    right[:, 0] = 5.0
    wrong = right.roll(1, dims=1)
    ones = torch.ones(3)
    assert segmentation_loss(right, labels, ones) < 0.1 < segmentation_loss(wrong, labels, ones)
    elsewhere = right.clone()
    elsewhere[..., 3] = wrong[..., 3]
    assert segmentation_loss(elsewhere, labels, ones) == pytest.approx(float(segmentation_loss(right, labels, ones)))


def test_the_mean_of_the_quarters_is_the_whole_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 8, requires_grad=True)
    labels = torch.randint(0, 3, (2, 32, 64), dtype=torch.uint8)
    whole = segmentation_loss(logits, labels, torch.ones(3))
    quarters = [segmentation_loss(logits, labels, torch.ones(3), (row, column)) for row in (0, 1) for column in (0, 1)]
    mean = torch.stack(quarters).mean()
    assert float(mean.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    expected, found = (torch.autograd.grad(loss, logits)[0] for loss in (whole, mean))
    torch.testing.assert_close(found, expected)
    assert len({float(quarter.detach()) for quarter in quarters}) == 4


def test_pictures_without_labels_cost_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 16, 16), 255, dtype=torch.uint8), torch.ones(3))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_labels_are_taken_where_the_logits_are() -> None:
    """A picture of two halves: only logits with the border at the same place have almost no loss."""
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[..., 32:] = 1
    logits = torch.zeros(1, 2, 16, 16)
    logits[:, 0, :, :8], logits[:, 1, :, 8:] = 20.0, 20.0
    aligned = segmentation_loss(logits, labels, torch.ones(2))
    for shift in (-1, 1):
        assert segmentation_loss(logits.roll(shift, dims=-1), labels, torch.ones(2)) > 2 * aligned


def test_labels_are_taken_at_the_centres_of_cells() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 0, :, :4], logits[:, 1, :, 4:] = 20.0, 20.0

    def loss(border: int) -> float:
        labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
        labels[..., border:] = 1
        return float(segmentation_loss(logits, labels, torch.ones(2)))

    # Enlarged twice, a cell is 4 pixels: a border that moves by half of that does not change what its centre sees.
    assert loss(30 + 1) == loss(32) == loss(34)
    assert loss(35) > loss(34)


def test_miou_of_a_hand_counted_picture() -> None:
    confusion = Confusion(3)
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 255]], np.uint8)
    mask = np.array([[0, 0, 1, 0], [0, 1, 1, 2]], np.int64)
    confusion.add_mask(mask, labels)
    iou = confusion.iou()
    assert iou[0] == pytest.approx(3 / 5)
    assert iou[1] == pytest.approx(2 / 4)
    assert math.isnan(iou[2])
    assert confusion.miou() == pytest.approx((3 / 5 + 2 / 4) / 2)
