"""Records survive the way, and nothing else gets in: every damage is a WireError with a code."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.link import wire
from dedelayed_ros.link.wire import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    AskUp,
    Code,
    FeaturesDown,
    FrameUp,
    Hello,
    HelloReply,
    MaskDown,
    Notice,
    OffloadHello,
    Probe,
    ShardUp,
    WireError,
    unpack,
)

u64 = st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
ms = st.floats(0, wire.MAX_DELAY_MS, width=32)
side = st.integers(1, wire.MAX_SIDE)
text = st.text(max_size=100)
identity = {'session': u64, 'worker': u64}


@st.composite
def frames(draw):
    keyframe = draw(st.booleans())
    reference = draw(st.integers(0, 2**64 - 2))
    sequence = reference if keyframe else draw(st.integers(reference + 1, 2**64 - 1))
    rest = {name: draw(s) for name, s in identity.items()} | {'answer': draw(st.booleans())}
    data = draw(st.binary(min_size=1, max_size=300))
    return FrameUp(sequence, reference, draw(i64), draw(i64), draw(ms), keyframe, draw(side), draw(side), data, **rest)


@st.composite
def answers(draw):
    sequence = draw(u64)
    return FeaturesDown(
        sequence,
        draw(i64),
        draw(i64),
        draw(ms),
        draw(st.integers(sequence, 2**64 - 1)),
        draw(ms),
        draw(ms),
        (draw(side), draw(side), draw(side)),
        draw(st.binary(min_size=1, max_size=300)),
        draw(u64),
        draw(u64),
    )


notices = st.builds(
    Notice,
    st.sampled_from(Code),
    u64,
    text,
    st.none() | st.integers(0, 2**64 - 2),
    **identity,
)
hellos = st.builds(
    Hello,
    text,
    text,
    st.integers(1, wire.MAX_CLASSES),
    st.tuples(side, side, side),
    st.tuples(side, side),
    st.tuples(side, side),
    st.floats(0.125, 1000, width=32),
    st.integers(0, 65535),
    stamp_ns=i64,
    **identity,
)
replies = st.builds(
    HelloReply, st.booleans(), text, text, text, text, st.booleans(), st.integers(0, 65535), stamp_ns=i64, **identity
)
u32 = st.integers(0, 2**32 - 1)
sizes = st.tuples(side, side)
ratio = st.floats(0, 1, width=32)
offload_hellos = st.builds(
    OffloadHello,
    text,
    text,
    text,
    st.integers(1, wire.MAX_CLASSES),
    sizes,
    sizes,
    st.floats(0.125, 1000, width=32),
    st.none() | sizes,
    st.integers(0, 65535),
    stamp_ns=i64,
    **identity,
)


@st.composite
def shards(draw):
    sequence = draw(st.integers(1, 2**64 - 1))
    base = draw(st.none() | st.integers(0, sequence - 1))
    before = draw(u32) if base is not None else 0
    rest = {name: draw(s) for name, s in identity.items()}
    return ShardUp(
        sequence, base, before, draw(u32), draw(i64), draw(i64), draw(st.binary(min_size=1, max_size=99)), **rest
    )


@st.composite
def masks(draw):
    sequence = draw(u64)
    received = draw(st.integers(sequence, 2**64 - 1))
    numbers = [draw(strategy) for strategy in (ms, ms, ratio, ratio)]
    data = draw(st.binary(min_size=1, max_size=99))
    return MaskDown(sequence, draw(i64), draw(i64), received, *numbers, data, draw(u64), draw(u64))


@st.composite
def probes(draw):
    data = draw(st.binary(max_size=99))
    size = len(data) or draw(st.integers(1, wire.MAX_RECORD_BYTES))
    return Probe(draw(i64), size, data, draw(u64), draw(u64))


asks = st.builds(AskUp, u64, i64, i64, **identity) | st.builds(
    AskUp, st.just(0), st.just(0), i64, answer=st.just(False), **identity
)
records = st.one_of(frames(), answers(), notices, hellos, replies, offload_hellos, shards(), masks(), probes(), asks)


def sealed(kind: int, payload: bytes, sequence: int = 0, flags: int = 0, version: int = wire.PROTOCOL) -> bytes:
    """A record with a right checksum around any payload: what a faulty or hostile peer could send."""
    head = struct.pack('<4sBBHIIQqQQ', wire.MAGIC, version, kind, flags, 0, len(payload), sequence, 0, 0, 0)
    crc = zlib.crc32(head[12:] + payload, zlib.crc32(head[:8]))
    return head[:8] + struct.pack('<I', crc) + head[12:] + payload


@given(records)
def test_round_trip(record):
    packed = record.pack()
    assert unpack(packed) == record
    assert unpack(memoryview(bytearray(packed))) == record


@given(records, st.data())
def test_every_truncation_is_refused(record, data):
    packed = record.pack()
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(WireError) as error:
        unpack(packed[:cut])
    assert error.value.code in ('short', 'length')


@given(records, st.binary(min_size=1, max_size=20))
def test_every_extension_is_refused(record, tail):
    with pytest.raises(WireError) as error:
        unpack(record.pack() + tail)
    assert error.value.code == 'length'


@given(records, st.data())
def test_every_flipped_bit_is_refused(record, data):
    packed = bytearray(record.pack())
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError) as error:
        unpack(bytes(packed))
    assert error.value.code in ('magic', 'version', 'checksum', 'length')


@given(st.binary(max_size=400))
def test_noise_is_refused(noise):
    with pytest.raises(WireError):
        unpack(noise)


@given(st.integers(0, 255), st.binary(max_size=120), u64, st.sampled_from((0, 0, 1)))
def test_well_sealed_nonsense_is_a_record_or_a_wire_error(kind, payload, sequence, flags):
    code = None
    try:
        record = unpack(sealed(kind, payload, sequence, flags))
    except WireError as error:
        code = error.code
    assert code in ('kind', 'length', 'value') if code else unpack(record.pack()) == record


@pytest.mark.parametrize(
    ('packed', 'code'),
    [
        (b'', 'short'),
        (b'DDLY' + bytes(HEADER_BYTES), 'version'),
        (b'DDLX' + bytes(HEADER_BYTES), 'magic'),
        (sealed(3, bytes(9), version=wire.PROTOCOL + 1), 'version'),
        (sealed(99, b''), 'kind'),
        (sealed(3, bytes(9), flags=1), 'value'),
        (sealed(3, bytes(8)), 'length'),
        (sealed(3, bytes(8) + b'\xc8'), 'value'),
        (sealed(3, bytes(8) + b'\x01\xff'), 'value'),
        (sealed(10, bytes(8)), 'length'),
        (sealed(10, bytes(10)), 'length'),
        (sealed(10, bytes(8) + b'\x01'), 'value'),
        (sealed(10, bytes(8) + b'\x02', sequence=1), 'value'),
        (bytes(MAX_RECORD_BYTES + 1), 'too_large'),
    ],
)
def test_codes_say_what_is_wrong(packed, code):
    with pytest.raises(WireError) as error:
        unpack(packed)
    assert error.value.code == code


def frame(**changes) -> FrameUp:
    fields = {
        'sequence': 7,
        'reference': 6,
        'stamp_ns': 1,
        'sent_ns': 2,
        'predicted_delay_ms': 3.0,
        'keyframe': False,
        'width': 64,
        'height': 48,
        'data': b'x',
    }
    return FrameUp(**{**fields, **changes})


@pytest.mark.parametrize(
    'changes',
    [
        {'reference': 8},
        {'keyframe': True},
        {'reference': 7},
        {'predicted_delay_ms': float('nan')},
        {'predicted_delay_ms': float('inf')},
        {'predicted_delay_ms': -1.0},
        {'width': 0},
        {'height': wire.MAX_SIDE + 1},
        {'data': b''},
        {'sequence': -1, 'reference': -2},
        {'session': 2**64},
        {'stamp_ns': 2**63},
    ],
)
def test_impossible_frames_cannot_be_written(changes):
    with pytest.raises(WireError) as error:
        frame(**changes).pack()
    assert error.value.code == 'value'


def test_a_question_is_about_no_frame():
    for place in ({'sequence': 1}, {'stamp_ns': -1}):
        with pytest.raises(WireError, match='has neither sequence nor stamp'):
            AskUp(**{'sequence': 0, 'stamp_ns': 0, 'sent_ns': 5, **place}, answer=False).pack()
    assert len(AskUp(1, 2, 3).pack()) == AskUp.OVERHEAD == HEADER_BYTES + 9


@given(frames() | shards())
def test_what_a_record_costs_beside_what_it_holds_is_known(record: FrameUp | ShardUp) -> None:
    assert len(record.pack()) == record.OVERHEAD + len(record.data)


def test_sizes_are_bounded():
    biggest = frame(data=bytes(MAX_RECORD_BYTES - len(frame(data=b'x').pack()) + 1))
    assert len(biggest.pack()) == MAX_RECORD_BYTES
    assert unpack(biggest.pack()) == biggest
    with pytest.raises(WireError) as error:
        frame(data=biggest.data + b'x').pack()
    assert error.value.code == 'too_large'


def test_a_long_reason_is_cut_between_characters():
    reason = 'ä' * wire.MAX_TEXT_BYTES
    notice = unpack(Notice(Code.REFUSED, 1, reason).pack())
    reply = unpack(HelloReply(False, 'x' + reason, 'n', 'm', 'c').pack())
    assert notice.text == 'ä' * (wire.MAX_TEXT_BYTES // 2)
    assert reply.reason == 'x' + 'ä' * (wire.MAX_TEXT_BYTES // 2 - 1)


def test_an_acknowledgement_is_small():
    assert len(Notice(Code.ACK, 9, received_sequence=9).pack()) < 64


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'base': 7}, 'frame 7 builds on 7'),
        ({'base': None}, 'dense and yet names the checksum'),
        ({'data': b''}, 'no data'),
        ({'checksum': 2**32}, 'does not fit'),
    ],
)
def test_a_shard_that_cannot_be_is_not_sent(changes, words):
    fields = {
        'sequence': 7, 'base': 5, 'base_checksum': 3, 'checksum': 4, 'stamp_ns': 1, 'sent_ns': 2, 'data': b'x',
    }  # fmt: skip
    with pytest.raises(WireError, match=words):
        ShardUp(**{**fields, **changes}).pack()
