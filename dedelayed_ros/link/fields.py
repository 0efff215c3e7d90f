"""What all records on the link share: the header, its checksum, and fields that are checked both ways."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import ClassVar, Protocol

import zstandard

from dedelayed_ros.errors import LinkError

MAGIC = b'DDLY'
PROTOCOL = 1
MAX_RECORD_BYTES = 8 << 20
MAX_TEXT_BYTES = 512
MAX_SIDE = 16384
"""Largest height or width, in pixels or cells, that a record may state."""

MAX_CLASSES = 256
MAX_RATE = 1000.0
MAX_DELAY_MS = 60_000.0
NO_SEQUENCE = 2**64 - 1
"""How 'nothing received yet' is written where a sequence is expected."""

NO_ANSWER = 2
"""Flag of a record that goes up: no answer to it is wanted."""

HEADER = struct.Struct('<4sBBHIIQqQQ')
CRC_AT = 8
HEADER_BYTES = HEADER.size


class WireError(LinkError):
    """A record that cannot be read or written.

    `code` is one of ``short``, ``magic``, ``version``, ``kind``, ``length``, ``too_large``, ``checksum``, ``value``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Header:
    """What of a record is in its header, checked."""

    kind: int
    sequence: int
    stamp_ns: int
    session: int
    worker: int


class Sealed(Protocol):
    """A record, as far as its header goes."""

    KIND: ClassVar[int]

    @property
    def sequence(self) -> int: ...

    @property
    def stamp_ns(self) -> int: ...

    @property
    def session(self) -> int: ...

    @property
    def worker(self) -> int: ...


def seal(record: Sealed, body: bytes, data: bytes) -> bytes:
    """The record: header, `body` and `data`; `WireError` if that is too large or a field does not fit."""
    length = len(body) + len(data)
    if HEADER_BYTES + length > MAX_RECORD_BYTES:
        raise WireError('too_large', f'record of {HEADER_BYTES + length} bytes, at most {MAX_RECORD_BYTES} are allowed')
    header = pack_fields(
        HEADER,
        MAGIC,
        PROTOCOL,
        record.KIND,
        0,
        0,
        length,
        record.sequence,
        record.stamp_ns,
        record.session,
        record.worker,
    )
    packed = bytearray(header + body + data)
    struct.pack_into('<I', packed, CRC_AT, checksum_of(memoryview(packed)))
    return bytes(packed)


def checksum_of(view: memoryview) -> int:
    """CRC-32 of a whole record, but for the place where it is written."""
    return zlib.crc32(view[CRC_AT + 4 :], zlib.crc32(view[:CRC_AT]))


def pack_fields(layout: struct.Struct, *values: object) -> bytes:
    """`values` in `layout`; `WireError` if one does not fit its place."""
    try:
        return layout.pack(*values)
    except (struct.error, OverflowError) as error:
        raise WireError('value', f'a field does not fit its place in the record: {error}') from None


def unpack_fields(layout: struct.Struct, payload: memoryview) -> tuple:
    """The fields that `payload` begins with; `WireError` if it is too short."""
    if len(payload) < layout.size:
        raise WireError('length', f'payload of {len(payload)} bytes, expected at least {layout.size}')
    return layout.unpack_from(payload)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """`WireError` unless `value` is a number from `low` to `high`."""
    if not (low <= value <= high and math.isfinite(value)):
        raise WireError('value', f'{name} is {value}, expected {low:g} to {high:g}')


def text_of(name: str, raw: bytes) -> str:
    """`raw` as text; `WireError` if it is too long or not UTF-8."""
    if len(raw) > MAX_TEXT_BYTES:
        raise WireError('value', f'{name} of {len(raw)} bytes, at most {MAX_TEXT_BYTES} are allowed')
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError('value', f'{name} is not UTF-8') from None


def join_texts(*texts: str) -> bytes:
    """Each text after its length as u16, cut to `MAX_TEXT_BYTES`."""
    parts = []
    for text in texts:
        raw = text.encode(errors='replace')[:MAX_TEXT_BYTES].decode(errors='ignore').encode()
        parts.append(struct.pack('<H', len(raw)) + raw)
    return b''.join(parts)


def split_texts(payload: memoryview, count: int) -> list[str]:
    """`count` texts, each after its length as u16, and nothing behind them."""
    texts = []
    at = 0
    for _ in range(count):
        if len(payload) < at + 2:
            raise WireError('length', 'record ends within a text')
        (size,) = struct.unpack_from('<H', payload, at)
        at += 2
        if len(payload) < at + size:
            raise WireError('length', 'record ends within a text')
        texts.append(text_of('text', bytes(payload[at : at + size])))
        at += size
    if at != len(payload):
        raise WireError('length', f'{len(payload) - at} bytes too many behind the last text')
    return texts


def expand(body: memoryview, size: int, what: str) -> bytes:
    """A zstd frame of exactly `size` bytes; `WireError` for anything else, which `what` names."""
    try:
        # The size is stated inside the frame too; it is checked before anything is allocated for it.
        if zstandard.frame_content_size(body) != size:
            raise WireError('length', f'{what} does not state the expected {size} bytes')
        raw = zstandard.ZstdDecompressor(max_window_size=16 << 20).decompress(
            body, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise WireError('checksum', f'{what} is damaged: {error}') from None
    if len(raw) != size:
        raise WireError('length', f'{what} has {len(raw)} bytes, expected {size}')
    return raw
