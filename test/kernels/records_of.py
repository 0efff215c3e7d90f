"""Records for launching one kernel: plain arrays of this process, by their addresses."""

from __future__ import annotations

import numpy as np
import torch

from dedelayed_ros.sparse.backends.cuda import records
from dedelayed_ros.sparse.geometry import AxisMap, Grid
from dedelayed_ros.sparse.motion import Displacement


class Kept:
    """Keeps arrays alive, and finds them by address."""

    def __init__(self) -> None:
        self._arrays: dict[int, np.ndarray] = {}

    def __call__(self, array) -> int:
        """The array's address."""
        held = array if isinstance(array, np.ndarray) else np.ascontiguousarray(array)
        assert held.flags.c_contiguous
        self._arrays[held.ctypes.data] = held
        return held.ctypes.data

    def array(self, address) -> np.ndarray:
        """The array at an address."""
        return self._arrays[int(address)]


def axis_record(axis: AxisMap, kept: Kept) -> np.ndarray:
    record = np.zeros((), records.AXIS)
    taps = torch.where(axis.taps >= 0, axis.taps, axis.size_in)
    for name, table, kind in (
        ('tap', taps, np.int32),
        ('base', axis.base, np.int32),
        ('phase', axis.phase, np.int32),
        ('inside', axis.inside, np.uint8),
        ('tapped', axis.tapped, np.uint8),
    ):
        record[name] = kept(np.ascontiguousarray(table.numpy().astype(kind)))
    record['size_in'], record['size_out'] = axis.size_in, axis.size_out
    record['taps'], record['fixed'] = axis.taps.shape[1], axis.fixed
    return record


def grid_record(grid: Grid, kept: Kept, remainder: torch.Tensor | None = None) -> np.ndarray:
    """A displacement's record for a grid, its keys and what remains full of nonsense."""
    slot = np.zeros(1, records.SLOT)
    slot['height'], slot['width'] = grid.size
    slot['num'], slot['den'] = zip(*(s.as_integer_ratio() if s else (0, 0) for s in grid.stride), strict=True)
    slot['key'] = kept(np.full(grid.cells, 12345, np.int32))
    slot['rest'] = kept(np.full(2 * grid.cells, 12345, np.int32))
    if remainder is not None:
        slot['remainder'] = kept(np.ascontiguousarray(remainder.numpy().astype(np.int32)))
    return slot


def keys_of(moved: Displacement) -> np.ndarray:
    """A displacement as int32 keys [h, w]."""
    rows, cols = (c.numpy().astype(np.int64) & 0xFFFF for c in moved.cells)
    keys = (rows << 16 | cols).astype(np.uint32).view(np.int32)
    return np.where(moved.valid.numpy(), keys, np.int32(records.NOWHERE))


def packed(mask: np.ndarray) -> np.ndarray:
    """A set bool [h, w] as the kernels have it, uint32 [h, words]."""
    wide = np.zeros((mask.shape[0], -(-mask.shape[1] // 32) * 32), bool)
    wide[:, : mask.shape[1]] = mask
    return np.packbits(wide, axis=1, bitorder='little').view('<u4')


def unpacked(words: np.ndarray, width: int) -> np.ndarray:
    """The other way; bits beyond the width have to be zero."""
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder='little').astype(bool)
    assert not bits[:, width:].any(), 'bits beyond the last column'
    return bits[:, :width]
