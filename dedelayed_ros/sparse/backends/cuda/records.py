"""The structures of ``kernels/cuda/plan.h`` as NumPy types: same fields, same order, laid out as C++ does.

Pointers are uint64. A test compares sizes and offsets with those of the compiled kernels.
"""

from __future__ import annotations

import numpy as np

_POINTER, _INT, _FLOAT = np.uint64, np.int32, np.float32


def _record(*fields: tuple[str, object] | tuple[str, object, int]) -> np.dtype:
    return np.dtype(list(fields), align=True)


def _fields(kind: object, names: str) -> list[tuple[str, object]]:
    return [(name, kind) for name in names.split()]


AXIS = _record(*_fields(_POINTER, 'tap base phase inside tapped'), *_fields(_INT, 'size_in size_out taps fixed'))

FIELD = _record(*_fields(_POINTER, 'vectors valid'), *_fields(_INT, 'rows cols block frame_height frame_width unused'))

SLOT = _record(
    *_fields(_POINTER, 'key remainder rest strays stray_count source'),
    ('rows', AXIS),
    ('cols', AXIS),
    *[(name, _INT, 2) for name in ('num', 'den', 'ratio_num', 'ratio_den')],
    *_fields(_INT, 'height width main unused'),
    ('share', _FLOAT, 2),
    ('spread', _FLOAT, 2),
)

RANGE = _record(('low', np.int16, 2), ('high', np.int16, 2))

CELLS = _record(('range', _POINTER), ('num', _INT, 2), ('den', _INT, 2), *_fields(_INT, 'height width'))

REACH = _record(('rows', AXIS), ('cols', AXIS), *_fields(_POINTER, 'key range'))

CHECK = _record(
    *_fields(_POINTER, 'bad key reaches'),
    *_fields(_INT, 'reach_count height width tolerant'),
    ('placed', _INT, 2),
    ('spread', _FLOAT, 2),
)

FUNCTION = _record(('code', _INT), *_fields(_FLOAT, 'a b c'))

SOURCE = _record(
    *_fields(_POINTER, 'origin dirty flags'),
    ('rows', AXIS),
    ('cols', AXIS),
    *_fields(_INT, 'height width channels unused'),
)

PICK = _record(*_fields(_INT, 'input channel'), ('constant', _FLOAT))

LAYER = _record(
    *_fields(_POINTER, 'origin dirty flags bad key sources list count fresh scratch strays stray_count weight bias'),
    ('functions', _POINTER),
    ('factors', _POINTER, 2),
    *_fields(_POINTER, 'picks given remainder'),
    *_fields(_INT, 'height width channels source_count function_count'),
    ('kernel', _INT, 2),
    *_fields(_INT, 'groups mode lanes staged weight_pitch depth shift given_is_dirty'),
    *_fields(_FLOAT, 'threshold alpha fill'),
)

STRUCTURES = {
    'Axis': AXIS,
    'Field': FIELD,
    'Slot': SLOT,
    'Range': RANGE,
    'Cells': CELLS,
    'Reach': REACH,
    'Check': CHECK,
    'Function': FUNCTION,
    'Source': SOURCE,
    'Pick': PICK,
    'Layer': LAYER,
}

NOWHERE = -(2**31)  # displacement of a position without a cached value


def to_key(rows: int, cols: int) -> int:
    """A displacement in cells as one int32."""
    key = (rows & 0xFFFF) << 16 | (cols & 0xFFFF)
    return key - 2**32 if key >= 2**31 else key
