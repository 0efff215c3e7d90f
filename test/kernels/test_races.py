"""Every kernel once or twice, as small as it goes: what runs under ThreadSanitizer (`make test-kernels`).

There each thread of a block is a thread that only barriers and the ends of kernels order, so that two accesses without
one between them are seen, whatever numbers they give.
"""

from __future__ import annotations

import csv

import numpy as np
import torch
import torch.nn.functional as F
from emulated import SOURCES, THREADS, EmulatedDevice, launch
from plans import traced
from sparse_nets import integers
from sparse_scenes import field, picture
from torch import nn

from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.sparse.backends.cuda import CudaEngine
from dedelayed_ros.sparse.backends.reference import ReferenceEngine
from dedelayed_ros.sparse.runtime import SparseModule

SIZE = (18, 16)
_launched: set[str] = set()


class FewBlocks(EmulatedDevice):
    """Two blocks take all the work: races between blocks, and between turns of one, show with them too."""

    def launch(self, kernel: str, blocks: tuple[int, int], *arguments: np.generic) -> None:
        super().launch(kernel, (min(2, blocks[0]), blocks[1]), *arguments)


class Everything(nn.Module):
    """Few channels and positions, every kind of operation."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 20, 1), nn.Conv2d(8, 66, 1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.expand = nn.Conv2d(2, 8, 1)

    def forward(self, image, features):
        x = self.a(image).clamp(-8, 8)
        x = x + F.interpolate(self.expand(features), size=x.shape[-2:], mode='nearest')
        y = F.interpolate(F.max_pool2d(self.depth(x), 2), size=x.shape[-2:], mode='nearest')
        z = y + y.amax((2, 3), keepdim=True)
        return torch.cat([self.b(z), self.c(x)], 1)


def run(alignment, dtype, threshold):
    example = (torch.zeros(1, 3, *SIZE), torch.zeros(1, 2, 2, 2))
    plan = traced(integers(Everything(), 1, -1, 2), example, dtype)
    levels = (0.0,) + (threshold,) * (len(plan.nodes) - 1)
    device = FewBlocks('shuffled')
    cuda = SparseModule(CudaEngine(plan, alignment, levels, device=device), (True, True))
    reference = SparseModule(ReferenceEngine(plan, alignment, levels), (True, True))
    rng = np.random.default_rng(2)
    image, features = picture(rng, 3, SIZE), picture(rng, 2, (2, 2))
    vectors = np.zeros((3, 2, 2), np.int16)
    vectors[0, :, 1] = 16
    motion = MotionField(SIZE, vectors, block=8)
    for inputs, moved in (((image, features), None), ((image.roll(4, 2), None), motion)):
        wanted, got = reference.step(*inputs, motion=moved)[0], cuda.step(*inputs, motion=moved)[0]
        assert torch.equal(got, wanted)
    _launched.update(device.launched)


def test_float32_and_exact_alignment():
    run(Alignment('sticky'), torch.float32, 1.0)


def test_float16_and_tolerant_alignment():
    run(Alignment('calibrated', remainder=0.25, spread=0.3), torch.float16, 1.0)


def test_masks():
    random = np.random.default_rng(1)
    logits = random.standard_normal((3, 4, 5)).astype(np.float32)
    mask, level = np.empty((8, 9), np.uint8), np.empty((8, 9), np.uint8)
    palette, image = (random.integers(0, 256, shape, dtype=np.uint8) for shape in ((256, 3), (8, 9, 3)))
    colours, overlay = np.empty_like(image), np.empty_like(image)
    arguments = [logits, *map(np.int32, (3, 20, 5, 1, 4, 5, 8, 9)), mask, level, palette, colours, image, overlay]
    launch('render', (2,), THREADS, [*arguments, np.uint32(99)])
    launch('paint', (2,), THREADS, [mask, np.int32(72), palette, colours, image, overlay, np.uint32(99)])
    _launched.update(('render', 'paint'))


def test_motion_and_features():
    rng = np.random.default_rng(3)
    motion = field(rng, (32, 24), 8)
    valid = motion.valid.astype(np.uint8)
    out, out_valid = np.empty_like(motion.qpel), np.empty_like(valid)
    arguments = [motion.qpel, valid, motion.qpel, valid, out, out_valid, *map(np.int32, (32, 24, 8))]
    launch('compose', (2,), THREADS, arguments)
    whole, scales = rng.integers(-9, 9, (2, 4, 3), dtype=np.int8), np.ones(2, np.float32)
    for name, dtype in (('features_f32', np.float32), ('features_f16', np.float16)):
        carried = np.empty(whole.shape, dtype)
        arguments = [whole, scales, motion.qpel, valid, *map(np.int32, (3, 8, 8)), np.uint64(0), carried]
        launch(name, (2,), THREADS, [*arguments, *map(np.int32, whole.shape)])
        _launched.add(name)
    _launched.add('compose')


def test_no_kernel_is_left_out():
    with (SOURCES / 'budget.csv').open() as file:
        names = {row['kernel'] for row in csv.DictReader(file)}
    assert names - _launched == set()
