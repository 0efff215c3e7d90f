"""The benchmark of the sparse engine: that its figures are of what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dedelayed_ros.cli import main
from dedelayed_ros.eval.bench_sparse import DIRTY, blobs


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
    sparse = {row['dirty']: row for row in found['rows'] if row['engine'] == 'sparse'}
    assert set(sparse) == {'reset', *DIRTY}
    assert sparse['reset']['compute_ratio'] == sparse[1.0]['compute_ratio'] == 1
    assert sparse[0.0]['compute_ratio'] == 0
    ratios = [sparse[dirty]['compute_ratio'] for dirty in (0.0, 0.1, 1.0)]
    assert ratios == sorted(ratios)
    assert sparse['reset']['ratio_own_dense'] == 1
    assert {row['dtype'] for row in found['rows'] if row['engine'] == 'torch'} == {'float32', 'bf16'}
    keys = {'engine', 'threads', 'dtype', 'dirty', 'compute_ratio', 'ms_median', 'ms_iqr'}
    keys |= {'front_end_ms', 'remap_ms', 'ratio_own_dense', 'ratio_openvino'}
    assert all(set(row) == keys for row in found['rows'])
    for row in found['rows']:
        assert (row['front_end_ms'] is None) == (row['remap_ms'] is None) == (row['engine'] != 'sparse')
    assert found['cache_bytes'] > 0
    assert (tmp_path / 'sparse.png').stat().st_size > 10_000
    assert '| sparse | 1 | float32 | 10% |' in capsys.readouterr().out


def test_a_wrong_size_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['bench', 'sparse', '--size', 'big']) == 2
    assert "--size is 'big'; expected WIDTHxHEIGHT" in capsys.readouterr().err
