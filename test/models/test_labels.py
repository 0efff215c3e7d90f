from __future__ import annotations

import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import CITYSCAPES, UNLABELLED, Labels


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


def test_labels_are_read_from_lines_with_or_without_colours() -> None:
    labels = Labels.read('# of the garden\nlawn\n\n  flower bed 200 10 30\npath 2\n')
    assert labels.names == ('lawn', 'flower bed', 'path 2')
    assert labels.palette[1].tolist() == [200, 10, 30]
    assert labels.palette[:3].any(axis=1).all() and not labels.palette[3:].any()
    many = Labels.read('\n'.join(f'class {n}' for n in range(150)))
    assert len({tuple(colour) for colour in many.palette[:150]}) == 150


@pytest.mark.parametrize(
    ('text', 'error'),
    [('lawn\nlawn', "'lawn' comes twice"), ('lawn 0 256 0', "'lawn' has the colour 0 256 0; expected 0 to 255")],
)
def test_labels_that_mean_nothing_are_refused(text: str, error: str) -> None:
    with pytest.raises(InputError, match=error):
        Labels.read(text)
