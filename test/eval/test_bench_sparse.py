"""The benchmark of the sparse engine: that its figures are of what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dedelayed_ros.cli import main
from dedelayed_ros.eval.bench_sparse import DIRTY, blobs
from dedelayed_ros.eval.engines import DenseEngine, dense_engines
from dedelayed_ros.models.dtypes import resolve_dtype


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 1), h=st.integers(8, 80), w=st.integers(8, 80), seed=st.integers(0, 99))
def test_blobs_cover_the_share_that_they_are_asked_for(share: float, h: int, w: int, seed: int) -> None:
    mask = blobs((h, w), share, torch.Generator().manual_seed(seed))
    assert mask.shape == (h, w)
    assert abs(int(mask.sum()) - share * h * w) <= 0.5


@pytest.mark.timeout(120)
def test_the_command_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / 'bench.json'
    words = ['bench', 'sparse', '--rounds', '2', '--size', '256x128', '--json', str(figures), '--out', str(tmp_path)]
    assert main(words) == 0
    found = json.loads(figures.read_text())
    rows = [row for row in found['rows'] if row['engine'] == 'sparse']
    sparse = {row['dirty']: row for row in rows if row['dtype'] == 'float32'}
    assert {row['dtype'] for row in rows} == {'float32'} | (
        {'bf16'} if resolve_dtype('auto') is torch.bfloat16 else set()
    )
    assert set(sparse) == {'reset', *DIRTY, 'pan', 'pan, calibrated'}
    assert sparse['reset']['compute_ratio'] == sparse[1.0]['compute_ratio'] == 1
    assert sparse[0.0]['compute_ratio'] == 0
    ratios = [sparse[dirty]['compute_ratio'] for dirty in (0.0, 0.1, 1.0)]
    assert ratios == sorted(ratios)
    assert sparse['reset']['ratio_own_dense'] == 1
    assert {row['dtype'] for row in found['rows'] if row['engine'] == 'torch'} == {'float32', 'bf16'}
    keys = {'engine', 'threads', 'dtype', 'dirty', 'compute_ratio', 'ms_median', 'ms_iqr'}
    phases = {'front_end_ms', 'compare_ms', 'sets_ms', 'remap_ms', 'compute_ms', 'call_ms'}
    keys |= {'cpu_ms_median', 'cpu_ratio_own_dense', 'ratio_own_dense', 'ratio_openvino', *phases}
    assert all(set(row) == keys for row in found['rows'])
    for row in found['rows']:
        assert all((row[phase] is None) == (row['engine'] != 'sparse') for phase in phases)
    assert found['cache_bytes'] > 0
    assert (tmp_path / 'sparse.png').stat().st_size > 10_000
    # Of a picture that moves as a whole, only what comes in is computed, and what it reads.
    assert 0 < sparse['pan, calibrated']['compute_ratio'] < sparse['pan']['compute_ratio'] < 1
    said = capsys.readouterr().out
    assert '| sparse | 1 | float32 | 10% |' in said and '| format | changed | compute ratio | compare |' in said


def engines(said: list[str]) -> list[DenseEngine]:
    def load(dtype: torch.dtype) -> nn.Module:
        return nn.Conv2d(3, 1, 3).eval().to(dtype)

    return list(dense_engines(load, torch.zeros(1, 3, 8, 8), (1, 2), said.append, compiled=True))


def test_torch_compile_is_measured_in_each_format_and_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, 'compile', lambda model, dynamic: model)
    found = [engine for engine in engines([]) if engine.name == 'torch.compile']
    expected = [('float32', 1), ('float32', 2), ('bf16', 1), ('bf16', 2)]
    assert [(engine.dtype, engine.threads) for engine in found] == expected


def test_where_torch_cannot_compile_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError('no C++ compiler\nand much more')

    monkeypatch.setattr(torch, 'compile', lambda model, dynamic: fails)
    said: list[str] = []
    assert 'torch.compile' not in {engine.name for engine in engines(said)}
    assert 'torch.compile is not available: its rows are missing (no C++ compiler)' in said


def test_a_wrong_size_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['bench', 'sparse', '--size', 'big']) == 2
    assert "--size is 'big'; expected WIDTHxHEIGHT" in capsys.readouterr().err
