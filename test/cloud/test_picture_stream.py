"""An offloaded stream of H.264 at the server: masks of the decoded pictures, whatever gets lost on the way."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tiny import Small, wait_until

from dedelayed_ros import masks
from dedelayed_ros.cloud.inbox import Wires
from dedelayed_ros.cloud.picture_stream import PictureStream
from dedelayed_ros.cloud.stream import CloudStream
from dedelayed_ros.frames import EncodedPicture, EncoderSettings, H264Decoder, H264Encoder
from dedelayed_ros.link import (
    AskUp,
    Code,
    FrameUp,
    Hello,
    MaskDown,
    Notice,
    OffloadHello,
    PlainFormat,
    unpack,
    unpack_mask,
)
from dedelayed_ros.offload import OffloadModel

pytestmark = pytest.mark.timeout(120)
SIZE = (64, 96)
HELLO = OffloadHello('small', '', '', 4, SIZE, SIZE, 25.0, SIZE, session=5)
WORKER = 9


@pytest.fixture(scope='module')
def model() -> OffloadModel:
    return OffloadModel(Small().eval())


def picture_of(number: int) -> np.ndarray:
    """uint8 [64, 96, 3]: a texture that moves, and another one from the fiftieth frame on."""
    coarse = np.random.default_rng(number // 50).integers(0, 256, (12, 40, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)
    return np.ascontiguousarray(texture[: SIZE[0], (start := 3 * (number % 50)) : start + SIZE[1]])


class Robot:
    """Sends what a camera encodes, and makes the key frames that the server asks for."""

    def __init__(self, model: OffloadModel) -> None:
        self._encoder = H264Encoder(EncoderSettings(size=SIZE, rate=25, bitrate_kbps=900))
        self._decoder = H264Decoder()  # of all that is encoded: the picture that a server in step has
        self._model = model
        self._previous = 0
        self.posted: list[MaskDown | Notice] = []
        self.sibling: CloudStream | None = None
        self.renew()

    def renew(self) -> None:
        """Another server."""
        self.stream = PictureStream(HELLO, Wires('r/c/offload', WORKER, self._sent, lambda: None, lambda: self.sibling))
        assert self.stream.waiting(), 'for its model'
        self.stream.prepare(lambda hello: self._model.endpoint(hello.input_size))
        assert not self.stream.waiting()

    def _sent(self, data: bytes, urgent: bool) -> None:
        record = unpack(data)
        assert isinstance(record, (MaskDown, Notice))
        self.posted.append(record)

    def encode(self, number: int, *, answer: bool, keyframe: bool = False) -> tuple[bytes, np.ndarray, EncodedPicture]:
        """A record, and the picture that it decodes to."""
        coded = self._encoder.encode(picture_of(number), keyframe=keyframe)
        reference = number if coded.keyframe else self._previous
        self._previous = number
        record = FrameUp(
            number, reference, number, 1, 0.0, coded.keyframe, SIZE[1], SIZE[0], coded.data, 5, WORKER, answer
        )
        return record.pack(), self._decoder.decode(coded.data, SIZE), coded

    def deliver(self, data: bytes) -> list[MaskDown | Notice]:
        """What the server has to say to a record."""
        self.posted = []
        frame, refused = unpack(data), self._refused()
        assert isinstance(frame, FrameUp)
        self.stream.offer(data)
        wait_until(lambda: self.posted and (self._refused() > refused or self.stream.waiting() or not frame.answer))
        if job := self.stream.take():
            self.stream.answer(job, lambda hello: self._model.endpoint(hello.input_size))
        return self.posted

    def _refused(self) -> int:
        return sum(self.stream.counts[why] for why in ('undecodable', 'old', 'damaged'))

    def expected(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, _ = self._model.endpoint(SIZE).infer(picture)
        return masks.render(logits, SIZE)


def masks_of(posted: list[MaskDown | Notice]) -> list[MaskDown]:
    return [record for record in posted if isinstance(record, MaskDown)]


def test_masks_are_those_of_the_decoded_pictures_through_loss_reorder_and_a_restart(model) -> None:
    robot, fate = Robot(model), random.Random(7)
    in_step, wanted, answered, keyframes, losses, late = False, False, 0, 0, 0, None
    for number in range(120):
        answer = fate.random() < 0.7
        data, picture, coded = robot.encode(number, answer=answer, keyframe=wanted)
        keyframes += coded.keyframe
        wanted = False
        if number == 60:
            robot.stream.close()
            robot.renew()
            in_step = False
        draw = fate.random()
        if draw < 0.04 and in_step:
            in_step, losses = False, losses + 1  # lost
            continue
        if draw < 0.08 and in_step:
            in_step, losses, late = False, losses + 1, data  # comes after the next one
            continue
        in_step = in_step or coded.keyframe
        posted = robot.deliver(data)
        if late is not None:
            assert masks_of(robot.deliver(late)) == []
            late = None
        found = masks_of(posted)
        assert bool(found) == (answer and in_step), number
        for mask in found:
            got, confidence = unpack_mask(mask.data, SIZE)
            expected, sure = robot.expected(picture)
            assert np.array_equal(got, expected), number
            assert np.array_equal(confidence, sure), number
            answered += 1
        if not in_step:
            wanted = True  # the link does this at the server's word
            codes = {p.code for p in posted if isinstance(p, Notice)}
            assert codes <= {Code.NEED_KEYFRAME, Code.ACK}
    assert answered > 50
    assert losses > 3
    assert keyframes == 1 + losses + 1, 'one key frame puts both in step again, and no more are needed'
    robot.stream.close()


def test_frames_that_are_not_wanted_are_decoded_and_not_computed(model) -> None:
    robot = Robot(model)
    ratios = []
    for number in range(12):
        data, picture, _ = robot.encode(number, answer=number % 4 == 0)
        found = masks_of(robot.deliver(data))
        assert len(found) == (number % 4 == 0)
        ratios += [mask.recompute_ratio for mask in found]
        if found:
            assert np.array_equal(unpack_mask(found[0].data, SIZE)[0], robot.expected(picture)[0])
    assert robot.stream.counts['answered'] == 3
    assert ratios[0] == 1.0
    robot.stream.close()


def test_an_evicted_stream_goes_on_without_a_key_frame(model) -> None:
    robot = Robot(model)
    robot.deliver(robot.encode(0, answer=True)[0])
    robot.stream.evict('for the test')
    assert robot.stream.state_bytes == 0
    data, picture, coded = robot.encode(1, answer=True)
    assert not coded.keyframe
    (mask,) = masks_of(robot.deliver(data))
    assert mask.recompute_ratio == 1.0
    assert np.array_equal(unpack_mask(mask.data, SIZE)[0], robot.expected(picture)[0])
    robot.stream.close()


def test_frames_wait_in_order_and_only_a_flood_passes_some_over(model) -> None:
    robot = Robot(model)
    for number in range(11):
        robot.stream.offer(robot.encode(number, answer=True)[0])
    wait_until(lambda: robot.stream.counts['passed over'] == 3)
    answered = []
    while job := robot.stream.take():
        robot.posted = []
        robot.stream.answer(job, lambda hello: model.endpoint(SIZE))
        (mask,) = masks_of(robot.posted)
        answered.append(mask.sequence)
    assert answered == list(range(3, 11))
    robot.stream.close()


def test_a_damaged_picture_is_no_picture(model) -> None:
    robot = Robot(model)
    robot.deliver(robot.encode(0, answer=True)[0])
    _, _, coded = robot.encode(1, answer=True)
    broken = FrameUp(1, 0, 1, 1, 0.0, False, SIZE[1], SIZE[0], coded.data[:20], 5, WORKER)
    posted = robot.deliver(broken.pack())
    assert masks_of(posted) == []
    wait_until(lambda: Code.NEED_KEYFRAME in {p.code for p in posted if isinstance(p, Notice)})
    assert not robot.stream.waiting()
    posted = robot.deliver(robot.encode(2, answer=True)[0])
    assert masks_of(posted) == [], 'what builds on it is no picture either'
    data, picture, _ = robot.encode(3, answer=True, keyframe=True)
    (mask,) = masks_of(robot.deliver(data))
    assert np.array_equal(unpack_mask(mask.data, SIZE)[0], robot.expected(picture)[0])
    robot.stream.close()


def test_motion_between_pictures_that_come_either_way_is_not_known(model) -> None:
    robot = Robot(model)
    hello = Hello('tiny', '', 19, (3, 4, 6), SIZE, SIZE, 25.0, session=5)
    robot.sibling = CloudStream(hello, Wires('r/c', WORKER, lambda data, urgent: None, lambda: None), PlainFormat())
    ratios = []
    for number, way in enumerate(('', 'sent', 'sent', 'asked', 'asked', 'sent', 'sent', '', 'asked', '', 'asked')):
        data, picture, _ = robot.encode(number, answer=way == 'sent')
        robot.posted = []
        robot.stream.offer(data)
        robot.sibling.offer(data)
        wait_until(lambda number=number: robot.sibling.received == robot.stream.received == number)
        if way:
            if way == 'asked':
                robot.stream.offer(AskUp(number, number, 1, 5, WORKER).pack())
            wait_until(robot.stream.waiting)
            robot.stream.answer(robot.stream.take(), lambda hello: model.endpoint(SIZE))
            (mask,) = masks_of(robot.posted)
            assert np.array_equal(unpack_mask(mask.data, SIZE)[0], robot.expected(picture)[0]), number
            ratios.append(mask.recompute_ratio)
        else:
            wait_until(lambda: robot.sibling.in_step)
            robot.stream.offer(AskUp(0, 0, 1, 5, WORKER, answer=False).pack())
            wait_until(lambda: Code.SHARED in {record.code for record in robot.posted if isinstance(record, Notice)})
    assert [ratio == 1.0 for ratio in ratios] == [True, False, True, False, True, False, True, False]
    for stream in (robot.stream, robot.sibling):
        stream.close()
