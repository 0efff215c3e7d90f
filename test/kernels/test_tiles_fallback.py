"""The CUDA kernels have no tiles: what is asked for by name is refused, what is calibrated for them runs exactly."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from emulated import EmulatedDevice
from sparse_scenes import shift
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.reuse import LocalRunner, load_calibration
from dedelayed_ros.sparse import backends
from dedelayed_ros.sparse.backends.cuda import CudaEngine

MODEL = 'street-conv'
SIZE = (32, 64)


@pytest.fixture(autouse=True)
def emulated(monkeypatch):
    """The emulated kernels in the place of a GPU's."""
    monkeypatch.setitem(backends._NATIVE, 'cuda', partial(CudaEngine, device=EmulatedDevice('forward')))


def test_tiles_are_refused_by_name():
    with pytest.raises(InputError, match="'cuda' cannot run this plan.*tiles"):
        sparse.compile(nn.Conv2d(1, 1, 3).eval(), (torch.zeros(1, 1, 16, 16),), alignment='tiles', backend='cuda')


def test_auto_takes_another_backend_and_says_why():
    image = torch.rand(1, 1, 16, 16)
    module = sparse.compile(nn.Conv2d(1, 1, 3).eval(), (image,), alignment='tiles', backend='auto')
    assert module.backend == ('reference' if native.library() is None else 'cpu')
    assert 'tiles' in module.backend_reason
    assert sparse.compile(nn.Conv2d(1, 1, 3).eval(), (image,), backend='auto').backend == 'cuda'


def runner(reuse, device):
    return LocalRunner(MODEL, SIZE, fused=False, dtype=torch.float32, reuse=reuse, threads=1, device=device)


def test_a_pipeline_that_is_calibrated_for_tiles_runs_exactly_and_says_so():
    calibration = load_calibration(MODEL)
    assert calibration is not None and calibration.tile
    cuda = runner('calibrated', 'cuda')
    assert cuda.reuse == 'exact'
    assert cuda.note == f'the CUDA kernels do not have the tiles that {MODEL} is calibrated for'
    first = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    second = np.roll(first, 32, 1)
    exact = runner('exact', 'cpu')
    for picture, motion in ((first, None), (second, shift(SIZE, 0, 32))):
        got, stats = cuda.step(picture, None, 0.0, motion)
        wanted, expected = exact.step(picture, None, 0.0, motion)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
        assert stats.compute_ratio == expected.compute_ratio
