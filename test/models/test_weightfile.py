from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from dedelayed_ros.errors import WeightsError
from dedelayed_ros.models.weightfile import WeightFile, load, save


def example() -> WeightFile:
    torch.manual_seed(0)
    tensors = {
        'b': torch.randn(3, 4).half(),
        'a': torch.randn(2, 3, 1, 1).to(memory_format=torch.channels_last),
        'scalar': torch.tensor(7),
        'empty': torch.zeros(0, 5),
        'brain': torch.randn(5).bfloat16(),
    }
    return WeightFile(tensors, 'some-net', {'width': 32})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    weights = example()
    checksum = save(tmp_path / 'w.safetensors', weights)
    loaded = load(tmp_path / 'w.safetensors', checksum)
    assert (loaded.architecture, loaded.settings) == ('some-net', {'width': 32})
    assert loaded.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert loaded.tensors[name].shape == tensor.shape
        assert torch.equal(loaded.tensors[name], tensor)


def test_the_same_tensors_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    weights = example()
    turned = WeightFile(dict(reversed(weights.tensors.items())), weights.architecture, weights.settings)
    assert save(tmp_path / 'one', weights) == save(tmp_path / 'two', turned)
    assert (tmp_path / 'one').read_bytes() == (tmp_path / 'two').read_bytes()


def test_the_format_is_safetensors(tmp_path: Path) -> None:
    save(tmp_path / 'w', example())
    data = (tmp_path / 'w').read_bytes()
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8 : 8 + length])
    begin, end = header['b']['data_offsets']
    assert header['b'] == {'dtype': 'F16', 'shape': [3, 4], 'data_offsets': [begin, begin + 24]}
    body = data[8 + length :]
    assert torch.equal(
        torch.frombuffer(bytearray(body[begin:end]), dtype=torch.float16).view(3, 4), example().tensors['b']
    )
    assert len(data) % 2 == 0


@pytest.mark.parametrize('checked', [True, False])
@pytest.mark.parametrize('where', [0, 5, 9, 200, -1])
def test_any_changed_byte_is_found(tmp_path: Path, where: int, checked: bool) -> None:
    path = tmp_path / 'w'
    checksum = save(path, example())
    data = bytearray(path.read_bytes())
    data[where] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(WeightsError, match='damaged'):
        load(path, checksum if checked else None)


@pytest.mark.parametrize('content', [b'', b'\x08', b'PK\x03\x04 a pickle', b'\xff' * 64, struct.pack('<Q', 2) + b'{}'])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'w').write_bytes(content)
    with pytest.raises(WeightsError, match='not a weight file'):
        load(tmp_path / 'w')


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'w'
    save(path, example())
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeightsError, match='damaged'):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='nothing-here'):
        load(tmp_path / 'nothing-here')
