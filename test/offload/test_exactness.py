"""An offloaded frame equals the edge's, bit for bit, whatever gets lost; and one dense frame is what it takes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dedelayed_ros.frames import MotionField
from dedelayed_ros.link import ShardUp, unpack
from dedelayed_ros.offload import Novelty, OffloadModel, OutOfStep, Receiver, Sender
from dedelayed_ros.reuse import Attempts

SIZE = (64, 96)


class Server:
    """A server's end of one stream; answers with logits, or with None where it asks for a dense frame."""

    def __init__(self, model: OffloadModel) -> None:
        self.receiver, self.endpoint = Receiver(SIZE), model.endpoint(SIZE)
        self.newest = -1

    def take(self, data: bytes) -> torch.Tensor | None:
        record = unpack(data)
        assert isinstance(record, ShardUp)
        if record.sequence <= self.newest:
            return None
        self.newest = record.sequence
        try:
            picture, motion = self.receiver.take(record)
        except OutOfStep:
            self.endpoint.reset()
            return None
        self.endpoint.observe(motion)
        return self.endpoint.infer(picture)[0]


def test_offloaded_frames_equal_the_edges_through_loss_reorder_and_a_restart(footage, model) -> None:
    alone, edge, server = model.endpoint(SIZE), model.endpoint(SIZE), Server(model)
    sender, fate = Sender(SIZE), random.Random(3)
    late: bytes | None = None
    offloaded = dense = misses = 0
    reused: list[float] = []
    for sequence, frame in enumerate(footage):
        for end in (alone, edge, sender):
            end.observe(frame.motion)
        expected, _ = alone.infer(frame.picture)
        if sequence == 100:
            server = Server(model)
        result = None
        if fate.random() < 0.75:
            plan = sender.plan(frame.picture)
            dense += plan.dense
            packed = sender.pack(plan, sequence=sequence, stamp_ns=sequence).pack()
            draw = fate.random()
            if draw < 0.04:
                answer = None  # lost on the way
            elif draw < 0.08:
                answer, late = None, packed  # overtaken by the next one
            else:
                answer = server.take(packed)
                if late is not None:
                    assert server.take(late) is None
                    late = None
            if answer is None:
                misses += 1
                if draw >= 0.08:
                    sender.reset()  # the server said so
            else:
                offloaded += 1
                result = answer
        if result is None:
            result, stats = edge.infer(frame.picture)
            reused.append(stats.recompute_ratio)
        assert torch.equal(result, expected), sequence
    assert offloaded > 100
    assert len(reused) > 40
    assert misses > 8
    # The first frame, scene cuts, the restart, and one for each loss or overtaking; not one more.
    cuts = sum(frame.motion is None for frame in footage)
    assert dense <= 2 + cuts + misses


def test_a_frame_in_step_is_not_sent_whole(footage) -> None:
    sender, receiver = Sender(SIZE, bound=8), Receiver(SIZE)
    sizes = []
    for sequence, frame in enumerate(footage[:20]):
        sender.observe(frame.motion)
        record = sender.pack(sender.plan(frame.picture), sequence=sequence, stamp_ns=0)
        receiver.take(record)
        sizes.append(len(record.data))
    assert np.mean(sizes[1:]) < 0.7 * sizes[0]


def test_the_expected_ratio_is_the_engines(footage, model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it tries."""
    monkeypatch.setattr(Attempts, 'due', lambda self: True)
    edge, novelty, sender = model.endpoint(SIZE), Novelty(SIZE), Sender(SIZE)
    assert novelty.expected(footage[0].picture) == 1.0
    for sequence, frame in enumerate(footage[:12]):
        for end in (edge, novelty, sender):
            end.observe(frame.motion)
        expected = novelty.expected(frame.picture)
        plan = sender.plan(frame.picture)
        if sequence % 3 == 0:
            _, stats = edge.infer(frame.picture)
            novelty.remember(frame.picture)
            assert stats.recompute_ratio == pytest.approx(expected, abs=1e-6)
            assert plan.ratio == pytest.approx(expected, abs=1e-6)
            sender.pack(plan, sequence=sequence, stamp_ns=0)


def test_an_end_stops_looking_for_what_is_never_there(model) -> None:
    """Two attempts that leave nothing to reuse, then one frame in full, one attempt, two frames, one attempt, four."""
    end, rng = model.endpoint(SIZE), np.random.default_rng(0)
    tried = []
    for number in range(12):
        if number:
            end.observe(MotionField.identity(SIZE))
        _, stats = end.infer(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        tried.append(not stats.dense)
    assert [number for number, attempt in enumerate(tried) if attempt] == [1, 2, 4, 7]


@pytest.mark.parametrize('bound', [3, 12])
def test_within_a_bound_nothing_drifts(footage, bound) -> None:
    sender, receiver = Sender(SIZE, bound=bound), Receiver(SIZE)
    sizes = []
    for sequence, frame in enumerate(footage[:40]):
        sender.observe(frame.motion)
        record = sender.pack(sender.plan(frame.picture), sequence=sequence, stamp_ns=0)
        picture, _ = receiver.take(record)
        sizes.append(len(record.data))
        assert np.abs(picture.astype(int) - frame.picture).max() <= bound


def test_bytes_are_estimated_before_they_are_coded(footage) -> None:
    sender = Sender(SIZE, bound=6)
    errors = []
    for sequence, frame in enumerate(footage[:40]):
        sender.observe(frame.motion)
        plan = sender.plan(frame.picture)
        size = len(sender.pack(plan, sequence=sequence, stamp_ns=0).pack())
        if sequence > 10 and not plan.dense:
            errors.append(plan.bytes_up / size)
    assert 0.6 < np.median(errors) < 1.6


def test_a_receiver_goes_on_only_from_what_the_sender_has(footage) -> None:
    sender, receiver = Sender(SIZE), Receiver(SIZE)
    records = []
    for sequence, frame in enumerate(footage[:4]):
        sender.observe(frame.motion)
        records.append(sender.pack(sender.plan(frame.picture), sequence=sequence, stamp_ns=0))
    with pytest.raises(OutOfStep, match='builds on frame 0, and nothing is held here'):
        receiver.take(records[1])
    receiver.take(records[0])
    with pytest.raises(OutOfStep, match='builds on frame 1, frame 0 was held here'):
        receiver.take(records[2])
    with pytest.raises(OutOfStep, match='nothing is held here'):
        receiver.take(records[1])  # the replica was given up: nobody guesses
    from dataclasses import replace

    with pytest.raises(OutOfStep, match='does not come out as the robot has it'):
        receiver.take(replace(records[0], checksum=records[0].checksum ^ 1))
    assert receiver.bytes == 0
    receiver.take(records[0])
    other, other_receiver = Sender(SIZE), Receiver(SIZE)
    other.observe(footage[9].motion)
    other_receiver.take(other.pack(other.plan(footage[9].picture), sequence=0, stamp_ns=0))
    with pytest.raises(OutOfStep):
        other_receiver.take(records[1])  # the same number, another picture
