"""Memory belongs to a stream: nothing leaks between streams, out of a failed step, or out of a poisoned frame."""

from __future__ import annotations

import threading

import pytest
import torch
from sparse_nets import DeepLab, Fused, integers
from sparse_scenes import scenes
from torch import nn

from dedelayed_ros import native, sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import MotionField
from dedelayed_ros.sparse.cache import remapped
from dedelayed_ros.sparse.motion import displacement

SIZE = (32, 48)


@pytest.fixture(scope='module')
def module():
    return sparse.compile(integers(DeepLab(), 1, -1, 2), (torch.zeros(1, 3, *SIZE),))


def test_two_streams_do_not_know_of_each_other(module):
    clips = [list(scenes(seed, 3, SIZE, frames=8)) for seed in (1, 2)]
    alone = []
    for clip in clips:
        stream = module.fork()
        alone.append([stream.step(image, motion=motion) for image, motion in clip])
    together = [module.fork(), module.fork()]
    for n in range(8):
        for stream, clip, wanted in zip(together, clips, alone, strict=True):
            got, stats = stream.step(clip[n][0], motion=clip[n][1])
            assert torch.equal(got, wanted[n][0])
            assert stats.compute_ratio == wanted[n][1].compute_ratio


def test_a_result_is_the_callers_unless_it_is_read_in_place(module):
    clip = list(scenes(4, 3, SIZE, frames=6))
    stream, reader = module.fork(), module.fork()
    owned = []
    for image, motion in clip:
        owned.append(stream.step(image, motion=motion)[0])
        assert torch.equal(reader.step(image, motion=motion, copy=False)[0], owned[-1])
    again = module.fork()
    assert all(
        torch.equal(kept, again.step(image, motion=motion)[0])
        for kept, (image, motion) in zip(owned, clip, strict=True)
    )


@pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')
def test_the_kernels_results_are_read_where_they_are(module):
    reader, still = module.fork(), MotionField.identity(SIZE)
    (first, _), (second, _) = scenes(4, 3, SIZE, frames=2)
    before, _ = reader.step(first, motion=still, copy=False)
    now, _ = reader.step(second, motion=still, copy=False)
    assert torch.equal(before, now), 'the same memory: what was read before is gone'


def test_streams_in_threads(module):
    clip = list(scenes(3, 3, SIZE, frames=6))
    stream = module.fork()
    wanted = [stream.step(image, motion=motion)[0] for image, motion in clip]
    wrong = []

    def run():
        stream = module.fork()
        for (image, motion), value in zip(clip, wanted, strict=True):
            if not torch.equal(stream.step(image, motion=motion)[0], value):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_forks_share_weights_and_start_empty(module):
    fork = module.fork()
    assert fork.plan is module.plan
    assert fork.state_bytes == 0
    fork.step(torch.zeros(1, 3, *SIZE))
    assert fork.state_bytes > 4 * 3 * SIZE[0] * SIZE[1]


def test_reset_forgets(module):
    stream = module.fork()
    image = torch.ones(1, 3, *SIZE)
    stream.step(image)
    stream.reset()
    assert stream.state_bytes == 0
    _, stats = stream.step(image, motion=MotionField.identity(SIZE))
    assert stats.dense and stats.compute_ratio == 1


def test_a_failed_step_changes_nothing(module):
    stream = module.fork()
    image = torch.ones(1, 3, *SIZE)
    wanted, _ = stream.step(image)
    with pytest.raises(InputError, match='compiled for'):
        stream.step(torch.zeros(1, 3, 16, 16))
    with pytest.raises(InputError, match='resized'):
        stream.step(image * 2, motion=MotionField.identity((16, 16)))
    with pytest.raises(InputError, match='frame cannot be None'):
        stream.step(None)
    with pytest.raises(InputError, match='2 inputs'):
        stream.step(image, image)
    with pytest.raises(InputError, match='floating point'):
        stream.step(image.to(torch.uint8))
    got, stats = stream.step(image, motion=MotionField.identity(SIZE))
    assert torch.equal(got, wanted) and stats.compute_ratio == 0


def test_what_is_given_and_returned_may_be_written_to(module):
    stream, model = module.fork(), integers(DeepLab(), 1, -1, 2)
    image = torch.ones(1, 3, *SIZE)
    for _ in range(3):
        out, _ = stream.step(image, motion=MotionField.identity(SIZE))
        assert torch.equal(out, model(image))
        out.fill_(torch.nan)
        image += 1


def test_a_poisoned_frame_is_forgotten(module):
    stream, model = module.fork(), integers(DeepLab(), 1, -1, 2)
    image = torch.ones(1, 3, *SIZE)
    stream.step(image)
    poisoned = image.clone()
    poisoned[..., 10, 10] = torch.nan
    out, _ = stream.step(poisoned, motion=MotionField.identity(SIZE))
    assert out.isnan().any()
    out, _ = stream.step(image, motion=MotionField.identity(SIZE))
    assert torch.equal(out, model(image))


def test_a_position_without_a_source_is_poisoned():
    value = torch.ones(1, 2, 4, 4)
    cells = torch.zeros(2, 4, 4, dtype=torch.int64)
    cells[0] = 1
    moved = displacement(cells, torch.ones(4, 4, dtype=torch.bool))
    found = remapped(value, moved)
    assert found[..., 0, :].isnan().all() and not found[..., 1:, :].isnan().any()


def test_an_argument_that_was_none_stays_none():
    model = integers(Fused(), 1, -1, 2)
    module = sparse.compile(model, (torch.zeros(1, 3, *SIZE), None, None))
    image = torch.ones(1, 3, *SIZE)
    out, _ = module.step(image, None, None)
    assert torch.equal(out, model(image))
    with pytest.raises(InputError, match='stay None'):
        module.step(image, torch.zeros(1, 2, 4, 6), None)


def test_weights_are_those_of_the_time_of_compiling():
    conv = nn.Conv2d(1, 1, 1, bias=False).eval()
    conv.weight.data.fill_(2.0)
    image = torch.ones(1, 1, 4, 4)
    module = sparse.compile(conv, (image,))
    conv.weight.data.fill_(5.0)
    assert torch.equal(module.step(image)[0], image * 2)
