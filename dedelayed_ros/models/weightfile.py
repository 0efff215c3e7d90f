"""Weight files: the safetensors format, with a checksum and the model's settings in its header.

Nothing in them is executed when they are read, and the same tensors always give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dedelayed_ros.errors import WeightsError

_DTYPES = {'F64': torch.float64, 'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16, 'I64': torch.int64}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_HEADER_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class WeightFile:
    """``tensors`` by name, the ``architecture`` that they belong to and its constructor's ``settings``."""

    tensors: dict[str, Tensor]
    architecture: str
    settings: dict[str, int]


def save(path: Path, weights: WeightFile) -> str:
    """Write ``weights`` and return the file's checksum (sha256, hexadecimal)."""
    header: dict[str, object] = {}
    parts: list[bytes] = []
    offset = 0
    for name in sorted(weights.tensors):
        tensor = weights.tensors[name].detach().cpu().contiguous()
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            'dtype': _NAMES[tensor.dtype],
            'shape': list(tensor.shape),
            'data_offsets': [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    body = b''.join(parts)
    header['__metadata__'] = {
        'architecture': weights.architecture,
        'settings': json.dumps(weights.settings, sort_keys=True),
        'sha256': hashlib.sha256(body).hexdigest(),
    }
    head = json.dumps(header, sort_keys=True, separators=(',', ':')).encode()
    head += b' ' * (-len(head) % 8)
    data = struct.pack('<Q', len(head)) + head + body
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load(path: Path, checksum: str | None = None) -> WeightFile:
    """Read a weight file.

    Args:
        path: the file.
        checksum: sha256 that the whole file must have (what :func:`save` returned); None trusts the file's own.

    Raises:
        WeightsError: it is missing, cut short, damaged, of another format, or not the file that ``checksum`` names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f'cannot read the weights {path} ({error.strerror}). Install the package again, or give the path of a '
            'weight file that exists'
        ) from error
    if checksum is not None and hashlib.sha256(data).hexdigest() != checksum:
        raise WeightsError(
            f'the weights {path} are damaged: {len(data)} bytes that do not have the checksum {checksum[:16]}…. '
            'Install the package again (or restore this file) to get the right ones'
        )
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise WeightsError(
            f'{path} is not a weight file of this package or is damaged ({error}). Expected a .safetensors file '
            'made by `dedelayed train`; restore it or choose another model'
        ) from error


def _parse(data: bytes) -> WeightFile:
    (length,) = struct.unpack_from('<Q', data)
    if not 2 <= length <= min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError(f'a header of {length} bytes in a file of {len(data)}')
    header: Mapping = json.loads(data[8 : 8 + length])
    metadata = header['__metadata__']
    body = memoryview(data)[8 + length :]
    if hashlib.sha256(body).hexdigest() != metadata['sha256']:
        raise ValueError('its checksum is wrong')
    tensors = {}
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        begin, end = entry['data_offsets']
        dtype, shape = _DTYPES[entry['dtype']], entry['shape']
        if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f'tensor {name} does not fit the file')
        # A copy of its own: the file's bytes are neither writable nor aligned.
        flat = torch.frombuffer(bytearray(body[begin:end]), dtype=dtype) if end > begin else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape)
    return WeightFile(tensors, str(metadata['architecture']), dict(json.loads(metadata['settings'])))
