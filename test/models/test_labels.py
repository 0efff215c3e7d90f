from __future__ import annotations

import numpy as np

from dedelayed_ros.models import CITYSCAPES, UNLABELLED


def test_cityscapes_has_its_19_classes_in_the_order_of_train_ids() -> None:
    assert len(CITYSCAPES) == 19
    assert CITYSCAPES.names[0] == 'road'
    assert CITYSCAPES.names[10] == 'sky'
    assert CITYSCAPES.names[18] == 'bicycle'


def test_every_class_has_its_own_colour_and_unlabelled_is_black() -> None:
    palette = CITYSCAPES.palette
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert len({tuple(colour) for colour in palette[:19]}) == 19
    assert (palette[UNLABELLED] == 0).all()
    assert palette[:19].any(axis=1).all()
