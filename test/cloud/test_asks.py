"""Two streams of one camera over real sessions: its pictures go up once, and masks of them are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tiny import HELLO, SIZE, Collected, Small, served, wait_until

from dedelayed_ros import masks
from dedelayed_ros.cloud import CloudServer, CloudSettings, ServedOffload
from dedelayed_ros.frames import EncodedPicture, EncoderSettings, H264Decoder, H264Encoder
from dedelayed_ros.link import AskClient, AskUp, CloudClient, LinkSettings, MaskRecord, OffloadHello, PictureClient
from dedelayed_ros.offload import OffloadModel

pytestmark = pytest.mark.timeout(60)
HELLO_OFFLOAD = OffloadHello('small', 'c0ffee', '', 4, SIZE, SIZE, 25.0, SIZE)


def picture_of(number: int, seed: int = 0) -> np.ndarray:
    """uint8 [64, 96, 3]: a texture that moves, and another one from the fortieth frame on."""
    coarse = np.random.default_rng([seed, number // 40]).integers(0, 256, (12, 40, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)
    return np.ascontiguousarray(texture[: SIZE[0], (start := 3 * (number % 40)) : start + SIZE[1]])


class Robot:
    """A camera with a stream of features and an offloaded one, whose pictures are sent or asked for."""

    def __init__(
        self,
        port: int,
        way: type[AskClient] | type[PictureClient] = AskClient,
        *,
        name: str = 'robot',
        seed: int = 0,
        hello: OffloadHello = HELLO_OFFLOAD,
    ) -> None:
        self.settings = LinkSettings(endpoint=f'127.0.0.1:{port}', robot=name)
        self.encoder = H264Encoder(EncoderSettings(size=SIZE, rate=25, bitrate_kbps=900))
        self.keyframe = False
        self.number = -1
        self.seed = seed
        self.coded: dict[int, EncodedPicture] = {}
        self.decoder = H264Decoder()  # of all that is encoded: the pictures that a server in step has
        self.decoded: dict[int, np.ndarray] = {}
        self.model = OffloadModel(Small().eval())
        self.features: CloudClient | None = None
        self.offload = way(self.settings, hello, request_keyframe=self.request_keyframe)
        self.offload.start()

    def request_keyframe(self) -> None:
        self.keyframe = True

    def fuse(self) -> None:
        """The stream of features begins."""
        got = Collected()
        self.features = CloudClient(self.settings, HELLO, got.on_features, request_keyframe=self.request_keyframe)
        self.features.start()
        wait_until(lambda: self.features.status.connected, what='features')

    def see(self, *, up: bool = True) -> int:
        """The next picture, which goes up for its features; its number."""
        self.number += 1
        wanted, self.keyframe = self.keyframe, False
        self.coded[self.number] = self.encoder.encode(picture_of(self.number, self.seed), keyframe=wanted)
        self.decoded[self.number] = self.decoder.decode(self.coded[self.number].data, SIZE)
        if up:
            self.fuse_with(self.number)
        return self.number

    def is_right(self, record: MaskRecord) -> bool:
        """Whether it is the mask of the picture that it names."""
        mask, confidence = masks.render(self.model.endpoint(SIZE).infer(self.decoded[record.sequence])[0], SIZE)
        return np.array_equal(record.mask, mask) and np.array_equal(record.confidence, confidence)

    def fuse_with(self, number: int, **changes) -> None:
        if self.features is not None:
            self.features.submit(
                replace(self.coded[number], **changes), number, self.stamp(number), self.before(number)
            )

    def stamp(self, number: int) -> int:
        return 1000 + 40 * number

    def before(self, number: int) -> int:
        return number if self.coded[number].keyframe else number - 1

    def ask(self, number: int) -> bool:
        assert isinstance(self.offload, AskClient)
        return self.offload.ask(number, self.stamp(number), len(self.coded[number].data))

    def send(self, number: int, *, answer: bool) -> bool:
        coded = self.coded[number]
        return self.offload.submit(coded, number, self.stamp(number), self.before(number), answer=answer)

    def wait(self, number: int, wait_s: float = 5.0) -> MaskRecord | None:
        return self.offload.wait(number, time.monotonic() + wait_s)

    def until_shared(self) -> None:
        """Pictures flow, and the cloud has said that they can be asked for."""

        def shared() -> bool:
            self.see()
            time.sleep(0.02)
            return self.offload.status.pictures == 'asked for'

        wait_until(shared, what=self.offload.status.pictures)

    def until_answered(self) -> MaskRecord:
        """The first mask of one that was asked for: a model may have to be made for it."""
        found: list[MaskRecord] = []

        def answered() -> bool:
            number = self.see()
            if self.ask(number) and (mask := self.wait(number, 1.0)) is not None:
                found.append(mask)
            return bool(found)

        wait_until(answered, 30.0)
        return found[0]

    def asking(self) -> Robot:
        """The same, once a picture that it asked for was answered."""
        self.fuse()
        self.until_shared()
        self.until_answered()
        return self

    def close(self) -> None:
        self.offload.stop()
        if self.features is not None:
            self.features.stop()
        self.encoder.close()


@pytest.fixture
def begin(free_port):
    """Starts a cloud, and robots of it."""
    stops: list[Callable[[], None]] = []

    def start(port: int | None = None, **settings):
        port = port or free_port()
        offload = ServedOffload('small', 'c0ffee', 4, '', lambda calibrated, dtype: OffloadModel(Small().eval()))
        server = CloudServer(CloudSettings(listen=(f'127.0.0.1:{port}',), **settings), served(), offload=offload)
        server.start()
        stops.append(server.stop)

        def robot(way: type[AskClient] | type[PictureClient] = AskClient, **options) -> Robot:
            made = Robot(port, way, **options)
            stops.insert(0, made.close)
            return made

        return server, robot

    yield start
    for stop in stops:
        stop()


def streams_of(server: CloudServer, name: str = 'robot'):
    return server.streams[name, 'camera'], server.streams[name, 'camera', 'offload']


def test_masks_are_those_of_pictures_that_are_sent_and_they_go_up_once(begin) -> None:
    server, robot = begin()
    sending, asking = robot(PictureClient, name='sending'), robot(name='asking')
    asking.fuse()
    asking.until_shared()
    asking.until_answered()
    sending.fuse()
    wait_until(lambda: not sending.offload.obstacle_to(keyframe=True))
    asking.until_answered()  # its pictures are watched again
    before = sum(stream.counts['bytes_up'] for stream in streams_of(server, 'asking'))
    keyframes = server.streams['asking', 'camera', 'offload'].counts['frames']
    asking.encoder.close()
    for one in (sending, asking):  # the same pictures in the same numbers, from a key frame on
        one.encoder = H264Encoder(EncoderSettings(size=SIZE, rate=25, bitrate_kbps=900))
        one.number = 1000
    compared, dense = 0, 0
    for step in range(70):
        for one in (sending, asking):
            number = one.see()
        assert sending.coded[number].data == asking.coded[number].data
        wanted = step == 0 or step % 3 != 1
        assert sending.send(number, answer=wanted)
        if wanted:
            assert asking.ask(number)
            ours, theirs = asking.wait(number), sending.wait(number, 5.0)
            if theirs is None:
                assert step == 0, 'its model is made'
                continue
            assert ours is not None, number
            assert np.array_equal(ours.mask, theirs.mask), number
            assert np.array_equal(ours.confidence, theirs.confidence), number
            if step:
                assert (ours.recompute_ratio, ours.compute_ratio) == (theirs.recompute_ratio, theirs.compute_ratio)
                dense += ours.recompute_ratio == 1.0
            compared += 1
    assert compared > 40
    assert dense < 10, 'motion came out of the same bits'

    def bytes_up(name: str) -> int:
        return sum(stream.counts['bytes_up'] for stream in streams_of(server, name))

    pictures = sum(len(asking.coded[number].data) for number in range(1001, 1071))
    wait_until(lambda: bytes_up('asking') - before >= pictures)
    asks = server.streams['asking', 'camera', 'offload']
    assert asks.counts['frames'] == keyframes == 0, 'none goes up a second time'
    assert bytes_up('sending') > 2 * pictures
    probes = 4100 * asks.counts['probes']
    assert bytes_up('asking') - before - pictures < 70 * 200 + probes, 'headers and asks'


def test_an_ask_may_come_before_its_picture_or_after_it(begin) -> None:
    server, robot = begin()
    one = robot().asking()
    number = one.see(up=False)
    assert one.ask(number)
    assert one.wait(number, 0.2) is None
    one.fuse_with(number)
    wait_until(lambda: one.offload.last.sequence == number, what='an ask before its picture')
    asked = [one.see() for _ in range(6)]
    features, offload = streams_of(server)
    wait_until(lambda: features.received == asked[-1] and offload._asked.bytes == 6 * SIZE[0] * SIZE[1] * 3)
    assert offload.state_bytes == offload._asked.bytes + offload._endpoint.state_bytes
    assert one.ask(asked[1]) and one.ask(asked[4])
    found = [one.wait(asked[1]), one.wait(asked[4])]
    assert all(mask is not None and one.is_right(mask) for mask in found)
    assert all(mask.recompute_ratio < 1 for mask in found), 'the motion between them is known'
    assert offload._asked.bytes == SIZE[0] * SIZE[1] * 3
    assert one.ask(asked[3])
    assert one.wait(asked[3], 2.0) is None
    wait_until(lambda: one.offload.status.dropped.get('cloud: stale') == 1)
    wait_until(lambda: offload._asked.bytes == 0, 5, 'nothing is kept when nobody asks')
    assert one.offload.status.pictures == 'asked for'


def test_motion_is_read_only_while_somebody_asks(begin, monkeypatch) -> None:
    from dedelayed_ros.frames import H264Decoder

    read: list[int] = []
    moved = H264Decoder.decode_moved

    def spy(self, data, size):
        read.append(1)
        return moved(self, data, size)

    monkeypatch.setattr(H264Decoder, 'decode_moved', spy)
    server, robot = begin()
    fusing = robot(PictureClient, name='fusing')
    fusing.fuse()
    for _ in range(10):
        fusing.see()
    wait_until(lambda: server.streams['fusing', 'camera'].received == fusing.number)
    assert read == []
    one = robot().asking()
    assert read
    time.sleep(2.2)
    read.clear()
    for _ in range(5):
        one.see()
    wait_until(lambda: server.streams['robot', 'camera'].received == one.number)
    assert read == []
    first = one.see()
    assert one.ask(first)
    second = one.see()
    assert one.ask(second) and one.wait(second) is not None


def test_a_picture_that_is_lost_costs_its_mask_and_the_next_one_is_right(begin) -> None:
    server, robot = begin()
    one = robot().asking()
    _, offload = streams_of(server)
    missing = offload.counts['missing']
    lost = one.see(up=False)  # on the robot
    assert one.ask(lost)
    follower = one.see()  # which its stream does not take, and asks for a key frame
    assert one.ask(follower)
    wait_until(lambda: one.keyframe)
    asked_s = time.monotonic()
    key = one.see()
    assert one.coded[key].keyframe
    assert one.ask(key)
    assert one.wait(lost) is None and one.wait(follower) is None
    mask = one.wait(key)
    assert time.monotonic() - asked_s < 0.9, 'it is told before an ask is given up'
    assert mask is not None and one.is_right(mask)
    assert mask.recompute_ratio == 1.0, 'no motion is guessed'
    number = one.see(up=False)
    one.fuse_with(number, data=one.coded[number].data[:20])  # damaged on the way
    assert one.ask(number)
    asked_s = time.monotonic()
    assert one.wait(number) is None
    assert time.monotonic() - asked_s < 0.9
    wait_until(lambda: offload.counts['missing'] == missing + 3, what=str(offload.counts))
    assert one.is_right(one.until_answered())
    assert one.offload.status.pictures == 'asked for'


def test_pictures_that_do_not_come_are_told_and_then_sent(begin) -> None:
    _, robot = begin()
    one = robot().asking()
    begun_s = time.monotonic()

    def given_up() -> bool:
        one.ask(one.see(up=False))  # the other stream stands still
        time.sleep(0.04)
        return one.offload.status.pictures.startswith('sent once more')

    wait_until(given_up)
    assert time.monotonic() - begun_s < 3
    assert 'did not come within 1 s' in one.offload.status.pictures or 'came for' in one.offload.status.pictures
    one.until_shared()
    one.until_answered()


def test_what_is_asked_for_in_vain_for_a_second_is_sent(begin) -> None:
    _, robot = begin()
    one = robot().asking()
    begun_s = time.monotonic()

    def given_up() -> bool:
        one.number += 1  # one that the other stream never has
        assert one.features is not None
        coded = one.encoder.encode(picture_of(one.number))
        one.features.submit(coded, one.number + 1, one.stamp(one.number + 1))
        one.offload.ask(one.number, one.stamp(one.number), 100)
        one.number += 1
        time.sleep(0.02)
        return one.offload.status.pictures.startswith('sent once more')

    wait_until(given_up, 5, str(one.offload.status))
    assert 1 < time.monotonic() - begun_s < 3
    assert 'was not decoded' in one.offload.status.pictures


def test_without_the_other_stream_pictures_are_sent_until_it_is_there(begin) -> None:
    server, robot = begin()
    one = robot()
    wait_until(lambda: one.offload.status.pictures)
    assert one.offload.status.pictures == "sent once more: this cloud does not have the camera's other stream"
    assert not one.ask(one.see())
    assert not one.offload.obstacle_to(keyframe=True)
    one.offload.wake()
    wait_until(lambda: one.keyframe)

    def sent() -> MaskRecord | None:
        number = one.see()
        return one.wait(number, 1.0) if one.send(number, answer=True) else None

    wait_until(sent)
    one.fuse()
    one.request_keyframe()
    frames = server.streams['robot', 'camera', 'offload'].counts['frames']
    assert frames
    one.until_shared()
    mask = one.until_answered()
    assert mask.recompute_ratio == 1.0, 'of what was sent no motion is known'
    assert one.offload.resting
    number = one.see()
    assert one.ask(number)
    assert one.is_right(one.wait(number))
    assert not one.send(one.see(), answer=True)


def test_the_other_stream_may_end_and_begin_anew(begin) -> None:
    server, robot = begin()
    one = robot().asking()
    one.features.stop()
    one.features = None
    wait_until(lambda: ('robot', 'camera') not in server.streams, 5)
    assert one.ask(one.see())
    assert one.wait(one.number) is None
    wait_until(lambda: 'does not have the' in one.offload.status.pictures)
    one.fuse()
    one.request_keyframe()
    one.until_shared()
    assert one.until_answered().recompute_ratio == 1.0, 'what came between is not known'
    number = one.see()
    assert one.ask(number)
    mask = one.wait(number)
    assert mask is not None and one.is_right(mask)
    assert mask.recompute_ratio < 1


def test_a_picture_is_known_by_its_stamp_too(begin) -> None:
    _, robot = begin()
    one = robot().asking()
    number = one.see()
    assert one.offload.ask(number, one.stamp(number) + 1, 100)
    assert one.wait(number) is None
    wait_until(lambda: f'stamp {one.stamp(number)}, the one that was asked for has' in one.offload.status.pictures)


def test_pictures_of_another_size_are_not_asked_for(begin) -> None:
    _, robot = begin()
    one = robot(hello=replace(HELLO_OFFLOAD, camera_size=(128, 96)))
    one.fuse()
    reason = "sent once more: pictures of the camera's other stream have 96x64 pixels, not 96x128"
    wait_until(lambda: one.offload.status.pictures == reason, what=one.offload.status.pictures)


def test_robots_do_not_mix(begin) -> None:
    _, robot = begin()
    ones = [robot(name=f'robot{i}', seed=i) for i in range(2)]
    for one in ones:
        one.fuse()
    compared = 0

    def seen_by_both() -> bool:
        nonlocal compared
        number = ones[1].number = ones[0].see()
        ones[1].number -= 1
        ones[1].see()
        asked = [one.ask(number) for one in ones]
        found = [one.wait(number, 0.5) for one in ones]
        if all(asked) and all(mask is not None for mask in found):
            compared += 1
            assert all(one.is_right(mask) for one, mask in zip(ones, found, strict=True))
            assert not np.array_equal(found[0].mask, found[1].mask), 'each has its own pictures'
        return compared >= 8

    wait_until(seen_by_both, 20)
    third = robot(name='robot3')
    wait_until(lambda: 'does not have' in third.offload.status.pictures, what='the others have, and this one has not')


def test_a_cloud_that_cannot_read_the_question_gets_pictures(begin, monkeypatch) -> None:
    monkeypatch.setattr(AskUp, 'KIND', 99)
    _, robot = begin()
    one = robot()
    one.fuse()
    wait_until(lambda: one.offload.status.pictures == 'sent once more: record of unknown kind 99')
    one.offload.wake()
    wait_until(lambda: one.keyframe)

    def sent() -> MaskRecord | None:
        number = one.see()
        return one.wait(number, 1.0) if one.send(number, answer=True) else None

    wait_until(sent)


def test_an_evicted_stream_computes_the_next_picture_in_full(begin) -> None:
    server, robot = begin()
    one = robot().asking()
    _, offload = streams_of(server)
    last = [one.see() for _ in range(3)][-1]
    wait_until(lambda: offload._asked._newest == last and offload._asked.bytes)
    offload.evict('for the test')
    assert offload.state_bytes == 0
    number = one.see()
    assert one.ask(number)
    mask = one.wait(number)
    assert mask is not None and mask.recompute_ratio == 1.0
