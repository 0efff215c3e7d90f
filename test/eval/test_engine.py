"""What the engine computes of moving pictures, and its calibration: the figures are of what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dedelayed_ros import native, sparse
from dedelayed_ros.cli import main
from dedelayed_ros.eval import calibrate as calibrating
from dedelayed_ros.eval import engine_table
from dedelayed_ros.eval.sequences import Sequences, Step, judge, recorded
from dedelayed_ros.frames import MotionField, resize
from dedelayed_ros.models import zoo
from dedelayed_ros.models.pictures import as_levels
from dedelayed_ros.reuse import at_input, calibration_path
from dedelayed_ros.sparse import Calibration

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')


def moving(model: torch.nn.Module, size: tuple[int, int], frames: int, noise: float = 0.0) -> Sequences:
    """One clip whose content moves to the right by 32 pixels a frame, with the dense model's masks as labels."""
    rng = np.random.default_rng(3)
    wide = resize(rng.integers(0, 256, (6, 24, 3), dtype=np.uint8), (size[0], size[1] + 32 * frames))
    vectors = np.zeros((*MotionField.identity(size).valid.shape, 2), np.int16)
    vectors[..., 0] = 4 * 32
    steps = []
    for i in range(frames):
        left = 32 * (frames - i)
        picture = (wide[:, left : left + size[1]] + rng.integers(0, 2, (*size, 3)) * noise).clip(0, 255)
        image = as_levels(picture.round().astype(np.uint8))
        with torch.inference_mode():
            dense = model(image.float() / 255)[0]
        truth = dense.argmax(0).to(torch.uint8).repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()
        steps.append(Step(image, MotionField(size, vectors) if i else None, truth, dense))
    return Sequences('moving', [steps], True)


def test_ratios_and_accuracy_leave_out_the_first_frame() -> None:
    model = zoo.load_local('street-v1', torch.float32)
    footage = moving(model, (64, 192), 4)
    module = sparse.compile(model, (footage.clips[0][0].image,))
    found = judge(module, footage)
    assert 0 < found.compute_ratio < 0.7
    assert found.recompute_ratio == pytest.approx(32 / 192)
    assert found.agreement == 1.0
    assert found.by_clip == [found.compute_ratio]
    assert judge(module, footage, quick=True).miou == 1.0
    assert footage.dense_accuracy() == judge(module, footage).miou


def test_a_video_is_cut_where_there_is_no_motion(real_clip: Path) -> None:
    model = zoo.load_local('street-v1', torch.float32)
    footage = recorded(model, (128, 320), str(real_clip), 70)
    assert len(footage.clips) > 1
    assert sum(len(clip) for clip in footage.clips) <= 70
    assert all(clip[0].motion is None and all(step.motion is not None for step in clip[1:]) for clip in footage.clips)
    assert not footage.labelled


def test_motion_is_brought_to_the_models_input() -> None:
    vectors = np.zeros((20, 40, 2), np.int16)
    vectors[3, 5] = (8, -6)
    half = at_input(MotionField((320, 640), vectors), (160, 320))
    assert half.block == 8
    assert half.qpel[3, 5].tolist() == [4, -3]
    assert at_input(half, (160, 320)) is half


@pytest.mark.timeout(300)
@pytest.mark.parametrize(('tile', 'loss'), [(0, 0.5), (32, 0.9)])
def test_the_commands_measure_and_write(
    tile: int, loss: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def streets(model, size, cache, seeds, frames, say):  # type: ignore[no-untyped-def]
        return moving(model, size, frames, noise=1.0)

    monkeypatch.setattr(calibrating, 'streets', streets)
    monkeypatch.setattr(engine_table, 'streets', streets)
    monkeypatch.setattr(calibrating, '_LEVELS', (0.5,))
    monkeypatch.setattr(calibrating, '_OWED', (4,))
    monkeypatch.setattr(calibrating, '_RESERVE', 0.75)
    path, trials, figures = (tmp_path / name for name in ('calibration.json', 'trials.json', 'engine.json'))
    # A model to which blocks of random colours are still something after they moved.
    words = ['--model', 'street-v1', '--frames', '3', '--out', str(tmp_path)]
    assert (
        main(
            ['calibrate', '--loss', str(loss), '--tile', str(tile), '--save', str(path), '--json', str(trials), *words]
        )
        == 0
    )
    calibration = Calibration.load(path)
    assert calibration.model == zoo.entry('street-v1').files['local'][1]
    assert calibration.thresholds and calibration.tile == tile
    found = json.loads(trials.read_text())
    assert found['relative_loss'] <= found['loss'] == loss
    assert found['compute_ratio'] < found['exact_compute_ratio']
    assert found['compute_ratio'] in [trial['compute_ratio'] for trial in found['trials']]
    assert main(['eval', 'engine', '--calibration', str(path), '--json', str(figures), *words]) == 0
    rows = {row['mode']: row for row in json.loads(figures.read_text())['rows']}
    assert rows['calibrated']['compute_ratio'] < rows['exact, per layer']['compute_ratio']
    assert rows['calibrated']['compute_ratio'] < rows['calibrated, without remap']['compute_ratio']
    assert rows['exact, per layer']['relative_loss'] == rows['exact, sticky']['relative_loss'] == 0
    assert rows['exact, per layer']['compute_ratio'] <= rows['exact, sticky']['compute_ratio']
    assert (tmp_path / 'engine.png').stat().st_size > 1000 and (tmp_path / 'calibration.png').stat().st_size > 1000
    assert 'calibrated, without remap' in (tmp_path / 'engine.md').read_text()


def test_pictures_of_an_uplink_can_be_calibrated_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        calibrating, 'streets', lambda model, size, cache, seeds, frames, say: moving(model, size, frames, noise=1.0)
    )
    monkeypatch.setattr(calibrating, '_OWED', (4,))
    monkeypatch.setattr(calibrating, '_RESERVE', 0.75)  # colours that are nothing lose a lot
    found = {}
    words = ['calibrate', '--model', 'street-v1', '--frames', '3', '--loss', '0.9', '--out', str(tmp_path)]
    for uplink in ('0', '4000'):
        path, trials = tmp_path / f'calibration-{uplink}.json', tmp_path / f'trials-{uplink}.json'
        assert main([*words, '--uplink', uplink, '--save', str(path), '--json', str(trials)]) == 0
        assert Calibration.load(path).uplink_kbps == int(uplink)
        found[uplink] = json.loads(trials.read_text())
    # Without thresholds it is the camera's pictures that count; what the uplink loses of them is part of the loss.
    assert found['0']['dense_miou'] == found['4000']['dense_miou']
    assert found['4000']['miou'] < found['0']['miou']
    assert main([*words, '--uplink', '4000', '--tile', '0']) == 2
    assert 'leave out --tile 0' in capsys.readouterr().err


def test_a_calibration_lies_beside_its_weights() -> None:
    assert calibration_path('street-v1').parent == zoo.path_of('street-v1').parent / 'reuse'
