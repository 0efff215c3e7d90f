from __future__ import annotations

import pytest
import torch

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.dtypes import resolve_device, resolve_dtype


@pytest.mark.parametrize(('name', 'expected'), [('float32', torch.float32), ('bfloat16', torch.bfloat16)])
def test_a_number_format_by_its_name(name: str, expected: torch.dtype) -> None:
    assert resolve_dtype(name) is expected


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in ((True, 'cuda'), (False, 'cpu')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda found=found: found)
        assert resolve_device('auto').type == expected
        assert resolve_device('cpu').type == 'cpu'
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: False)
    assert resolve_dtype('auto', torch.device('cuda')) is torch.float32


def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match=r"finds no GPU.*use 'cpu'"):
        resolve_device('cuda')
    for resolve in (resolve_device, resolve_dtype):
        with pytest.raises(InputError, match="'tpu'; expected 'auto'"):
            resolve('tpu')
