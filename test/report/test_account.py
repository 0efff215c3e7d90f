from __future__ import annotations

from pathlib import Path

import numpy as np

from dedelayed_ros.provenance import Provenance
from dedelayed_ros.report import Account, Recording, RecordingWriter, Window, match, traffic_within
from dedelayed_ros.report.account import mean_kbps


def test_the_window_begins_with_the_first_frame_due_after_a_moment() -> None:
    window = Window.after(5_010_000_000, seconds=2.0, rate=25.0, sequence=100, stamp_ns=4_000_000_000)
    assert (window.first_sequence, window.start_ns, window.frames) == (126, 5_040_000_000, 50)
    assert window.end_ns == 7_040_000_000
    on_the_dot = Window.after(5_000_000_000, seconds=2.0, rate=25.0, sequence=100, stamp_ns=4_000_000_000)
    assert (on_the_dot.first_sequence, on_the_dot.start_ns) == (125, 5_000_000_000)


def test_the_window_is_as_many_frames_as_are_due_in_it() -> None:
    for seconds, rate, frames in ((20.0, 25.0, 500), (1.0, 29.97, 30), (6.0, 30.0, 180), (0.001, 25.0, 1)):
        assert Window.after(0, seconds=seconds, rate=rate, sequence=0, stamp_ns=0).frames == frames


def test_every_due_frame_is_in_the_account_and_no_other(account: Account) -> None:
    assert [frame.sequence for frame in account.frames] == list(range(40, 140))
    assert [n for n, frame in enumerate(account.frames) if frame.mask is None] == [7, 50]
    assert account.frames[7].source is None
    assert account.frames[7].due_s == 7 / 20


def test_a_mask_without_provenance_counts_for_the_frame_that_was_due(tmp_path: Path) -> None:
    window = Window(10, 1_000_000_000, 20.0, 4)
    with RecordingWriter(tmp_path) as writer:
        writer.mask(np.zeros((2, 2), np.uint8), stamp_ns=1_104_000_000, arrival_ns=1_120_000_000)  # 4 ms late for 12
    rows = match(window, Recording(tmp_path))
    assert [row.mask is not None for row in rows] == [False, False, True, False]
    assert rows[2].source is None


def test_a_source_that_runs_slow_gains_nothing_by_it(tmp_path: Path) -> None:
    """A camera that takes a frame every 100 ms when one is due every 50 delivers half."""
    window = Window(0, 0, 20.0, 20)
    with RecordingWriter(tmp_path) as writer:
        for n in range(0, 20, 2):
            writer.mask(np.zeros((2, 2), np.uint8), stamp_ns=n * 50_000_000, arrival_ns=0)
            writer.provenance(Provenance(n, n * 50_000_000, 'local'))
    rows = match(window, Recording(tmp_path))
    assert len(rows) == 20
    assert sum(row.mask is not None for row in rows) == 10


def test_traffic_is_what_passed_during_the_window(account: Account) -> None:
    assert account.traffic[0].t_s == 0.0
    assert account.traffic[-1].t_s == 5.0
    up, down = mean_kbps(account.traffic)
    assert (up, down) == (100.0, 20.0)


def test_no_traffic_has_no_bit_rate() -> None:
    assert mean_kbps(traffic_within(Window(0, 0, 20.0, 20), [])) == (None, None)
