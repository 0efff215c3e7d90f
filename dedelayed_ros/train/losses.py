"""The segmentation loss and the mean intersection over union."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros import masks
from dedelayed_ros.models.labels import UNLABELLED


def class_weights(shares: np.ndarray, exponent: float) -> Tensor:
    """(median share / share)^exponent within 1/3 to 3, float32 [classes]; a class that does not occur weighs 1."""
    present = shares > 0
    weights = np.ones(len(shares))
    weights[present] = (np.median(shares[present]) / shares[present]) ** exponent
    return torch.from_numpy(np.clip(weights, 1 / 3, 3.0)).float()


def segmentation_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, quarter: tuple[int, int] | None = None
) -> Tensor:
    """Cross-entropy of logits [B, classes, h, w], enlarged twice, to labels [B, H, W] (uint8; 255 is ignored).

    The labels are taken at the centres of the enlarged cells; H/h and W/w must be even. ``quarter`` (row, column), each
    0 or 1: of the enlarged cells only every second one from there on, on each axis. A random one each time costs a
    quarter, and their mean is the whole.
    """
    step_h, step_w = labels.shape[-2] // logits.shape[-2] // 2, labels.shape[-1] // logits.shape[-1] // 2
    picked = labels[:, step_h // 2 :: step_h, step_w // 2 :: step_w]
    if quarter is None:
        large = F.interpolate(logits.float(), scale_factor=2, mode='bilinear', align_corners=False)
    else:
        large = _nearer(_nearer(logits.float(), -2, quarter[0]), -1, quarter[1])
        picked = picked[:, quarter[0] :: 2, quarter[1] :: 2]
    picked = picked.long()
    if not bool((picked != UNLABELLED).any()):
        return large.sum() * 0.0
    return F.cross_entropy(large, picked, weights, ignore_index=UNLABELLED)


def _nearer(maps: Tensor, axis: int, side: int) -> Tensor:
    """Maps a quarter of a cell before (0) or after (1) their cells' centres, repeating the border."""
    length = maps.shape[axis]
    ends = (maps.narrow(axis, 0, 1), maps.narrow(axis, 0, length - 1))
    if side:
        ends = (maps.narrow(axis, 1, length - 1), maps.narrow(axis, length - 1, 1))
    return torch.lerp(maps, torch.cat(ends, axis), 0.25)


class Confusion:
    """Counts of (true, predicted) class over pictures; the Cityscapes protocol's mIoU."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, logits: Tensor, labels: np.ndarray) -> None:
        """Count one picture: logits [classes, h, w], made a mask of their size as on the robot; 255 is left out."""
        mask, _ = masks.render(logits.float(), (labels.shape[0], labels.shape[1]))
        self.add_mask(mask, labels)

    def add_mask(self, mask: np.ndarray, labels: np.ndarray) -> None:
        """Count one picture whose predicted class ids are ``mask`` [H, W]."""
        classes = len(self.counts)
        known = labels != UNLABELLED
        pairs = labels[known].astype(np.int64) * classes + mask[known]
        self.counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def iou(self) -> np.ndarray:
        """float64 [classes]: intersection over union; NaN for a class that neither occurs nor is predicted."""
        return iou(self.counts)[1]

    def miou(self) -> float:
        """Mean over the classes that occur in the labels, 0–1."""
        return float(iou(self.counts)[0])


def iou(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and per-class intersection over union from counts int64 [..., classes, classes] of (true, predicted).

    The mean, float64 [...], is over the classes that occur in the labels, 0–1 (NaN: none does); each class's, float64
    [..., classes], is NaN for one that neither occurs nor is predicted.
    """
    hit = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    true = counts.sum(-1)
    union = counts.sum(-2) + true - hit
    each = np.divide(hit, union, out=np.full(hit.shape, np.nan), where=union > 0)
    occurs = true > 0
    number = occurs.sum(-1)
    total = np.where(occurs, each, 0.0).sum(-1)
    return np.divide(total, number, out=np.full(np.shape(number), np.nan), where=number > 0), each
