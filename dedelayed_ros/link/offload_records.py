"""The records of offload mode: what a robot expects of the cloud, one offloaded frame, and its mask.

Both ends run the same model. Frames go up in one of two ways. As H.264: the camera's own stream, as in the other modes
(`FrameUp`); where the camera's other stream takes its pictures up anyway, only their masks are asked for (`AskUp`). As
shards: the cloud holds the picture that it last got, its *replica*, and a frame goes up as what differs
from it (`shard`); each record names the replica that it builds on and what comes out, so that neither end ever goes on
from something that the other does not have.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import ClassVar

from dedelayed_ros.link.fields import (
    HEADER_BYTES,
    MAX_CLASSES,
    MAX_RATE,
    MAX_SIDE,
    NO_ANSWER,
    NO_SEQUENCE,
    PROTOCOL,
    Header,
    WireError,
    check_range,
    join_texts,
    pack_fields,
    seal,
    split_texts,
    unpack_fields,
)


@dataclass(frozen=True)
class OffloadHello:
    """What a robot expects of the cloud for one offloaded stream.

    `input_size` (H, W) of the model's input, which shards are of, and `mask_size` of the masks, in pixels; `rate` in
    frames a second. `tolerance` is a checksum of the calibration that both ends run the model with, empty for exact
    reuse. `camera_size` (H, W) of the H.264 pictures that frames go up as; None: they go up as shards.
    """

    model: str
    model_checksum: str
    tolerance: str
    classes: int
    input_size: tuple[int, int]
    mask_size: tuple[int, int]
    rate: float
    camera_size: tuple[int, int] | None = None
    protocol: int = PROTOCOL
    session: int = 0
    worker: int = 0
    stamp_ns: int = 0

    KIND: ClassVar[int] = 6
    sequence: ClassVar[int] = 0
    _BODY: ClassVar[struct.Struct] = struct.Struct('<HHHHHHHHf')

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        camera = self.camera_size or (0, 0)
        body = pack_fields(
            self._BODY, self.protocol, self.classes, *self.input_size, *self.mask_size, *camera, self.rate
        )
        return seal(self, body, join_texts(self.model, self.model_checksum, self.tolerance))

    def _check(self) -> None:
        check_range('classes', self.classes, 1, MAX_CLASSES)
        for side in (*self.input_size, *self.mask_size, *(self.camera_size or ())):
            check_range('size', side, 1, MAX_SIDE)
        if not 0 < self.rate <= MAX_RATE:
            raise WireError('value', f'rate is {self.rate}, expected above 0 and at most {MAX_RATE:g} frames a second')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> OffloadHello:
        protocol, classes, ih, iw, mh, mw, ch, cw, rate = unpack_fields(cls._BODY, payload)
        model, checksum, tolerance = split_texts(payload[cls._BODY.size :], 3)
        if header.sequence:
            raise WireError('value', 'a hello has no sequence')
        return cls(
            model, checksum, tolerance, classes, (ih, iw), (mh, mw), rate, (ch, cw) if (ch, cw) != (0, 0) else None,
            protocol, header.session, header.worker, header.stamp_ns,
        )  # fmt: skip


@dataclass(frozen=True)
class ShardUp:
    """One offloaded frame.

    `base` is the sequence of the replica that `data` builds on, None for a dense frame; `base_checksum` the CRC-32 of
    that replica's pixels (0 for a dense frame), `checksum` that of the pixels that come out. `sent_ns` is the robot's
    monotonic clock at sending. `data` is as `pack_shard` writes it.
    """

    sequence: int
    base: int | None
    base_checksum: int
    checksum: int
    stamp_ns: int
    sent_ns: int
    data: bytes
    session: int = 0
    worker: int = 0

    KIND: ClassVar[int] = 7
    _BODY: ClassVar[struct.Struct] = struct.Struct('<QIIq')
    OVERHEAD: ClassVar[int] = HEADER_BYTES + _BODY.size  # bytes of a record that holds nothing

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        base = NO_SEQUENCE if self.base is None else self.base
        return seal(self, pack_fields(self._BODY, base, self.base_checksum, self.checksum, self.sent_ns), self.data)

    def _check(self) -> None:
        if self.base is not None and self.base >= self.sequence:
            raise WireError('value', f'frame {self.sequence} builds on {self.base}, expected an earlier one')
        if self.base is None and self.base_checksum:
            raise WireError('value', f'frame {self.sequence} is dense and yet names the checksum of a base')
        if not self.data:
            raise WireError('value', f'frame {self.sequence} has no data')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> ShardUp:
        base, base_checksum, checksum, sent_ns = unpack_fields(cls._BODY, payload)
        return cls(
            header.sequence, None if base == NO_SEQUENCE else base, base_checksum, checksum, header.stamp_ns, sent_ns,
            bytes(payload[cls._BODY.size :]), header.session, header.worker,
        )  # fmt: skip


@dataclass(frozen=True)
class AskUp:
    """The mask of a picture is wanted that goes up in the camera's other stream.

    `sequence` and `stamp_ns` are the picture's, which both streams share; `sent_ns` is the robot's monotonic clock at
    sending. Without `answer` it is only the question whether pictures can be asked for, and about none: both are 0.
    """

    sequence: int
    stamp_ns: int
    sent_ns: int
    session: int = 0
    worker: int = 0
    answer: bool = True

    KIND: ClassVar[int] = 10
    _BODY: ClassVar[struct.Struct] = struct.Struct('<qB')
    OVERHEAD: ClassVar[int] = HEADER_BYTES + _BODY.size  # bytes of a record that holds nothing

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        return seal(self, pack_fields(self._BODY, self.sent_ns, 0 if self.answer else NO_ANSWER), b'')

    def _check(self) -> None:
        if not self.answer and (self.sequence or self.stamp_ns):
            raise WireError('value', 'a question whether pictures can be asked for has neither sequence nor stamp')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> AskUp:
        sent_ns, flags = unpack_fields(cls._BODY, payload)
        if len(payload) > cls._BODY.size:
            raise WireError('length', f'{len(payload) - cls._BODY.size} bytes too many behind an ask')
        if flags not in (0, NO_ANSWER):
            raise WireError('value', f'flags of an ask are {flags}, expected 0 or {NO_ANSWER}')
        return cls(header.sequence, header.stamp_ns, sent_ns, header.session, header.worker, not flags)


@dataclass(frozen=True)
class MaskDown:
    """The mask of one offloaded frame.

    `sequence`, `stamp_ns` and `sent_ns` are the frame's, echoed; `received_sequence` is the newest frame that the
    server has of this session. `queue_ms` is the time from arrival to the start of the model, `server_ms` the time of
    model and packing. Ratios (0-1) are those of the engine: `recompute_ratio` of input positions, `compute_ratio` of
    multiply-accumulates. `data` is as `pack_mask` writes it.
    """

    sequence: int
    stamp_ns: int
    sent_ns: int
    received_sequence: int
    queue_ms: float
    server_ms: float
    recompute_ratio: float
    compute_ratio: float
    data: bytes
    session: int = 0
    worker: int = 0

    KIND: ClassVar[int] = 8
    _BODY: ClassVar[struct.Struct] = struct.Struct('<qQffff')

    def pack(self) -> bytes:
        """The record as bytes; `WireError` if a field is out of its range."""
        self._check()
        body = pack_fields(
            self._BODY, self.sent_ns, self.received_sequence, self.queue_ms, self.server_ms, self.recompute_ratio,
            self.compute_ratio,
        )  # fmt: skip
        return seal(self, body, self.data)

    def _check(self) -> None:
        check_range('queue_ms', self.queue_ms, 0, math.inf)
        check_range('server_ms', self.server_ms, 0, math.inf)
        check_range('recompute_ratio', self.recompute_ratio, 0, 1)
        check_range('compute_ratio', self.compute_ratio, 0, 1)
        if self.received_sequence < self.sequence:
            raise WireError('value', f'mask of frame {self.sequence}, newest received {self.received_sequence}')
        if not self.data:
            raise WireError('value', f'mask of frame {self.sequence} has no data')

    @classmethod
    def _parse(cls, header: Header, payload: memoryview) -> MaskDown:
        sent_ns, received, queue_ms, server_ms, recompute, compute = unpack_fields(cls._BODY, payload)
        return cls(
            header.sequence, header.stamp_ns, sent_ns, received, queue_ms, server_ms, recompute, compute,
            bytes(payload[cls._BODY.size :]), header.session, header.worker,
        )  # fmt: skip
