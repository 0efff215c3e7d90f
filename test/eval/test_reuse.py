"""The reuse tables: what is sent and computed, what the records are read as, and what the simulation makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dedelayed_ros import native
from dedelayed_ros.cli import main
from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.eval import reuse_methods, reuse_table
from dedelayed_ros.eval.reuse_coding import H264, Jpeg, cells_of, delta_bytes, plain_bytes, quartered, similarity
from dedelayed_ros.eval.reuse_footage import as_set, at_rest, one_homography, statistics
from dedelayed_ros.eval.reuse_record import ClipRecord, Coder, Pass, Policy
from dedelayed_ros.eval.reuse_simulation import Machines, Method, Simulation, simulate, with_factor
from dedelayed_ros.eval.reuse_tuning import _largest, expected_of
from dedelayed_ros.eval.sequences import Sequences, Step
from dedelayed_ros.frames import MotionField, resize
from dedelayed_ros.models import zoo
from dedelayed_ros.models.pictures import as_levels
from dedelayed_ros.sim.traces import BandwidthTrace


def field(size: tuple[int, int], x: float, y: float) -> MotionField:
    """Everything moves by (x, y) pixels."""
    still = MotionField.identity(size)
    qpel = np.zeros_like(still.qpel)
    qpel[...] = round(4 * x), round(4 * y)
    return MotionField(size, qpel)


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return resize(coarse, size)


# -- motion


def test_one_homography_is_found_among_blocks_that_move_otherwise() -> None:
    size = (160, 320)
    rows, cols = np.indices((10, 20)) * 16 + 8.0
    # A zoom of 2 % about the centre, a few blocks that move on their own.
    moved = np.stack([(cols - 160) * 0.02, (rows - 80) * 0.02], -1)
    qpel = np.rint(4 * moved).astype(np.int16)
    qpel[3:6, 4:8] = 40, -20
    found = one_homography(MotionField(size, qpel))
    assert np.abs(found.qpel - np.rint(4 * moved)).max() <= 1
    assert one_homography(MotionField(size, qpel, np.zeros((10, 20), bool))) == MotionField.identity(size)
    assert at_rest(found) == MotionField.identity(size)


def test_motion_statistics_are_in_pixels_and_of_the_papers_width() -> None:
    found = statistics([field((64, 128), 3, 4), MotionField.identity((64, 128))])
    assert found.std == pytest.approx(2.5) and found.still == pytest.approx(0.5, abs=0.1)
    assert found.std_at_paper == pytest.approx(20.0)


# -- what is sent


def test_the_papers_payload_has_the_papers_metadata() -> None:
    nothing = np.zeros((1024, 1024), bool)
    raw = 1024 * 1024 * 3
    assert plain_bytes(nothing, MotionField.identity((1024, 1024))) / raw == pytest.approx(0.0156, abs=5e-5)
    one = nothing.copy()
    one[7, 9] = True
    assert plain_bytes(one, MotionField.identity((1024, 1024))) / raw == pytest.approx(0.0156, abs=5e-5)
    assert delta_bytes(one) - delta_bytes(nothing) == 12, 'all four pixels of a cell'
    assert cells_of(one).sum() == 1 and cells_of(one)[3, 4]
    assert cells_of(np.ones((3, 5), bool)).shape == (2, 3)


def test_shards_are_smaller_where_motion_explains_the_pixels() -> None:
    size = (64, 128)
    wide = picture((64, 160))
    earlier, now = (Step(as_levels(np.ascontiguousarray(image)), None, np.zeros(size, np.uint8), torch.zeros(0))
                    for image in (wide[:, 16:144], wide[:, :128]))  # fmt: skip
    sizes = []
    for motion in (field(size, 16, 0), field(size, 0, 0)):
        coder = Coder(Policy('ours', 'shard', 'codec', 3), size)
        coder.sent(coder.take(earlier), None)
        seen = coder.sent(coder.take(now), motion)
        sizes.append(coder.size(None, None))
        assert int((seen.int() - now.image.int()).abs().max()) <= 3
    assert sizes[0] < 0.5 * sizes[1]


def test_coded_pictures_are_like_the_original_and_smaller() -> None:
    image = picture((64, 128))
    for codec in (Jpeg(75), H264((64, 128), 2000), quartered):
        seen, size = codec(image)
        assert seen.shape == image.shape and size < image.nbytes
        assert similarity(seen, image) > 0.8
    assert quartered(image)[1] == image.nbytes // 4
    assert Jpeg(20)(image)[1] < Jpeg(75)(image)[1]
    assert similarity(image, image) == pytest.approx(1.0)
    assert similarity(image, picture((64, 128), 5)) < 0.5


# -- records


def record(
    compute: float = 0.5, up: float = 1000.0, *, chained: bool = False, length: int = 9, later: float | None = None
) -> ClipRecord:
    """Every frame alike; ``later``: compute ratio at a gap of four."""

    def of(gap: int, ratio: float) -> Pass:
        frames = np.arange(gap, length, gap)
        n = len(frames)
        counts = np.tile(np.eye(3, dtype=np.int64) * gap, (n, 1, 1))
        full = np.ones(n)
        return Pass(
            gap,
            frames,
            full * ratio / 2,
            full * ratio,
            full * up,
            full * 100,
            full * 0,
            full * 5,
            full * 9,
            full > 2,
            counts,
        )

    passes = (of(1, compute), *(() if later is None else (of(4, later),)))
    return ClipRecord(length, 600_000, chained, passes)


def test_records_are_read_between_gaps_and_beyond_them_at_the_largest() -> None:
    clip = record(0.2, later=0.6)
    assert [clip.at(4, gap).compute for gap in (1, 2, 4, 30)] == pytest.approx([0.2, 0.4, 0.6, 0.6])
    assert clip.at(3, 1).recompute == pytest.approx(0.1)
    assert clip.at(5, 4).counts[0, 0] == 4 and clip.at(5, 1).counts[0, 0] == 1
    assert clip.at(6, 3).up == 1000
    assert record(chained=True).at(6, 3).up == 3000, 'a video stream has to be sent without holes'
    assert record(up=500_000, chained=True).at(6, 3).up == 600_000, 'or begins again'


# -- simulation

CURVE = LatencyProfile(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
EXPECTED = LatencyProfile(np.array([0.0, 0.5]), np.array([0.0, 1.0]))  # compute ratio is twice the recompute ratio
MACHINES = Machines(CURVE)


def constant(mbps: float) -> BandwidthTrace:
    return BandwidthTrace(np.full(30, mbps))


def test_a_frame_takes_what_its_parts_take() -> None:
    method = Method('ours', profile=EXPECTED, coding_ms=3.0)
    found = Simulation(method, [record()], constant(8.0), MACHINES).run()
    size_ms, mask_ms = (1000 + 64) * 8e-3 / 8, (100 + 64) * 8e-3 / 8
    assert found.latency == pytest.approx([3 + size_ms + 20 + 13.8 + mask_ms + 20] * 8)
    assert all(found.cloud) and found.tx == pytest.approx([1064 / 600_000] * 8)
    assert found.compute == [0.5] * 8 and np.asarray(found.counts)[0, 0] == 8
    assert np.sum(found.parts, 1) == pytest.approx(found.latency)


def test_whole_frames_take_a_dense_pass_and_the_front_end_is_added() -> None:
    raw = Simulation(
        Method('offload_raw', dispatched=False, dense=True), [record(1.0, 600_000)], constant(480), MACHINES
    )
    assert raw.run().latency[0] == pytest.approx(10 + 40 + 27.6, abs=0.1)
    front = Method('ours', profile=EXPECTED, front=0.5)
    assert Simulation(front, [record()], constant(480), MACHINES).run().latency[0] == pytest.approx(67.6, abs=0.1)


def test_the_dispatcher_chooses_the_edge_where_it_is_faster() -> None:
    method = Method('ours', profile=EXPECTED)
    little = [record(0.05)]
    assert not any(Simulation(method, little, constant(8.0), MACHINES).run().cloud), '22 ms against 43'
    assert all(Simulation(method, little, constant(8.0), with_factor(MACHINES, 64)).run().cloud)
    edge = Simulation(replace(method, dispatched=False, always='edge'), [record(0.5)], constant(8.0), MACHINES).run()
    assert edge.latency == pytest.approx([223.4] * 8) and edge.tx == [0.0] * 8


def test_an_answer_that_is_overdue_is_computed_on_the_robot() -> None:
    stalled = BandwidthTrace(np.array([80.0, *[0.0] * 20, 80.0]))
    method = Method('ours', profile=EXPECTED)
    found = Simulation(method, [record(length=40)], stalled, MACHINES).run()
    assert max(found.latency) < 600, 'no frame waits for the end of the stall'
    assert not all(found.cloud)
    waiting = Simulation(replace(method, dispatched=False), [record(length=40)], stalled, MACHINES).run()
    assert max(waiting.latency) > 15_000


def test_when_the_link_is_fast_again_probes_bring_the_cloud_back() -> None:
    trace = BandwidthTrace(np.array([0.5] * 10 + [400.0] * 60))
    method = Method('ours', profile=EXPECTED)
    found = Simulation(method, [record(up=100_000, length=80)], trace, MACHINES).run()
    assert not any(found.cloud[:10]), 'a frame would take more than a second'
    assert all(found.cloud[-20:])


def test_clients_share_link_and_server() -> None:
    method = Method('offload_raw', dispatched=False, dense=True)
    one, three = (simulate(method, [record(1.0, 600_000)], [constant(100)], MACHINES, clients=n) for n in (1, 3))
    assert len(three.latency) == 3 * len(one.latency)
    assert np.mean(three.latency) > 1.2 * np.mean(one.latency)
    small = [
        simulate(Method('ours', profile=EXPECTED), [record()], [constant(100)], MACHINES, clients=n) for n in (1, 3)
    ]
    assert np.mean(small[1].latency) < 1.15 * np.mean(small[0].latency)


# -- thresholds


def test_the_largest_level_that_fits_is_found() -> None:
    assert [_largest((1, 2, 4, 8), lambda level, top=top: level <= top) for top in (0, 1, 5, 9)] == [None, 1, 4, 8]


def test_expected_compute_rises_with_what_is_new() -> None:
    found = expected_of([(0.1, 0.4), (0.1, 0.6), (0.3, 0.9)], bins=2)
    assert found(0.0) == 0 and found(1.0) == 1
    assert 0.4 < found(0.1) < found(0.3) <= 0.9
    assert expected_of([])(0.5) == 0.5


# -- the command


def moving(model: torch.nn.Module, size: tuple[int, int], frames: int, pixels: int) -> Sequences:
    """A clip that moves to the right by ``pixels`` a frame, with some noise, and the dense model's masks as labels."""
    rng = np.random.default_rng(3)
    wide = picture((size[0], size[1] + pixels * frames))
    steps = []
    for i in range(frames):
        left = pixels * (frames - i)
        noisy = np.clip(wide[:, left : left + size[1]] + rng.integers(0, 3, (*size, 3)), 0, 255)
        image = as_levels(noisy.clip(0, 255).round().astype(np.uint8))
        with torch.inference_mode():
            dense = model(image.float() / 255)[0]
        scale = size[0] // dense.shape[-2]
        truth = dense.argmax(0).to(torch.uint8).repeat_interleave(scale, 0).repeat_interleave(scale, 1).numpy()
        steps.append(Step(image, field(size, pixels, 0) if i else None, truth, dense))
    return Sequences('moving', [steps], True)


@pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')
@pytest.mark.timeout(300)
def test_the_command_makes_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (64, 128)
    model = zoo.load_local('street-conv', torch.float32)

    def sets(*_: object) -> list:
        footage = {'street_strong': 16, 'street_mild': 0}
        return [as_set(name, moving(model, size, 6, pixels), name) for name, pixels in footage.items()]

    rows = [{'recompute_ratio': r, 'compute_ratio': r, 'ms': 2 + 40 * r} for r in (0.0, 0.5, 1.0)]
    monkeypatch.setattr(reuse_table, 'street_sets', sets)
    monkeypatch.setattr(reuse_table, 'profile', lambda *_: (None, {'rows': rows, 'dense_ms': 40.0}))
    monkeypatch.setattr(zoo.ZooEntry, 'input_size', lambda *_: size)
    monkeypatch.setattr(reuse_methods, 'streets', lambda *_: moving(model, size, 3, 4))
    monkeypatch.setattr(reuse_methods, 'H264_KBPS', (2400,))
    monkeypatch.setattr(reuse_methods, 'JPEG_QUALITY', (75,))
    figures = tmp_path / 'reuse.json'
    words = [
        'eval',
        'reuse',
        '--quick',
        '--json',
        str(figures),
        '--out',
        str(tmp_path),
        '--records',
        str(tmp_path / 'r'),
    ]
    assert main(words) == 0
    found = json.loads(figures.read_text())
    methods = (*reuse_methods.METHODS, *reuse_methods.EXTRA)
    cells = {(row['set'], row['tier'], row['method']): row for row in found['end_to_end']}
    assert set(cells) == {
        (s, tier, m) for s in ('street_strong', 'street_mild') for tier in ('low', 'medium', 'high') for m in methods
    }
    raw, ours = (cells['street_mild', 'low', name] for name in ('offload_raw', 'ours'))
    assert raw['tx_ratio'] == pytest.approx(1.0, abs=0.01) and raw['compute_ratio'] == raw['cloud_ratio'] == 1.0
    assert raw['accuracy_loss_relative'] == 0 and raw['latency_ms_mean'] > found['floor_ms']
    assert ours['tx_ratio'] < 0.5 and ours['latency_ms_p50'] <= ours['latency_ms_p95']
    assert all(row['coding_ms'] >= 0 and row['propagation_ms'] <= 40 for row in found['end_to_end'])
    variants = {row['variant']: row for row in found['ablation']}
    assert tuple(variants) == reuse_table.ABLATIONS
    assert variants['without offload']['cloud_ratio'] == 0 and variants['without sparse']['compute_ratio'] == 1
    assert {row['clients'] for row in found['clients']} == {1, 3}
    assert {row['what'] for row in found['sensitivity']} >= {'alpha 0.01, r 0.67', 'edge:cloud 64:1'}
    assert {row['tier'] for row in found['goals']} == {'low', 'medium', 'high'}
    assert 'motion_deltacnn' in (tmp_path / 'reuse.md').read_text()
    assert all((tmp_path / name).stat().st_size > 1000 for name in ('reuse_latency.png', 'reuse_details.png'))
    assert found['engine_steps'] > 0
    library = reuse_methods.Library(reuse_methods.ReuseSettings(records=tmp_path / 'r'), print)
    assert library.recorded(sets()[0], 'offload_raw')[0].passes[0].compute.tolist() == [1.0] * 5
    assert library.steps == 0, 'what was recorded is not computed again'
