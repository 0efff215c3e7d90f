"""`dedelayed eval engine`: what each mode of the sparse engine computes of moving pictures, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.sequences import Sequences, check_knows_streets, judge, recorded, streets
from dedelayed_ros.models import model_sizes, zoo
from dedelayed_ros.reuse import load_calibration
from dedelayed_ros.sparse import Alignment, Calibration

_CAMERA = (320, 640)
_GREY = 12  # the input's threshold of the modes that calibration is compared with, in grey levels of 0–255


@dataclass(frozen=True)
class EngineSettings:
    """``model`` of the zoo, ``full``: at the camera's size; streets of ``seeds``, ``frames`` of each, and a ``clip`` or
    None; ``calibration``: a file, None for the model's own; ``cache`` of rendered clips.
    """

    model: str
    seeds: range
    frames: int
    clip: str | None
    full: bool
    calibration: Path | None
    cache: Path


@dataclass(frozen=True)
class _Mode:
    """A row: how it is called, and what is put up with."""

    name: str
    alignment: Alignment
    thresholds: dict[str, float]
    remap: bool = True


def engine_table(settings: EngineSettings, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure, and return what the file holds: ``rows`` of {footage, mode, compute_ratio, recompute_ratio, miou,
    relative_loss, agreement, compute_ratio_by_clip}, ratios and mIoU 0–1.

    Raises InputError for settings that cannot be measured.
    """
    if settings.frames < 2:
        raise InputError(f'--frames is {settings.frames}; expected at least 2, since the first of a clip is dense')
    entry = zoo.entry(settings.model)
    check_knows_streets(entry)
    model = zoo.load_local(settings.model, torch.float32)
    calibration = (
        load_calibration(settings.model) if settings.calibration is None else Calibration.load(settings.calibration)
    )
    if calibration is None:
        say(f'{settings.model} has no calibration: thresholds of 0 (`dedelayed calibrate --model {settings.model}`)')
        calibration = Calibration()

    def size_of(camera: tuple[int, int]) -> tuple[int, int]:
        return model_sizes(camera).remote if settings.full else entry.input_size(camera)

    footages = [streets(model, size_of(_CAMERA), settings.cache, settings.seeds, settings.frames, say)]
    if settings.clip is not None:
        from dedelayed_ros.frames import open_source

        with open_source(settings.clip, pace='fast') as source:
            camera = source.size
        footages.append(recorded(model, size_of(camera), settings.clip, settings.frames * 4))
    rows = [row for footage in footages for row in _rows(model, footage, calibration, say)]
    return {
        'model': settings.model,
        'input': list(size_of(_CAMERA)),
        'calibration': dict(calibration.measured),
        'rows': rows,
    }


def _rows(
    model: torch.nn.Module, footage: Sequences, calibration: Calibration, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    if not footage.clips:
        raise InputError(f'{footage.name} has no two frames in a row')
    module = sparse.compile(model, (footage.clips[0][0].image,))
    thresholds = calibration.on(module.plan)
    frame = module.layers[0]
    changed = {frame: _GREY / 255}
    modes = (
        _Mode('exact, per layer', Alignment('per_layer'), {}),
        _Mode('exact, sticky', Alignment('sticky'), {}),
        _Mode('calibrated', calibration.alignment, thresholds),
        _Mode('calibrated, without remap', calibration.alignment, thresholds, remap=False),
        _Mode("paper, input's threshold", Alignment('paper'), changed),
        _Mode("tolerant, input's threshold", Alignment('calibrated', remainder=0.5, spread=1.0), changed),
        _Mode("without alignment, input's threshold", Alignment('off'), changed),
    )
    dense = footage.dense_accuracy() if footage.labelled else 1.0
    rows = []
    for mode in modes:
        found = judge(module.with_tolerance(mode.alignment, mode.thresholds, remap=mode.remap), footage)
        loss = 1 - found.miou / dense
        say(
            f'  {footage.name}, {mode.name}: compute ratio {found.compute_ratio:.3f}, mIoU {found.miou:.4f} '
            f'({-loss:+.2%})'
        )
        rows.append(
            {
                'footage': footage.name,
                'labelled': footage.labelled,
                'clips': len(footage.clips),
                'mode': mode.name,
                'compute_ratio': round(found.compute_ratio, 4),
                'recompute_ratio': round(found.recompute_ratio, 4),
                'miou': round(found.miou, 4),
                'relative_loss': round(loss, 4),
                'agreement': round(found.agreement, 4),
                'compute_ratio_by_clip': [round(ratio, 3) for ratio in found.by_clip],
            }
        )
    return rows


def markdown(found: dict[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        f'{found["model"]}, input {found["input"][1]}x{found["input"][0]}',
        '',
        '| footage | mode | compute ratio | of clips | input recompute ratio | mIoU | lost | pixels as dense |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in found['rows']:
        clips = row['compute_ratio_by_clip']
        lines.append(
            f'| {row["footage"]} | {row["mode"]} | {row["compute_ratio"]:.2f} | {min(clips):.2f}–{max(clips):.2f} '
            f'| {row["recompute_ratio"]:.2f} | {100 * row["miou"]:.1f} | {100 * row["relative_loss"]:.1f} % '
            f'| {100 * row["agreement"]:.1f} % |'
        )
    return '\n'.join(lines) + '\n'
