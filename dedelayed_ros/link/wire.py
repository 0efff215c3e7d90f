"""The records that a robot and the cloud exchange, byte for byte (described for other languages in docs/wire.md).

Every record is one header and one payload, little-endian, without padding:

    magic 4s | version u8 | kind u8 | flags u16 = 0 | crc32 u32 | length u32
    | sequence u64 | stamp_ns i64 | session u64 | worker u64

``crc32`` covers everything but itself. ``session`` numbers one unbroken life of a camera's stream, ``worker`` one life
of a server process: sequences that start again, and answers that outlive their server, are told apart by them and never
by guessing. Times are the robot's own clocks; the cloud only echoes them.

`unpack` is the only way in. Whatever it is given, it returns a checked record or raises `WireError` with a code.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from dedelayed_ros.link.fields import (
    HEADER,
    HEADER_BYTES,
    MAGIC,
    MAX_CLASSES,
    MAX_DELAY_MS,
    MAX_RATE,
    MAX_RECORD_BYTES,
    MAX_SIDE,
    MAX_TEXT_BYTES,
    NO_ANSWER,
    NO_SEQUENCE,
    PROTOCOL,
    Header,
    WireError,
    check_range,
    checksum_of,
    join_texts,
    pack_fields,
    seal,
    split_texts,
    text_of,
    unpack_fields,
)
from dedelayed_ros.link.offload_records import AskUp, MaskDown, OffloadHello, ShardUp

_KEYFRAME = 1  # flag of a FrameUp, beside NO_ANSWER


class Code(IntEnum):
    """What a `Notice` is about."""

    ACK = 1  # nothing is wrong: the frame arrived
    NEED_KEYFRAME = 2  # the pictures cannot be decoded until the next key frame
    UNKNOWN_SESSION = 3  # say hello (again) first
    REPLACED = 4  # another process took over this robot's and camera's names
    EVICTED = 5  # the stream was idle for long and its place was given away
    REFUSED = 6  # the record was understood and will not be served
    MALFORMED = 7  # the record could not be read
    STALE = 8  # the record came too late or twice
    FAILED = 9  # the server could not compute an answer
    SHARED = 10  # masks of the other stream's pictures can be asked for


@dataclass(frozen=True)
class FrameUp:
    """One encoded camera picture on its way to the cloud.

    `reference` is the sequence of the picture that this one predicts from: its own for a key frame. `stamp_ns` is the
    camera's stamp, `sent_ns` the robot's monotonic clock at sending, `predicted_delay_ms` the time from capture until
    the robot expects to use the answer. `data` is one H.264 access unit (Annex B). Without `answer` it is only there
    so that later ones can be decoded.
    """

    sequence: int
    reference: int
    stamp_ns: int
    sent_ns: int
    predicted_delay_ms: float
    keyframe: bool
    width: int
    height: int
    data: bytes
    session: int = 0
    worker: int = 0
    answer: bool = True

    KIND: ClassVar[int] = 1
    _BODY: ClassVar[struct.Struct] = struct.Struct('<QqfHHB')
    OVERHEAD: ClassVar[int] = HEADER_BYTES + _BODY.size  # bytes of a record that holds nothing

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        body = pack_fields(
            self._BODY,
            self.reference,
            self.sent_ns,
            self.predicted_delay_ms,
            self.width,
            self.height,
            int(self.keyframe) * _KEYFRAME | int(not self.answer) * NO_ANSWER,
        )
        return seal(self, body, self.data)

    def _check(self) -> None:
        check_range('predicted_delay_ms', self.predicted_delay_ms, 0, MAX_DELAY_MS)
        check_range('width', self.width, 1, MAX_SIDE)
        check_range('height', self.height, 1, MAX_SIDE)
        if self.keyframe != (self.reference == self.sequence):
            raise WireError('value', f'frame {self.sequence}: key frames, and only they, refer to themselves')
        if self.reference > self.sequence:
            raise WireError('value', f'frame {self.sequence} refers to a later one, {self.reference}')
        if not self.data:
            raise WireError('value', f'frame {self.sequence} has no data')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> FrameUp:
        reference, sent_ns, delay, width, height, flags = unpack_fields(cls._BODY, payload)
        if flags > _KEYFRAME | NO_ANSWER:
            raise WireError('value', f'flags of a frame are {flags}, expected 0 to {_KEYFRAME | NO_ANSWER}')
        data = bytes(payload[cls._BODY.size :])
        return cls(
            header.sequence, reference, header.stamp_ns, sent_ns, delay, bool(flags & _KEYFRAME), width, height, data,
            header.session, header.worker, not flags & NO_ANSWER,
        )  # fmt: skip


@dataclass(frozen=True)
class FeaturesDown:
    """Remote features of one frame on their way to the robot.

    `sequence`, `stamp_ns`, `sent_ns` and `predicted_delay_ms` are those of the frame, echoed; `received_sequence` is
    the newest frame that the server has of this session. `queue_ms` is the time from arrival to the start of the model,
    `server_ms` the time of model and packing. `data` holds features of `shape` (C, h, w) as `pack_features` writes
    them.
    """

    sequence: int
    stamp_ns: int
    sent_ns: int
    predicted_delay_ms: float
    received_sequence: int
    queue_ms: float
    server_ms: float
    shape: tuple[int, int, int]
    data: bytes
    session: int = 0
    worker: int = 0

    KIND: ClassVar[int] = 2
    _BODY: ClassVar[struct.Struct] = struct.Struct('<qQfffHHH')

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        body = pack_fields(
            self._BODY,
            self.sent_ns,
            self.received_sequence,
            self.predicted_delay_ms,
            self.queue_ms,
            self.server_ms,
            *self.shape,
        )
        return seal(self, body, self.data)

    def _check(self) -> None:
        check_range('predicted_delay_ms', self.predicted_delay_ms, 0, MAX_DELAY_MS)
        check_range('queue_ms', self.queue_ms, 0, math.inf)
        check_range('server_ms', self.server_ms, 0, math.inf)
        if self.received_sequence < self.sequence:
            raise WireError('value', f'answer to frame {self.sequence}, newest received {self.received_sequence}')
        for side in self.shape:
            check_range('shape', side, 1, MAX_SIDE)
        if not self.data:
            raise WireError('value', f'answer to frame {self.sequence} has no data')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> FeaturesDown:
        sent_ns, received, delay, queue_ms, server_ms, *shape = unpack_fields(cls._BODY, payload)
        data = bytes(payload[cls._BODY.size :])
        return cls(
            header.sequence, header.stamp_ns, sent_ns, delay, received, queue_ms, server_ms,
            (shape[0], shape[1], shape[2]), data, header.session, header.worker,
        )  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """A short word to the other side: an acknowledgement, a wish, or why something was dropped.

    `sequence` is the frame it is about (0 if none); `received_sequence` the newest received, None before the first.
    """

    code: Code
    sequence: int = 0
    text: str = ''
    received_sequence: int | None = None
    session: int = 0
    worker: int = 0

    KIND: ClassVar[int] = 3
    stamp_ns: ClassVar[int] = 0
    _BODY: ClassVar[struct.Struct] = struct.Struct('<QB')

    def pack(self) -> bytes:
        """The record as bytes; a text beyond `MAX_TEXT_BYTES` is cut."""
        received = NO_SEQUENCE if self.received_sequence is None else self.received_sequence
        text = self.text.encode()[:MAX_TEXT_BYTES].decode(errors='ignore').encode()
        return seal(self, pack_fields(self._BODY, received, int(self.code)), text)

    def _check(self) -> None:
        pass

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> Notice:
        received, number = unpack_fields(cls._BODY, payload)
        if header.stamp_ns:
            raise WireError('value', 'a notice has no stamp')
        try:
            code = Code(number)
        except ValueError:
            raise WireError('value', f'notice of unknown code {number}') from None
        text = text_of('text', bytes(payload[cls._BODY.size :]))
        return cls(
            code, header.sequence, text, None if received == NO_SEQUENCE else received, header.session, header.worker
        )


@dataclass(frozen=True)
class Hello:
    """What a robot expects of the cloud for one stream.

    `feature_shape` (C, h, w), `remote_size` and `camera_size` (height, width) in pixels, `rate` in frames a second.
    An empty `model_checksum` accepts any weights of that name.
    """

    model: str
    model_checksum: str
    classes: int
    feature_shape: tuple[int, int, int]
    remote_size: tuple[int, int]
    camera_size: tuple[int, int]
    rate: float
    protocol: int = PROTOCOL
    session: int = 0
    worker: int = 0
    stamp_ns: int = 0

    KIND: ClassVar[int] = 4
    sequence: ClassVar[int] = 0
    _BODY: ClassVar[struct.Struct] = struct.Struct('<HHHHHHHHHf')

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        body = pack_fields(
            self._BODY,
            self.protocol,
            self.classes,
            *self.feature_shape,
            *self.remote_size,
            *self.camera_size,
            self.rate,
        )
        return seal(self, body, join_texts(self.model, self.model_checksum))

    def _check(self) -> None:
        check_range('classes', self.classes, 1, MAX_CLASSES)
        for side in (*self.feature_shape, *self.remote_size, *self.camera_size):
            check_range('size', side, 1, MAX_SIDE)
        if not 0 < self.rate <= MAX_RATE:
            raise WireError('value', f'rate is {self.rate}, expected above 0 and at most {MAX_RATE:g} frames a second')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> Hello:
        protocol, classes, c, fh, fw, rh, rw, ch, cw, rate = unpack_fields(cls._BODY, payload)
        model, checksum = split_texts(payload[cls._BODY.size :], 2)
        if header.sequence:
            raise WireError('value', 'a hello has no sequence')
        return cls(
            model, checksum, classes, (c, fh, fw), (rh, rw), (ch, cw), rate, protocol, header.session, header.worker,
            header.stamp_ns,
        )  # fmt: skip


@dataclass(frozen=True)
class HelloReply:
    """The cloud's answer to a `Hello`, whose `stamp_ns` and `session` it echoes.

    `reason` says why not, when not `accepted`. `resumed` means that the server still has this session's decoder and
    model state, so that no key frame is needed. The header's `worker` is this life of the server, `name` its name.
    """

    accepted: bool
    reason: str
    name: str
    model: str
    model_checksum: str
    resumed: bool = False
    protocol: int = PROTOCOL
    session: int = 0
    worker: int = 0
    stamp_ns: int = 0

    KIND: ClassVar[int] = 5
    sequence: ClassVar[int] = 0
    _BODY: ClassVar[struct.Struct] = struct.Struct('<HBB')

    def pack(self) -> bytes:
        """The record as bytes; texts beyond `MAX_TEXT_BYTES` are cut."""
        body = pack_fields(self._BODY, self.protocol, int(self.accepted), int(self.resumed))
        return seal(self, body, join_texts(self.reason, self.name, self.model, self.model_checksum))

    def _check(self) -> None:
        pass

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> HelloReply:
        protocol, accepted, resumed = unpack_fields(cls._BODY, payload)
        reason, name, model, checksum = split_texts(payload[cls._BODY.size :], 4)
        if accepted > 1 or resumed > 1 or header.sequence:
            raise WireError('value', 'hello reply with impossible flags')
        return cls(
            bool(accepted), reason, name, model, checksum, bool(resumed), protocol, header.session, header.worker,
            header.stamp_ns,
        )  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """Bytes that are sent only to see how fast they pass: `data` goes up, and comes back as its `size` alone.

    `sent_ns` is the robot's monotonic clock at sending, echoed.
    """

    sent_ns: int
    size: int
    data: bytes = b''
    session: int = 0
    worker: int = 0

    KIND: ClassVar[int] = 9
    sequence: ClassVar[int] = 0
    stamp_ns: ClassVar[int] = 0
    _BODY: ClassVar[struct.Struct] = struct.Struct('<qI')

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        return seal(self, pack_fields(self._BODY, self.sent_ns, self.size), self.data)

    def _check(self) -> None:
        check_range('size', self.size, 1, MAX_RECORD_BYTES)
        if self.data and len(self.data) != self.size:
            raise WireError('value', f'a probe of {self.size} bytes with {len(self.data)}')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> Probe:
        sent_ns, size = unpack_fields(cls._BODY, payload)
        if header.sequence or header.stamp_ns:
            raise WireError('value', 'a probe has neither sequence nor stamp')
        return cls(sent_ns, size, bytes(payload[cls._BODY.size :]), header.session, header.worker)


Record = FrameUp | FeaturesDown | Notice | Hello | HelloReply | OffloadHello | ShardUp | MaskDown | Probe | AskUp
_TYPES = (FrameUp, FeaturesDown, Notice, Hello, HelloReply, OffloadHello, ShardUp, MaskDown, Probe, AskUp)
_KINDS: dict[int, type[Record]] = {record.KIND: record for record in _TYPES}


def unpack(data: bytes | bytearray | memoryview) -> Record:
    """The record in `data`, every field checked; `WireError` for anything else, never another exception."""
    view = memoryview(data)
    if len(view) > MAX_RECORD_BYTES:
        raise WireError('too_large', f'record of {len(view)} bytes, at most {MAX_RECORD_BYTES} are allowed')
    if len(view) < HEADER_BYTES:
        raise WireError('short', f'record of {len(view)} bytes, a header alone has {HEADER_BYTES}')
    magic, version, kind, flags, crc, length, sequence, stamp_ns, session, worker = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise WireError('magic', f'record begins with {magic!r}, expected {MAGIC!r}')
    if version != PROTOCOL:
        raise WireError(
            'version',
            f'record of protocol {version}, this side speaks {PROTOCOL}: install the same version on both sides',
        )
    payload = view[HEADER_BYTES:]
    if length != len(payload):
        raise WireError('length', f'header announces {length} payload bytes, {len(payload)} came')
    if crc != checksum_of(view):
        raise WireError('checksum', 'checksum does not match: the record was damaged on the way')
    if flags:
        raise WireError('value', f'flags {flags:#06x} are reserved and must be 0')
    record_type = _KINDS.get(kind)
    if record_type is None:
        raise WireError('kind', f'record of unknown kind {kind}')
    record = record_type._parse(Header(kind, sequence, stamp_ns, session, worker), payload)
    record._check()
    return record
