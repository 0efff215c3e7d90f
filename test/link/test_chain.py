"""Whatever is lost, doubled or reordered, only pictures that can be decoded are decoded, and all of those."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.link import FrameUp
from dedelayed_ros.link.chain import DecodeChain, SendChain, Verdict


def frame(sequence: int, reference: int) -> FrameUp:
    return FrameUp(sequence, reference, 0, 0, 0.0, sequence == reference, 64, 48, b'x')


@given(st.data())
def test_only_whole_chains_are_decoded(data):
    sent, before = [], None
    for sequence in range(40):
        keyframe = before is None or data.draw(st.integers(0, 9)) == 0
        sent.append(frame(sequence, sequence if keyframe else before))
        before = sequence
    kept = [f for f in sent if data.draw(st.integers(0, 4))]
    arrivals = [f for f in kept for _ in range(data.draw(st.sampled_from((1, 1, 1, 2))))]
    for _ in range(data.draw(st.integers(0, 3))):
        i = data.draw(st.integers(0, max(0, len(arrivals) - 2)))
        arrivals[i : i + 2] = reversed(arrivals[i : i + 2])

    chain, decoded, newest, state = DecodeChain(), [], -1, None
    for f in arrivals:
        verdict = chain.judge(f)
        assert (verdict is Verdict.OLD) == (f.sequence <= newest)
        newest = max(newest, f.sequence)
        assert chain.received == newest
        if verdict is Verdict.DECODE:
            assert f.keyframe or f.reference == state  # exactly what a decoder's state allows
            chain.decoded(f)
            state = f.sequence
            decoded.append(f.sequence)
        elif verdict is Verdict.GAP:
            assert not f.keyframe
            assert f.reference != state
    assert decoded == sorted(decoded)


def test_after_a_failed_decode_only_a_key_frame_counts():
    chain = DecodeChain()
    assert chain.judge(frame(0, 0)) is Verdict.DECODE
    chain.decoded(frame(0, 0))
    chain.broken()
    assert chain.judge(frame(1, 0)) is Verdict.GAP
    assert chain.judge(frame(2, 2)) is Verdict.DECODE


def test_sending_waits_for_a_key_frame_after_any_gap():
    chain = SendChain()
    assert not chain.take(0, 0 - 1, False)
    assert chain.take(1, 1, True)
    assert chain.take(2, 1, False)
    assert not chain.take(4, 3, False)
    assert not chain.take(5, 4, False)
    assert chain.take(6, 6, True)


def test_a_complaint_about_a_picture_before_the_last_key_frame_is_old_news():
    chain = SendChain()
    chain.take(5, 5, True)
    chain.take(6, 5, False)
    chain.take(9, 9, True)
    chain.lose(6)
    assert chain.whole
    chain.lose(9)
    assert not chain.whole


def test_key_frame_requests_are_spaced_and_back_off_until_one_comes():
    chain = SendChain(interval_s=0.25, longest_s=2.0)
    asked = [t / 100 for t in range(1000) if chain.request_due(t / 100)]
    gaps = [b - a for a, b in itertools.pairwise(asked)]
    assert gaps[:4] == [0.25, 0.5, 1.0, 2.0]
    assert all(gap == 2.0 for gap in gaps[3:])
    chain.take(7, 7, True)
    assert not chain.request_due(20.0)
    chain.lose()
    assert chain.request_due(20.0)
    assert not chain.request_due(20.2)
    assert chain.request_due(20.25)
