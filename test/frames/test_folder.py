"""FolderSource on images that are made here."""

from __future__ import annotations

import time

import av
import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import open_source

pytestmark = pytest.mark.timeout(30)


def save(path, value: int, size=(20, 30), pix_fmt='rgb24') -> None:
    image = np.full((*size, 3), value, np.uint8)
    av.VideoFrame.from_ndarray(image, format='rgb24').reformat(format=pix_fmt).save(str(path))


def test_natural_order_rate_and_loop(tmp_path):
    for number in (1, 2, 10, 9):
        save(tmp_path / f'frame{number}.png', number * 10)
    (tmp_path / 'notes.txt').write_text('not an image')
    with open_source(str(tmp_path), pace='fast', rate=20.0) as source:
        assert source.size == (20, 30) and source.rate == 20.0
        frames = list(source)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 20, 90, 100]
    assert np.allclose(np.diff([frame.stamp_ns for frame in frames]) / 1e9, 0.05)
    with open_source(str(tmp_path), pace='fast', loop=True) as source:
        frames = [source.read() for _ in range(9)]
    assert [frame.sequence for frame in frames] == list(range(9)) and int(frames[8].image[0, 0, 0]) == 10


def test_own_pace_leaves_out_what_is_overdue(tmp_path):
    for number in range(10):
        save(tmp_path / f'{number}.png', number)
    with open_source(str(tmp_path), rate=20.0) as source:
        sequences, start = [], time.monotonic()
        for frame in source:
            assert int(frame.image[0, 0, 0]) == frame.sequence
            assert time.monotonic() - start > (frame.sequence - sequences[0] if sequences else 0) / 20 - 0.01
            sequences.append(frame.sequence)
            time.sleep(0.11)
    assert sequences[0] == 0 and sequences[-1] == 9 and len(sequences) <= 6


def test_gray_and_jpeg(tmp_path):
    save(tmp_path / 'a.jpg', 200, pix_fmt='yuvj420p')
    save(tmp_path / 'b.png', 100, pix_fmt='gray')
    with open_source(str(tmp_path), pace='fast') as source:
        first, second = list(source)
    assert np.abs(first.image.astype(int) - 200).max() <= 3 and np.abs(second.image.astype(int) - 100).max() <= 3


def test_mixed_sizes_are_refused_unless_scaled(tmp_path):
    save(tmp_path / 'a.png', 1)
    save(tmp_path / 'b.png', 2, size=(40, 30))
    with open_source(str(tmp_path), pace='fast') as source, pytest.raises(InputError, match='30x40 but a.png is 30x20'):
        list(source)
    with open_source(str(tmp_path), pace='fast', size=(10, 10)) as source:
        assert [frame.image.shape for frame in source] == [(10, 10, 3)] * 2


def test_empty_folders_and_broken_images_are_named(tmp_path):
    with pytest.raises(InputError, match='holds no images'):
        open_source(str(tmp_path))
    (tmp_path / 'fake.png').write_text('no image')
    with pytest.raises(InputError, match='fake.png'):
        open_source(str(tmp_path))
    save(tmp_path / 'a.png', 1)
    with pytest.raises(InputError, match='no motion vectors'):
        open_source(str(tmp_path), own_vectors=True)
