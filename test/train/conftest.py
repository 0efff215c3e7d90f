"""A cache of two tiny clips of each kind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dedelayed_ros.train.footage import clip_folder

sys.path.insert(0, str(Path(__file__).parent))

from tiny_clips import tiny_footage, write_clip


@pytest.fixture(scope='session')
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp('footage')
    for name in ('stills', 'clips', 'validation'):
        config = tiny_footage(name)
        for seed in (0, 1):
            write_clip(clip_folder(cache, config, seed), seed)
    return cache
