"""The ring on the robot: bounded in flight, newest wins, and a camera that starts again is a new stream."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.link import unpack
from dedelayed_ros.link.chain import DecodeChain, Verdict
from dedelayed_ros.link.outgoing import Outgoing


@dataclass(frozen=True)
class Pic:
    keyframe: bool = False
    data: bytes = b'picture'
    size: tuple[int, int] = (64, 96)


KEY, DELTA = Pic(keyframe=True), Pic()


def outgoing(max_in_flight: int = 4) -> Outgoing:
    return Outgoing((64, 96), max_in_flight=max_in_flight, max_age_s=2.0)


def send_all(out: Outgoing) -> list[int]:
    sent = []
    while out.pending:
        sent.append(unpack(out.pack_next(0, 0.0, 100.0, worker=5)).sequence)
    return sent


@given(st.lists(st.sampled_from(('offer', 'key', 'send', 'ack', 'skip')), max_size=150), st.integers(1, 6))
def test_everything_sent_can_be_decoded_and_the_bound_holds(steps, bound):
    out, chain = outgoing(bound), DecodeChain()
    sequence = newest = -1
    for step in steps:
        if step in ('offer', 'key'):
            sequence += 1
            out.offer(KEY if step == 'key' else DELTA, sequence, sequence, connected=True)
        elif step == 'skip':  # encoded, but never offered: the next one's reference says so
            sequence += 1
            out.offer(DELTA, sequence + 1, sequence + 1, reference=sequence, connected=True)
            sequence += 1
        elif step == 'send' and out.pending:
            record = unpack(out.pack_next(0, 0.0, 100.0, worker=5))
            assert chain.judge(record) is Verdict.DECODE
            chain.decoded(record)
            newest = record.sequence
        elif step == 'ack':
            out.flight.acknowledge(newest)
        assert out.in_flight <= bound


def test_a_key_frame_replaces_what_waits():
    out = outgoing()
    for sequence, picture in enumerate((KEY, DELTA, DELTA, KEY, DELTA)):
        out.offer(picture, sequence, sequence, connected=True)
    assert out.dropped['overtaken'] == 3
    assert send_all(out) == [3, 4]


def test_a_full_network_breaks_the_chain_until_there_is_room_and_a_key_frame():
    out = outgoing(max_in_flight=4)
    for sequence in range(6):
        out.offer(KEY if sequence == 0 else DELTA, sequence, sequence, connected=True)
    assert send_all(out) == [0, 1, 2, 3]
    assert out.dropped['too many in flight'] == 2
    assert not out.keyframe_due(1.0)  # no room yet: a key frame would be dropped, too
    out.flight.acknowledge(1)
    assert out.keyframe_due(1.0)
    out.offer(DELTA, 6, 6, connected=True)
    assert out.dropped['waiting for a key frame'] == 1
    out.offer(KEY, 7, 7, connected=True)
    assert send_all(out) == [7]


def test_frames_that_the_source_left_out_are_no_gap():
    out = outgoing()
    for sequence, picture in ((0, KEY), (3, DELTA), (4, DELTA)):
        assert out.offer(picture, sequence, sequence, connected=True)
    assert send_all(out) == [0, 3, 4]


def test_duplicates_and_late_pictures_are_dropped_without_harm():
    out = outgoing()
    for sequence, stamp, picture in (
        (0, 0, KEY),
        (0, 0, KEY),
        (1, 10, DELTA),
        (1, 10, DELTA),
        (0, 5, DELTA),
        (2, 20, DELTA),
    ):
        assert not out.restarted(picture, sequence, stamp)
        out.offer(picture, sequence, stamp, connected=True)
    assert (out.dropped['duplicate'], out.dropped['out of order']) == (2, 1)
    assert send_all(out) == [0, 1, 2]


def test_a_camera_that_starts_again_begins_a_session():
    out = outgoing()
    out.offer(KEY, 100, 1000, connected=True)
    out.offer(DELTA, 101, 1010, connected=True)
    send_all(out)
    session = out.session
    assert not out.restarted(DELTA, 101, 1010)
    assert not out.restarted(DELTA, 100, 1000)
    assert not out.restarted(DELTA, 102, 1020)
    assert out.restarted(KEY, 0, 2000)
    assert out.session != session
    assert out.in_flight == 0
    assert out.offer(KEY, 0, 2000, connected=True)
    assert unpack(out.pack_next(0, 0.0, 1.0, worker=5)).session == out.session


def test_another_size_and_an_oversized_picture_are_dropped_by_name():
    out = outgoing()
    assert not out.offer(Pic(keyframe=True, size=(64, 98)), 0, 0, connected=True)
    assert out.offer(Pic(keyframe=True, data=bytes(9 << 20)), 1, 1, connected=True)
    assert out.pack_next(0, 0.0, 1.0, worker=5) is None
    assert not out.offer(DELTA, 2, 2, connected=True)
    for reason in ('wrong size', 'cannot be sent: too_large', 'waiting for a key frame'):
        assert out.dropped[reason] == 1
