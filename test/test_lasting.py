"""What start-up made stops no thread later on."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

from dedelayed_ros.lasting import keep_what_is_there


def test_what_is_there_is_not_looked_at_again_and_garbage_still_goes() -> None:
    class Node:
        pass

    before, there = gc.get_freeze_count(), [Node() for _ in range(1000)]
    try:
        keep_what_is_there()
        assert gc.get_freeze_count() >= before + len(there)
        one, other = Node(), Node()
        one.other, other.one = other, one
        del one, other
        assert gc.collect() >= 2
    finally:
        gc.unfreeze()


def test_what_was_kept_and_is_no_longer_used_goes_with_the_next_model() -> None:
    class Model:
        pass

    one, gone = Model(), []
    one.itself = one
    weakref.finalize(one, gone.append, True)
    try:
        keep_what_is_there()
        del one
        keep_what_is_there()
        assert gone == [True]
    finally:
        gc.unfreeze()


@pytest.mark.timeout(120)
def test_a_robot_that_runs_has_done_so(tmp_path) -> None:
    from PIL import Image

    for number in range(3):
        Image.fromarray(np.full((64, 96, 3), 50 * number, np.uint8)).save(tmp_path / f'{number}.png')
    words = ['run', str(tmp_path), '--out', str(tmp_path / 'out'), '--record-only', '--model', 'street-v1']
    code = f'import gc; from dedelayed_ros.cli import main; main({words!r}); print("frozen", gc.get_freeze_count())'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split('frozen')[-1]) > 50_000
