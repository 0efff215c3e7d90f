"""The bytes of latents: whole numbers predicted from their neighbours, and what is left in Huffman codes.

Cells are coded in three passes, so that each but the first has neighbours on all sides: first those in even rows and
columns; then those in odd rows and columns, from their four diagonal neighbours; then the rest, from the four beside
them:

    0 2 0 2       A latent is predicted as the mean of its neighbours' (those that the map has), and the difference is
    2 1 2 1       coded with one of a few codes, chosen by pass, channel and how much the neighbours differ: where they
    0 2 0 2       agree, the difference is nearly always zero and costs one bit.

Everything that decides the decoding is integer arithmetic and code lengths that ship with the weights, so both ends
agree on every processor. Layout, little-endian: version u8 = 2 | unused bits at the end u8 | L, h, w u16 | the codes of
pass 0, 1 and 2, each sorted by its code's number and then by channel, row and column.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

import numpy as np
from bitarray import bitarray, decodetree
from bitarray.util import canonical_huffman, int2ba

from dedelayed_ros.link.wire import MAX_RECORD_BYTES, WireError

VERSION = 2
PASSES = 3
SPREADS = (1, 3, 6)
"""Differences among the neighbours from which on the next table is used."""

_HEAD = struct.Struct('<BBHHH')
_SPREADS = np.array(SPREADS)
_FAR = 2**20  # beyond any latent


class LatentCoder:
    """Codes latents with one set of canonical Huffman codes.

    ``lengths``: uint8 [3, L, 4, 4·limit + 1]: bits of the code of each difference from −2·limit to 2·limit, by pass,
    channel and spread of the neighbours; from :func:`code_lengths`.
    """

    def __init__(self, lengths: np.ndarray) -> None:
        if lengths.ndim != 4 or lengths.dtype != np.uint8 or lengths.shape[::2] != (PASSES, len(SPREADS) + 1):
            raise ValueError(f'code lengths are {lengths.dtype} {lengths.shape}; expected uint8 [3, L, 4, 4·limit + 1]')
        self.channels, self.limit = lengths.shape[1], (lengths.shape[3] - 1) // 4
        self._lengths = lengths.reshape(-1, lengths.shape[3])
        self._codes = [_canonical(row) for row in self._lengths]
        self._trees = [decodetree(code) for code in self._codes]
        self._bits = self._lengths.tolist()
        self._longest = [max(row) for row in self._bits]

    def pack(self, latents: np.ndarray) -> bytes:
        """Whole latents [L, h, w] of any number type, within ±limit, as bytes.

        Raises:
            WireError: another shape, or values that are no such numbers.
        """
        if latents.ndim != 3 or latents.shape[0] != self.channels or not 0 < latents.size <= MAX_RECORD_BYTES:
            raise WireError('value', f'latents of shape {latents.shape}, expected ({self.channels}, height, width)')
        if not (np.abs(latents) <= self.limit).all() or not np.array_equal(latents, np.rint(latents)):
            raise WireError('value', f'latents must be whole numbers within ±{self.limit}')
        whole = np.asarray(latents, np.int32)
        bits = bitarray(endian='big')
        for number in range(PASSES):
            cells, expected, table = _context(whole, number)
            symbols = whole[:, cells].reshape(-1) - expected + 2 * self.limit
            for code, members in _groups(table):
                bits.encode(self._codes[code], symbols[members].tolist())
        unused = bits.fill()
        return _HEAD.pack(VERSION, unused, *latents.shape) + bits.tobytes()

    def unpack(self, data: bytes | memoryview) -> np.ndarray:
        """Latents float32 [L, h, w] as :meth:`pack` wrote them; `WireError` for anything else, in bounded memory."""
        view = memoryview(data)
        if len(view) < _HEAD.size:
            raise WireError('short', f'latents of {len(view)} bytes, a header alone has {_HEAD.size}')
        version, unused, channels, height, width = _HEAD.unpack_from(view)
        if version != VERSION:
            raise WireError('version', f'features in format {version}, expected {VERSION}')
        bits = bitarray(endian='big')
        bits.frombytes(bytes(view[_HEAD.size :]))
        size = channels * height * width
        # Each latent takes a bit at least, so what is made of a record is never much larger than the record.
        if channels != self.channels or unused > 7 or not 0 < size <= len(bits) - unused:
            raise WireError(
                'value', f'latents {channels}x{height}x{width} in {len(bits)} bits, {unused} of them unused'
            )
        whole = np.zeros((channels, height, width), np.int32)
        at, end = 0, len(bits) - unused
        for number in range(PASSES):
            cells, expected, table = _context(whole, number)
            symbols = np.empty(len(table), np.int32)
            for code, members in _groups(table):
                window = bits[at : min(end, at + self._longest[code] * len(members))]
                try:
                    found = list(islice(window.decode(self._trees[code]), len(members)))
                except ValueError:
                    raise WireError('checksum', 'coded latents are damaged') from None
                if len(found) < len(members):
                    raise WireError('checksum', 'coded latents end too early')
                symbols[members] = found
                at += sum(map(self._bits[code].__getitem__, found))
            whole[:, cells] = (symbols + expected - 2 * self.limit).reshape(channels, -1)
        if at != end or np.abs(whole).max() > self.limit:
            raise WireError('checksum', 'coded latents are damaged')
        return whole.astype(np.float32)


def code_lengths(maps: list[np.ndarray], limit: int) -> np.ndarray:
    """The code lengths for :class:`LatentCoder` from examples: whole latents int [L, h, w] within ±limit."""
    channels, width = maps[0].shape[0], 4 * limit + 1
    # Each difference stays possible, however rare; small ones are likelier before anything was seen.
    likely = 16 // (1 + np.abs(np.arange(width) - 2 * limit)) + 1
    counts = np.tile(likely, (PASSES * channels * (len(SPREADS) + 1), 1)).astype(np.int64)
    for latents in maps:
        whole = latents.astype(np.int32)
        for number in range(PASSES):
            cells, expected, table = _context(whole, number)
            np.add.at(counts, (table, whole[:, cells].reshape(-1) - expected + 2 * limit), 16)
    lengths = np.empty(counts.shape, np.uint8)
    for row, count in zip(lengths, counts, strict=True):
        code, _, _ = canonical_huffman(dict(enumerate(count.tolist())))
        row[:] = [len(code[symbol]) for symbol in range(width)]
    return lengths.reshape(PASSES, channels, -1, width)


def _canonical(lengths: np.ndarray) -> dict[int, bitarray]:
    """The code of each symbol: those of a length count up, shorter ones first (RFC 1951, section 3.2.2)."""
    codes: dict[int, bitarray] = {}
    value = previous = 0
    for symbol in np.lexsort((np.arange(len(lengths)), lengths)).tolist():
        length = int(lengths[symbol])
        value = (value + 1) << (length - previous) if codes else 0
        codes[symbol] = int2ba(value, length, endian='big')
        previous = length
    return codes


def _groups(table: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each code that occurs, with the latents that it is used for, in order."""
    if not len(table):
        return
    order = np.argsort(table, kind='stable')
    codes, starts = np.unique(table[order], return_index=True)
    yield from zip(codes.tolist(), np.split(order, starts[1:]), strict=True)


