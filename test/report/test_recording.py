from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.provenance import Provenance
from dedelayed_ros.report import Diagnostic, Recording, RecordingWriter, Tail


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    masks = [np.random.default_rng(n).integers(0, 19, (271, 641), dtype=np.uint8) for n in range(3)]
    provenance = Provenance(4, 1001, 'fused', 120.5, 140.0, stages_ms={'model': 9.5}, degraded=('late', 'old'))
    diagnostic = Diagnostic(7, 'camera', 1, 'late', {'dropped': '3'})
    with RecordingWriter(tmp_path) as writer:
        for n, mask in enumerate(masks):
            writer.mask(mask, stamp_ns=1000 + n, arrival_ns=2000 + n, frame_id='left', step=648)
        writer.provenance(provenance)
        writer.diagnostic(diagnostic)
        writer.observer({'rmw': 'some_rmw'})
    recording = Recording(tmp_path)
    assert [(m.stamp_ns, m.arrival_ns, m.frame_id, m.step) for m in recording.masks] == [
        (1000 + n, 2000 + n, 'left', 648) for n in range(3)
    ]
    for mask, arrived in zip(masks, recording.masks, strict=True):
        assert np.array_equal(recording.pixels(arrived), mask)
    assert recording.provenance == {1001: provenance}
    assert recording.diagnostics == [diagnostic]
    assert recording.observer == {'rmw': 'some_rmw'}


def test_a_stamp_counts_once(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path) as writer:
        for value in (1, 2):
            writer.mask(np.full((4, 5), value, np.uint8), stamp_ns=10, arrival_ns=20 + value)
    recording = Recording(tmp_path)
    assert len(recording.masks) == 1
    assert recording.pixels(recording.masks[0])[0, 0] == 1


def test_a_recorder_that_was_killed_leaves_what_it_had(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path)
    for n in range(5):
        writer.mask(np.full((4, 5), n, np.uint8), stamp_ns=n, arrival_ns=n)
    with (tmp_path / 'masks.jsonl').open('a') as index:
        index.write('{"stamp_ns": 5, "arr')
    recording = Recording(tmp_path)  # the writer was never closed
    assert [recording.pixels(m)[0, 0] for m in recording.masks] == [0, 1, 2, 3, 4]
    writer.close()


def test_a_figure_that_is_not_a_number_is_null_to_every_reader(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path) as writer:
        writer.provenance(Provenance(1, 2, 'fused', float('nan'), float('inf')))
    assert 'NaN' not in (tmp_path / 'provenance.jsonl').read_text()
    assert Recording(tmp_path).provenance[2].remote_age_ms is None


def test_a_folder_without_a_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no recording'):
        Recording(tmp_path)


def test_the_tail_of_a_file_gives_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / 'lines.jsonl'
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert tail.read() == [{'a': 1}, {'a': 2}]
    with path.open('a') as file:
        file.write(': 3}\n')
    assert tail.read() == [{'a': 3}]
    assert tail.read() == []
