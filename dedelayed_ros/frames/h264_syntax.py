"""What an H.264 stream says about itself before it is decoded: parameter sets and slice headers (ITU-T H.264, 7.3).

FFmpeg exports motion vectors without saying which picture they refer to. They are the displacement from the previous
picture only if every slice is I or P, has one reference that is the previous picture, and holds whole frames. That is
decided here, from a few dozen bits a picture, as is whether a picture is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dedelayed_ros.errors import InputError

SLICE, IDR_SLICE, SEI, SPS, PPS, DELIMITER = 1, 5, 6, 7, 8, 9  # nal_unit_type
_P, _B, _I = 0, 1, 2  # slice_type modulo 5
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_HEADER_BYTES = 64  # slice headers and the fields read here end well before
_MAX_MACROBLOCKS = 139_264  # of a frame at level 6.2


@dataclass(frozen=True)
class SequenceParameters:
    """The fields of an SPS that matter here. width and height in pixels, after cropping."""

    width: int
    height: int
    crop_left: int
    crop_top: int
    references: int
    frames_only: bool
    separate_planes: bool
    frame_number_bits: int
    gaps_allowed: bool
    order_type: int
    order_bits: int
    delta_always_zero: bool


@dataclass(frozen=True)
class PictureParameters:
    """The fields of a PPS that matter here."""

    sequence: int
    order_present: bool
    references: int
    redundant: bool
    slice_groups: int


@dataclass(frozen=True)
class SliceHeader:
    """The first fields of a slice."""

    sequence: SequenceParameters
    first_block: int
    kind: int  # 0 P, 1 B, 2 I
    idr: bool
    is_reference: bool
    frame_number: int
    references: int
    reordered: bool
    is_field: bool


def nal_units(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of every NAL unit of an Annex B stream; start is that of its header byte."""
    start = data.find(b'\0\0\1')
    while start >= 0:
        start += 3
        following = data.find(b'\0\0\1', start)
        end = len(data) if following < 0 else following
        if start < end:
            yield data[start] & 31, start, end
        start = following


def access_units(data: bytes) -> list[bytes]:
    """Cut an Annex B stream into pictures, each with the parameter sets and messages before it."""
    cuts, has_slice = [0], False
    for kind, start, end in nal_units(data):
        prefix = start - 4 if start >= 4 and data[start - 4] == 0 else start - 3
        # first_mb_in_slice is 0, coded as a single 1 bit, where a picture begins.
        first_slice = kind in (SLICE, IDR_SLICE) and start + 1 < end and data[start + 1] & 0x80 != 0
        if has_slice and (first_slice or kind in (SEI, SPS, PPS, DELIMITER)):
            cuts.append(prefix)
            has_slice = False
        has_slice = has_slice or kind in (SLICE, IDR_SLICE)
    return [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=True) if a < b]


class H264Syntax:
    """Follows the headers of one stream. Raises InputError where they are malformed."""

    def __init__(self) -> None:
        self._sequences: dict[int, SequenceParameters] = {}
        self._pictures: dict[int, PictureParameters] = {}

    def slices(self, data: bytes) -> list[SliceHeader]:
        """Headers of the slices of ``data`` (Annex B), after taking in the parameter sets that it holds."""
        found = []
        for kind, start, end in nal_units(data):
            if kind not in (SLICE, IDR_SLICE, SPS, PPS):
                continue
            bits = _Bits(data[start + 1 : end if kind == SPS else min(end, start + 1 + _HEADER_BYTES)])
            try:
                if kind == SPS:
                    identifier, sequence = _sequence_parameters(bits)
                    self._sequences[identifier] = sequence
                elif kind == PPS:
                    identifier, picture = _picture_parameters(bits)
                    self._pictures[identifier] = picture
                else:
                    found.append(self._slice(bits, kind == IDR_SLICE, data[start] & 0x60 != 0))
            except (IndexError, KeyError) as error:
                raise _damaged('a header that ends early or refers to parameters that never came') from error
        return found

    def _slice(self, bits: _Bits, idr: bool, is_reference: bool) -> SliceHeader:
        first_block = bits.unsigned()
        kind = bits.unsigned() % 5
        picture = self._pictures[bits.unsigned()]
        sequence = self._sequences[picture.sequence]
        if sequence.separate_planes:
            bits.take(2)
        frame_number = bits.take(sequence.frame_number_bits)
        is_field = not sequence.frames_only and bits.take(1) == 1
        if is_field:
            bits.take(1)
        if idr:
            bits.unsigned()
        if sequence.order_type == 0:
            bits.take(sequence.order_bits)
            if picture.order_present and not is_field:
                bits.signed()
        elif sequence.order_type == 1 and not sequence.delta_always_zero:
            bits.signed()
            if picture.order_present and not is_field:
                bits.signed()
        if picture.redundant:
            bits.unsigned()
        references, reordered = 0, False
        if kind == _P:
            references = bits.unsigned() + 1 if bits.take(1) else picture.references
            reordered = bits.take(1) == 1
        return SliceHeader(
            sequence, first_block, kind, idr, is_reference, frame_number, references, reordered, is_field
        )


class ParameterSets:
    """Keeps a stream's SPS and PPS, so that each key frame can be decoded by whoever joins there."""

    def __init__(self) -> None:
        self._sets = b''

    def completed(self, data: bytes) -> bytes:
        """The access unit ``data``, with the last parameter sets before it if it is a key frame that lacks them."""
        units = list(nal_units(data))
        sets = b''.join(b'\0\0\0\1' + data[a:b].rstrip(b'\0') for kind, a, b in units if kind in (SPS, PPS))
        if sets:
            self._sets = sets
        elif any(kind == IDR_SLICE for kind, _, _ in units):
            return self._sets + data
        return data