def _context(whole: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells of a pass, bool [h, w], and of each of their latents, channel by channel, what is expected and which
    code is used; only cells of earlier passes are looked at.
    """
    channels, height, width = whole.shape
    row, column = np.arange(height)[:, None] % 2, np.arange(width)[None, :] % 2
    passes = np.where(row == column, row, 2)
    cells = passes == number
    count = int(cells.sum())
    spread = np.zeros((channels, count), np.int64)
    expected = np.zeros((channels, count), np.int32)
    if number > 0 and count:
        steps = ((-1, -1), (-1, 1), (1, -1), (1, 1)) if number == 1 else ((-1, 0), (1, 0), (0, -1), (0, 1))
        padded = np.zeros((channels, height + 2, width + 2), np.int32)
        padded[:, 1:-1, 1:-1] = whole
        known = np.zeros((height + 2, width + 2), bool)
        known[1:-1, 1:-1] = passes < number
        rows, columns = np.nonzero(cells)
        at = np.stack([(rows + 1 + down) * (width + 2) + columns + 1 + right for down, right in steps])  # [4, N]
        there = known.reshape(-1)[at]
        values = padded.reshape(channels, -1)[:, at]  # [L, 4, N]; zero where there is none
        neighbours = there.sum(0, dtype=np.int32)
        alone = neighbours == 0
        # The mean, rounded to the nearest whole number, halves up.
        expected = (2 * values.sum(1, dtype=np.int32) + neighbours) // np.maximum(2 * neighbours, 1)
        high, low = np.where(there, values, -_FAR).max(1), np.where(there, values, _FAR).min(1)
        spread = np.searchsorted(_SPREADS, np.where(alone, 0, high - low), side='right')
    kinds = len(SPREADS) + 1
    table = (number * channels + np.arange(channels)[:, None]) * kinds + spread
    return cells, expected.reshape(-1), table.reshape(-1)
