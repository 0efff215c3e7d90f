"""The side of the engine that talks to PyCUDA, on a driver that records: contexts, order of calls, errors."""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_driver import FakeDriver
from plans import traced
from sparse_nets import ResNetFPN, integers
from sparse_scenes import scenes, shift
from torch import nn
from torch.utils import _pytree as pytree

from dedelayed_ros import sparse
from dedelayed_ros.cli import main
from dedelayed_ros.edge import EdgePipeline, EdgeSettings
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.models import zoo
from dedelayed_ros.reuse import LocalRunner
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cuda import CudaEngine, pycuda_device
from dedelayed_ros.sparse.backends.cuda.pycuda_device import PyCudaDevice, find_cubin, open_device
from dedelayed_ros.sparse.backends.unary import Lacking
from dedelayed_ros.sparse.runtime import SparseModule

SIZE = (24, 32)


@pytest.fixture
def folder(tmp_path):
    for name in ('sm_72', 'sm_80', 'sm_86', 'sm_90'):
        (tmp_path / f'{name}.cubin').write_bytes(b'')
    return tmp_path


def without_pycuda(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    monkeypatch.setitem(sys.modules, 'pycuda.driver', None)


def module_on(driver, folder):
    model = integers(ResNetFPN(), 1, -1, 2)
    plan = traced(model, (torch.zeros(1, 3, *SIZE),), name='ResNetFPN')
    engine = CudaEngine(plan, Alignment(), (0.0,) * len(plan.nodes), device=PyCudaDevice(driver, 0, folder))
    return model, SparseModule(engine, (True,))


def test_frames_through_the_driver(folder):
    driver = FakeDriver()
    model, module = module_on(driver, folder)
    for image, motion in scenes(3, 3, SIZE, frames=4):
        before = len(driver.calls)
        got, _ = module.step(image, motion=motion)
        for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(model(image)), strict=True):
            assert torch.equal(a, b)
        names = [call[0] for call in driver.calls[before:]]
        first, last = names.index('launch'), len(names) - 1 - names[::-1].index('launch')
        assert set(names[first : last + 1]) <= {'launch', 'get_function'}, (
            'nothing waits between the first and last kernel'
        )
    assert not any(driver.stack.values()), 'every context that was pushed is popped'
    assert driver.calls[1][1].endswith('sm_86.cubin')
    assert all(call[3] == (256, 1, 1) for call in driver.calls if call[0] == 'launch')


def test_a_second_frame_allocates_nothing(folder):
    driver = FakeDriver()
    _, module = module_on(driver, folder)
    frames = list(scenes(5, 3, SIZE, frames=5))
    module.step(frames[0][0])
    module.step(frames[0][0], motion=frames[1][1])
    before = len(driver.calls)
    for image, _ in frames[1:]:
        module.step(image, motion=frames[1][1])
    assert not any(call[0] in ('mem_alloc', 'get_function') for call in driver.calls[before:])


def test_a_frame_is_one_list_of_launches(folder):
    """Not a call of the device for each kernel; the list of a frame that moves alike is not made anew."""
    driver = FakeDriver()
    _, module = module_on(driver, folder)
    image, still = torch.ones(1, 3, *SIZE), MotionField.identity(SIZE)
    module.step(image)
    for motion in (None, still, shift(SIZE, 0, 8), shift(SIZE, 8, -8)):
        calls, pushes = len(driver.calls), driver.pushes
        module.step(image, motion=motion)
        names = [call[0] for call in driver.calls[calls:]]
        launches = names.count('launch')
        assert launches > 30 and driver.pushes - pushes <= len(names) - launches + 2


def test_any_thread_may_step(folder):
    driver = FakeDriver()
    model, module = module_on(driver, folder)
    image = next(iter(scenes(4, 3, SIZE)))[0]
    found = []
    thread = threading.Thread(target=lambda: found.append(module.step(image)[0]))
    thread.start()
    thread.join()
    assert all(map(torch.equal, pytree.tree_leaves(found[0]), pytree.tree_leaves(model(image))))


@pytest.mark.parametrize(
    ('capability', 'name'),
    [((7, 2), 'sm_72'), ((8, 6), 'sm_86'), ((8, 7), 'sm_86'), ((8, 0), 'sm_80'), ((9, 0), 'sm_90')],
)
def test_the_cubin_of_the_gpu_is_taken(capability, name, folder):
    assert find_cubin(folder, capability).stem == name


def test_without_a_cubin_for_the_gpu(folder):
    with pytest.raises(Lacking, match=r'no kernels for this GPU, sm_120, .*sm_72, sm_80.*make kernels'):
        PyCudaDevice(FakeDriver((12, 0)), 0, folder)
    with pytest.raises(Lacking, match='none at all'):
        find_cubin(folder / 'nowhere', (8, 7))