class MotionCheck:
    """Says whether a stream's own vectors are displacements from the previous picture. Feed it every picture."""

    def __init__(self) -> None:
        self._previous: SliceHeader | None = None
        self._size: tuple[int, int] | None = None

    def reason(self, slices: list[SliceHeader]) -> str | None:
        """Why the vectors of this picture cannot be used, or None if they can."""
        for header in slices:
            reason = self._reason(header)
            if reason:
                return reason
        if slices:
            self._previous = slices[-1]
        return None

    def _reason(self, header: SliceHeader) -> str | None:
        sequence, previous = header.sequence, self._previous
        size = (sequence.height, sequence.width)
        self._size = self._size or size
        if size != self._size:
            return f'the picture size changes from {self._size[1]}x{self._size[0]} to {size[1]}x{size[0]}'
        if header.kind not in (_P, _I):
            return 'it has B-frames' if header.kind == _B else 'it has SP or SI slices'
        if header.is_field or not sequence.frames_only:
            return 'it is interlaced'
        if sequence.crop_left or sequence.crop_top:
            return 'its picture does not begin at a block (it is cropped on the left or at the top)'
        if header.kind == _P:
            if sequence.references > 1 and (header.references > 1 or header.reordered):
                return f'its P-frames refer to several pictures (up to {max(header.references, 2)})'
            if previous is not None and not previous.is_reference:
                return 'it has pictures that later ones do not refer to (temporal layers)'
        return None


class ContinuityCheck:
    """Notices missing pictures by frame_num, which rises by one after each reference picture."""

    def __init__(self) -> None:
        self._previous: SliceHeader | None = None

    def complete(self, header: SliceHeader) -> bool:
        """Whether the picture that begins with this slice follows the last one that was accepted; if so, accept it."""
        previous = self._previous
        if not header.idr:
            if previous is None:
                return False
            step = 1 if previous.is_reference else 0
            if header.frame_number != (previous.frame_number + step) % (1 << header.sequence.frame_number_bits):
                return False
        self._previous = header
        return True

    def reset(self) -> None:
        """Expect a key frame next."""
        self._previous = None


class _Bits:
    """Reads bits and Exp-Golomb codes of a NAL unit's payload; IndexError at its end."""

    def __init__(self, payload: bytes) -> None:
        raw = payload.replace(b'\0\0\3', b'\0\0')
        self._value, self._left = int.from_bytes(raw, 'big'), 8 * len(raw)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError('no bits left')
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise IndexError('no code')
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _sequence_parameters(bits: _Bits) -> tuple[int, SequenceParameters]:
    profile = bits.take(8)
    bits.take(16)  # constraint flags, level
    identifier = bits.unsigned()
    chroma, separate = 1, False
    if profile in _HIGH_PROFILES:
        chroma = bits.unsigned()
        separate = chroma == 3 and bits.take(1) == 1
        bits.unsigned()  # luma depth
        bits.unsigned()  # chroma depth
        bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_number_bits = bits.unsigned() + 4
    order_type, order_bits, delta_always_zero = bits.unsigned(), 0, False
    if order_type == 0:
        order_bits = bits.unsigned() + 4
    elif order_type == 1:
        delta_always_zero = bits.take(1) == 1
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    references, gaps_allowed = bits.unsigned(), bits.take(1) == 1
    columns, rows = bits.unsigned() + 1, bits.unsigned() + 1
    frames_only = bits.take(1) == 1
    if not frames_only:
        bits.take(1)
        rows *= 2
    if columns * rows > _MAX_MACROBLOCKS or frame_number_bits > 16 or order_bits > 16:
        raise _damaged('parameters beyond what H.264 allows')
    bits.take(1)
    left = right = top = bottom = 0
    if bits.take(1):
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
    unit_x = 2 if chroma in (1, 2) and not separate else 1
    unit_y = (2 if chroma == 1 and not separate else 1) * (1 if frames_only else 2)
    width, height = 16 * columns - unit_x * (left + right), 16 * rows - unit_y * (top + bottom)
    if width <= 0 or height <= 0:
        raise _damaged('a picture that is cropped to nothing')
    return identifier, SequenceParameters(
        width, height, left, top, references, frames_only, separate, frame_number_bits, gaps_allowed, order_type,
        order_bits, delta_always_zero,
    )  # fmt: skip


def _skip_scaling_list(bits: _Bits, length: int) -> None:
    last = following = 8
    for _ in range(length):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _picture_parameters(bits: _Bits) -> tuple[int, PictureParameters]:
    identifier, sequence = bits.unsigned(), bits.unsigned()
    bits.take(1)  # entropy coding mode
    order_present = bits.take(1) == 1
    slice_groups = bits.unsigned() + 1
    if slice_groups > 1:
        raise _damaged('slice groups, which no current decoder supports')
    references = bits.unsigned() + 1
    bits.unsigned()  # list 1
    bits.take(3)  # weighted prediction
    for _ in range(3):
        bits.signed()  # quantisers
    bits.take(2)
    return identifier, PictureParameters(sequence, order_present, references, bits.take(1) == 1, slice_groups)


def _damaged(what: str) -> InputError:
    return InputError(f'The H.264 data are damaged: {what}. Expected an intact Annex B stream; wait for a key frame.')
