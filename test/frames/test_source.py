"""open_source: names and what they lead to."""

from __future__ import annotations

import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import DeviceSource, Source, open_source, resize


def test_prefixes_open_what_the_caller_knows():
    opened = {}

    def street(rest, **settings):
        opened.update(settings, rest=rest)
        return 'a street'

    arguments = {'loop': True, 'pace': 'fast', 'size': (8, 8), 'rate': 5.0, 'frame_id': 'c'}
    assert open_source('street:17?x=1', openers={'street': street}, **arguments) == 'a street'
    assert opened == {**arguments, 'rest': '17?x=1'}
    with pytest.raises(InputError, match="no kind of source 'street'.*v4l2:, device:"):
        open_source('street:17')


@pytest.mark.parametrize('settings', [{'pace': 'slow'}, {'rate': 0.0}, {'size': (0, 5)}])
def test_settings_are_checked(settings):
    with pytest.raises(InputError):
        open_source('device:lavfi:testsrc', **settings)


def test_sources_are_sources():
    with open_source('device:lavfi:testsrc=size=64x48:rate=50') as source:
        assert isinstance(source, Source) and isinstance(source, DeviceSource)


def test_resize_averages_and_repeats_itself():
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, ::2] = 200
    small = resize(image, (32, 48))
    assert small.shape == (32, 48, 3) and np.abs(small.astype(int) - 100).max() <= 2
    assert resize(image, (64, 96)) is image
    noise = np.random.default_rng(0).integers(0, 256, (271, 641, 3), np.uint8)
    assert np.array_equal(resize(noise, (128, 320)), resize(noise, (128, 320)))
    assert resize(noise, (542, 1282)).shape == (542, 1282, 3)
    blocks = noise[:270, :640].reshape(135, 2, 320, 2, 3).mean((1, 3))
    assert np.abs(resize(np.ascontiguousarray(noise[:270, :640]), (135, 320)) - blocks).max() <= 1