def test_without_a_gpu_or_memory(folder):
    with pytest.raises(Lacking, match='GPU 0 was asked for, and the driver knows 0'):
        PyCudaDevice(FakeDriver(None), 0, folder)
    with pytest.raises(RuntimeError, match='the GPU has no 64 bytes left'):
        PyCudaDevice(FakeDriver(memory=10), 0, folder).allocate(64)
    driver = FakeDriver()
    driver.init = lambda: (_ for _ in ()).throw(FakeDriver.Error('no CUDA-capable device is detected'))
    with pytest.raises(Lacking, match='the CUDA driver refuses: no CUDA-capable device'):
        PyCudaDevice(driver, 0, folder)


def test_without_pycuda_or_its_driver(monkeypatch):
    without_pycuda(monkeypatch)
    with pytest.raises(Lacking, match='PyCUDA is not installed'):
        open_device()

    def without_libcuda(name):
        raise ImportError('libcuda.so.1: cannot open shared object file')

    monkeypatch.setattr(importlib, 'import_module', without_libcuda)
    with pytest.raises(Lacking, match=r'cannot load the CUDA driver \(libcuda'):
        open_device()


def test_backends_by_name(monkeypatch, folder):
    """'cuda' says what is missing; 'auto' goes to the CPU and says the same."""
    model, image = integers(nn.Conv2d(3, 4, 3, 2, 1)), torch.ones(1, 3, *SIZE)
    without_pycuda(monkeypatch)
    with pytest.raises(InputError, match=r"backend 'cuda' cannot run this plan: PyCUDA is not installed"):
        sparse.compile(model, (image,), backend='cuda')
    module = sparse.compile(model, (image,))
    assert module.backend in ('cpu', 'reference') and "'cuda' cannot run this plan: PyCUDA" in module.backend_reason
    monkeypatch.setattr(pycuda_device, 'open_device', lambda: PyCudaDevice(FakeDriver(), 0, Path(folder)))
    for backend in ('cuda', 'auto'):
        module = sparse.compile(model, (image,), backend=backend)
        assert module.backend == 'cuda' and not module.backend_reason
        for a, b in zip(pytree.tree_leaves(module.step(image)[0]), pytree.tree_leaves(model(image)), strict=True):
            assert torch.equal(a, b)


def test_the_benchmark_says_why_it_cannot_run(monkeypatch, capsys, tmp_path):
    without_pycuda(monkeypatch)
    words = ['bench', 'sparse', '--device', 'cuda', '--size', '64x64', '--rounds', '1', '--out', str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "backend 'cuda' cannot run this plan: PyCUDA is not installed" in said and 'Traceback' not in said
    assert not list(tmp_path.iterdir())


def test_the_pipeline_says_why_it_cannot_run(monkeypatch):
    without_pycuda(monkeypatch)
    with pytest.raises(InputError, match="backend 'cuda' cannot run this plan: PyCUDA is not installed"):
        EdgePipeline(EdgeSettings(device='cuda'), (64, 96))


def test_the_pipeline_on_a_gpu(monkeypatch, folder):
    """The robot's model through the driver: the CPU engine's logits."""
    size = (64, 96)
    options = {'fused': False, 'dtype': torch.float32, 'reuse': 'exact', 'threads': 1}
    with pytest.raises(InputError, match="device 'cuda' runs the sparse engine"):
        LocalRunner(zoo.DEFAULT, size, device='cuda', **{**options, 'reuse': 'off'})
    monkeypatch.setattr(pycuda_device, 'open_device', lambda: PyCudaDevice(FakeDriver(), 0, Path(folder)))
    cuda, cpu = (LocalRunner(zoo.DEFAULT, size, device=device, **options) for device in ('cuda', 'cpu'))
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for motion in (None, MotionField.identity(size)):
        image[20:24, 30:36] += 9
        (got, stats), (wanted, _) = (runner.step(image, None, 0.0, motion) for runner in (cuda, cpu))
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert stats.compute_ratio < 1


def test_masks_of_the_pipeline_are_made_on_the_gpu(monkeypatch, folder):
    driver = FakeDriver()
    monkeypatch.setattr(pycuda_device, 'open_device', lambda: PyCudaDevice(driver, 0, Path(folder)))
    size = (64, 96)
    settings = EdgeSettings(mode='local', device='cuda')
    gpu, cpu = (EdgePipeline(s, size) for s in (settings, replace(settings, device='cpu', dtype='float32')))
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    got, wanted = (pipeline.step(image, stamp_ns=1, sequence=1, motion=None) for pipeline in (gpu, cpu))
    assert [call[1] for call in driver.calls if call[0] == 'launch'].count('render') == 1
    assert got.mask.shape == size and (got.mask == wanted.mask).mean() > 0.999
    assert (np.abs(got.confidence.astype(int) - wanted.confidence) <= 1).mean() > 0.999
