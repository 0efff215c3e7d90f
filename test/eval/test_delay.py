"""The delay table on tiny clips: its figures add up, and it can tell good features from late ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import write_clip

from dedelayed_ros.errors import InputError
from dedelayed_ros.eval import delay_command
from dedelayed_ros.eval.carry_time import carry_time
from dedelayed_ros.eval.counts import ClipCounts
from dedelayed_ros.eval.delay import DelaySettings, evaluate_delays, staleness_s
from dedelayed_ros.eval.delay_cases import METHODS, Pair
from dedelayed_ros.eval.delay_command import DelayCommand, parse_seeds, parse_uplink
from dedelayed_ros.eval.delay_figure import delay_figure
from dedelayed_ros.eval.delay_table import markdown
from dedelayed_ros.eval.downlink import downlink
from dedelayed_ros.eval.jitter import Jitter, arrivals, parse_jitter
from dedelayed_ros.models import zoo
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.train.footage import Clip

SETTINGS = DelaySettings(
    delays_ms=(0.0, 100.0, 200.0), reach_ms=(300.0,), mismatch_ms=(0.0, 200.0), jitter=Jitter(100.0, 50.0, 0.1)
)


@pytest.fixture(scope='module')
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp('clips')
    return [write_clip(folder / str(seed), seed) for seed in (0, 1)]


@pytest.fixture(scope='module')
def pair() -> Pair:
    torch.manual_seed(0)
    remote = zoo.load_remote()
    codec = FeatureCodec(feature_channels=remote.feature_channels, latents=4).eval()
    return Pair(zoo.load_local(), remote, split=2, codec=codec)


@pytest.fixture(scope='module')
def found(pair: Pair, clips: list[Clip]) -> dict:
    return evaluate_delays(pair, clips, SETTINGS, lambda text: None)


def test_every_cell_of_the_table_is_there(found: dict) -> None:
    cells = {(row['method'], row['delay_ms']): row for row in found['rows']}
    assert set(cells) == {(m, d) for m in METHODS for d in SETTINGS.delays_ms} | {('fused_motion', 300.0)}
    assert found['frames'] == 2 * 3
    for row in found['rows']:
        assert row['told_ms'] == row['delay_ms']
        assert 0 <= row['low'] <= row['miou'] <= row['high'] <= 1
        assert row['lead'] == pytest.approx(row['miou'] - cells['local', 0.0]['miou'], abs=2e-4)
        assert row['per_class']['bus'] is None or 0 <= row['per_class']['bus'] <= 1
    assert len({cells['local', d]['miou'] for d in SETTINGS.delays_ms}) == 1, 'the local model knows of no delay'
    assert {(r['method'], r['delay_ms'], r['told_ms']) for r in found['mismatch']} == {
        (m, true, told) for m in ('fused', 'fused_motion') for true in (0.0, 200.0) for told in (0.0, 200.0)
    }
    assert found['codec']['cost'] == pytest.approx(
        found['codec']['miou_without'] - found['codec']['miou_with'], abs=2e-4
    )
    assert found['jitter']['loss'] == 0.1


def test_without_delay_carrying_and_predicting_are_the_same(found: dict) -> None:
    cells = {(row['method'], row['delay_ms']): row['miou'] for row in found['rows']}
    assert cells['fused', 0.0] == cells['fused_motion', 0.0]
    assert cells['remote_predictive', 0.0] == cells['remote_warped', 0.0]
    assert cells['fused', 200.0] != cells['fused_motion', 200.0]


def test_the_table_and_the_plot_can_be_made(found: dict, pair: Pair, clips: list[Clip], tmp_path: Path) -> None:
    whole = {
        **found, 'model': 'tiny', 'clips': 2, 'command': 'x', 'downlink_kbps': 1.0,
        'gmac': delay_command.work(pair, (64, 128)), **carry_time(pair, clips),
    }  # fmt: skip
    text = markdown(whole)
    assert text.count('\n| ') > 10
    assert 'times as much' in text
    delay_figure(whole).savefig(tmp_path / 'x.png')
    assert (tmp_path / 'x.png').stat().st_size > 10_000


def test_intervals_come_from_clips_that_differ() -> None:
    same = np.diag([50, 50])[None].repeat(4, 0)
    assert ClipCounts(same).interval() == (1.0, 1.0)
    mixed = same.copy()
    mixed[:2, 0] = (25, 25)
    counts = ClipCounts(mixed)
    low, high = counts.interval()
    assert low < counts.miou() < high
    lead = counts.interval(ClipCounts(same))
    assert lead[0] < lead[1] <= 0.0


def test_the_staleness_limit_is_where_fusion_stops_helping() -> None:
    fused = {0.0: 0.6, 100.0: 0.55, 333.0: 0.51, 500.0: 0.49, 1000.0: 0.52}
    rows = [{'method': 'local', 'delay_ms': 0.0, 'miou': 0.5}]
    rows += [{'method': 'fused_motion', 'delay_ms': d, 'miou': m} for d, m in fused.items()]
    assert staleness_s(rows) == 0.333


def test_the_newest_answer_that_has_come_is_used() -> None:
    using = arrivals(Jitter(95.0, 0.0, 0.0), 12, 20.0, seed=0)
    assert using[:2] == [None, None]
    assert [answer.seen for answer in using[2:]] == list(range(10))
    assert using[2].told_ms == 150.0, 'nothing was known yet'
    assert using[-1].told_ms == pytest.approx(100.0), 'what was observed'
    lossy = arrivals(Jitter(120.0, 60.0, 0.3), 400, 30.0, seed=1)
    seen = [answer.seen for answer in lossy if answer is not None]
    assert seen == sorted(seen), 'an older answer never replaces a newer one'
    ages = [(now - answer.seen) * 1e3 / 30 for now, answer in enumerate(lossy) if answer is not None]
    assert 90 < np.mean(ages) < 220


def test_drawn_delays_have_the_stated_moments() -> None:
    delays = Jitter(120.0, 60.0, 0.05).draw(20_000, np.random.default_rng(0))
    came = delays[np.isfinite(delays)]
    assert came.mean() == pytest.approx(120.0, rel=0.02)
    assert came.std() == pytest.approx(60.0, rel=0.05)
    assert 1 - len(came) / len(delays) == pytest.approx(0.05, abs=0.01)


def test_the_downlink_is_that_of_real_records(clips: list[Clip]) -> None:
    pair = Pair(zoo.load_local(), zoo.load_remote(), codec=zoo.load_codec())
    measured = downlink(pair, zoo.DEFAULT, clips, 30.0)
    assert 10 < measured['downlink_kbps'] < 1000
    assert measured['downlink_bytes_p95'] * 8e-3 * 30 == pytest.approx(measured['downlink_kbps'], rel=0.5)


def test_carrying_takes_time(pair: Pair, clips: list[Clip]) -> None:
    taken = carry_time(pair, clips)['carry_ms']
    assert set(taken) == {'refine', 'warp'}
    assert all(0 < ms < 1000 for ms in taken.values())


def test_a_command_renders_measures_and_stores(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = zoo.path_of('street-v1')
    for file in (source, *(path for path, _ in zoo.entry('street-v1').files.values())):
        shutil.copy(file, tmp_path / file.name)
    asked = []
    monkeypatch.setattr(
        delay_command.footage, 'prepare', lambda cache, config, workers, say: asked.append(config) or clips
    )
    monkeypatch.setattr(delay_command, 'DelaySettings', lambda raw, jitter: SETTINGS)
    command = DelayCommand(str(tmp_path / source.name), range(800_000, 800_002), 12, 4000, None, tmp_path, 1)
    found, sheet = command.run(lambda text: None)
    assert sheet.size == (5 * 128 // 2, 2 * 64 // 2)
    assert (asked[0].first_seed, asked[0].seeds, asked[0].bitrates_kbps) == (800_000, 2, (4000,))
    assert {row['uplink'] for row in found['rows']} == {'h264:4000'}
    json.dumps(found)
    stored = zoo.entry(str(command.store(found)))
    assert stored.staleness_s == found['staleness_s']
    assert stored.measured['rows'] == found['rows']


@pytest.mark.parametrize(
    ('call', 'text', 'match'),
    [
        (parse_seeds, '5', "expected 'A:B'"),
        (parse_seeds, '0:8', 'were trained on'),
        (parse_uplink, 'h264:fast', 'such as h264:4000'),
        (parse_jitter, '1,2', 'MEAN,DEVIATION,LOSS'),
        (parse_jitter, '0,2,0', 'a mean above 0'),
    ],
)
def test_what_cannot_be_measured_is_named(call, text: str, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=match):
        call(text)


def test_clips_that_are_too_short_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='need 31'):
        DelayCommand('street-v1', range(800_000, 800_001), 20, None, None, tmp_path, 1).run()
