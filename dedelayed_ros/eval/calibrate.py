"""`dedelayed calibrate`: how far the engine may be from exact, found on streets or on a user's own clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.reuse_record import Policy, coded
from dedelayed_ros.eval.sequences import Judged, Sequences, check_knows_streets, judge, recorded, rendered, streets
from dedelayed_ros.models import zoo
from dedelayed_ros.sparse.calibration import Calibration, Search, Trial, search, search_tiles, stable_names
from dedelayed_ros.sparse.ops import Input
from dedelayed_ros.sparse.plan import Plan

_LEVELS = (0.25, 0.5, 1.0, 2.0, 3.0)  # of a layer's threshold, in standard deviations of its values
_GREY = (2, 4, 8, 12, 16, 24)  # of the input's threshold, in grey levels of 0–255
_TOLERANCES = ((0.25, 0.25), (0.5, 1.0))
# Of the input's threshold with tiles, in grey levels of 0–255.
_OWED = tuple(range(2, 11)) + (12, 14, 16, 20, 25, 32, 40, 50)

# Of the budget that tiles may use: what is lost on streets that were not looked at is never quite the same.
_RESERVE = 0.6


@dataclass(frozen=True)
class CalibrateSettings:
    """``model`` of the zoo; ``clip``: a video, whose truth is the dense model's mask, or None: streets of ``seeds``.

    ``camera`` (H, W) of the streets; ``frames`` of each clip; ``loss``: accuracy to give up, relative; ``share``: part
    of it for the input's threshold; ``cache`` of rendered clips; ``tile``: side of a tile in input pixels, 0: the
    mode 'calibrated'; ``margin``: with tiles, of the alignment; ``clips``: a folder of rendered clips of which
    ``count`` are taken, not ``seeds``.
    ``uplink_kbps``: with tiles, pictures are those that an H.264 uplink of that bit rate delivers, and what they lose
    against the camera's counts; 0: the camera's own.
    """

    model: str
    clip: str | None
    seeds: range
    frames: int
    loss: float
    share: float
    cache: Path
    camera: tuple[int, int] = (320, 640)
    tile: int = 32
    margin: float = 2.0
    clips: Path | None = None
    count: int = 24
    uplink_kbps: int = 0


def profiled(plan: Plan) -> list[str]:
    """Layers that get a threshold, by stable name: those that dirt spreads from, and that are not the input's size."""
    frame = plan.nodes[plan.inputs[0]].grid
    spreading = {
        i
        for node in plan.nodes
        for window, i in zip(node.windows, node.inputs, strict=True)
        if not window.is_point and node.grid.cells > 1
    }
    names = stable_names(plan)
    return [
        names[node.name]
        for node in plan.nodes
        if node.index in spreading
        and not isinstance(node.op, Input)
        and node.channels
        and node.grid.cells > 1
        and node.grid != frame
    ]


def calibrate(settings: CalibrateSettings, say: Callable[[str], None] = print) -> tuple[Calibration, dict[str, Any]]:
    """Search, and return the calibration and what the figures' file holds.

    Raises InputError for a model or footage that cannot be used.
    """
    if settings.uplink_kbps and not settings.tile:
        raise InputError('--uplink goes with tiles: leave out --tile 0')
    entry = zoo.entry(settings.model)
    if settings.clip is None:
        check_knows_streets(entry)
    model = zoo.load_local(settings.model, torch.float32)
    camera = settings.camera
    if settings.clip is not None:
        from dedelayed_ros.frames import open_source

        with open_source(settings.clip, pace='fast') as source:
            camera = source.size
    size = entry.input_size(camera)
    if settings.clips is not None:
        footage = rendered(model, size, settings.clips, settings.count, settings.frames)
    elif settings.clip is None:
        footage = streets(model, size, settings.cache, settings.seeds, settings.frames, say)
    else:
        footage = recorded(model, size, settings.clip, settings.frames)
    if not footage.clips:
        raise InputError(f'{settings.clip} has no two frames in a row to calibrate on; choose a longer clip')
    module = sparse.compile(model, (footage.clips[0][0].image,))
    if module.backend == 'reference':
        say(f'the search is slow, on the {module.backend} backend: {module.backend_reason}')
    plan = module.plan
    frame = stable_names(plan)[plan.nodes[plan.inputs[0]].name]

    def evaluate(calibration: Calibration) -> Trial:
        tried = module.with_tolerance(calibration.alignment, calibration.on(plan))
        found = judge(tried, footage, quick=True)
        return Trial(calibration, found.miou, found.compute_ratio, found.recompute_ratio)

    if settings.tile:
        exact, best, trials = _tiles(module, footage, frame, settings, say)
        return _found(settings, entry, footage, size, exact, best, trials)
    exact = evaluate(Calibration())
    plan_of_search = Search(
        loss=settings.loss,
        share=settings.share,
        frame=frame,
        levels=[grey / 255 for grey in _GREY],
        layers=_levels(module, footage, profiled(plan)),
        tolerances=_TOLERANCES,
    )
    say(
        f'{settings.model}, input {size[1]}x{size[0]}, {len(footage.clips)} clips of {footage.name}: dense mIoU '
        f'{exact.accuracy:.4f}, exact compute ratio {exact.compute_ratio:.3f}; {len(plan_of_search.layers)} layers'
    )
    best, trials = search(plan_of_search, exact.accuracy, evaluate, say)
    return _found(settings, entry, footage, size, exact, best, trials)


def _tiles(
    module: sparse.SparseModule,
    footage: Sequences,
    frame: str,
    settings: CalibrateSettings,
    say: Callable[[str], None],
) -> tuple[Trial, Trial, list[Trial]]:
    """The exact model's trial, the one to use, and all. Each half of the clips has to stay well within the budget."""
    halves = footage.halves()
    delivered = halves
    if settings.uplink_kbps:
        policy = Policy('', 'h264', 'codec', settings.uplink_kbps)
        delivered = coded(halves[0], policy), coded(halves[1], policy)

    def run(calibration: Calibration) -> tuple[Trial, list[Judged]]:
        tried = module.with_tolerance(calibration.alignment, calibration.on(module.plan))
        found = [judge(tried, half, quick=True) for half in (delivered if calibration.thresholds else halves)]
        means = [
            float(np.mean([getattr(f, key) for f in found])) for key in ('miou', 'compute_ratio', 'recompute_ratio')
        ]
        return Trial(calibration, *means), found

    exact, bounds = run(Calibration())
    say(
        f'{settings.model}, {len(footage.clips)} clips of {footage.name} in two halves: dense mIoU {exact.accuracy:.4f}'
    )

    def evaluate(calibration: Calibration) -> tuple[Trial, list[float]]:
        trial, found = run(calibration)
        return trial, [1 - f.miou / bound.miou for f, bound in zip(found, bounds, strict=True)]

    levels = [grey / 255 for grey in _OWED]
    best, trials = search_tiles(_RESERVE * settings.loss, frame, settings.tile, settings.margin, levels, evaluate, say)
    return exact, best or exact, [exact, *trials]


def _found(
    settings: CalibrateSettings,
    entry: zoo.ZooEntry,
    footage: Sequences,
    size: tuple[int, int],
    exact: Trial,
    best: Trial,
    trials: list[Trial],
) -> tuple[Calibration, dict[str, Any]]:
    """The calibration, and what the figures' file holds."""
    measured = {
        'footage': footage.name,
        'labelled': footage.labelled,
        'clips': len(footage.clips),
        'frames': settings.frames,
        'input': list(size),
        'loss': settings.loss,
        'share': settings.share,
        'dense_miou': round(exact.accuracy, 4),
        'miou': round(best.accuracy, 4),
        'relative_loss': round(1 - best.accuracy / exact.accuracy, 4),
        'compute_ratio': round(best.compute_ratio, 4),
        'recompute_ratio': round(best.recompute_ratio, 4),
        'exact_compute_ratio': round(exact.compute_ratio, 4),
    }
    chosen = best.calibration
    calibration = Calibration(
        chosen.remainder,
        chosen.spread,
        {name: round(value, 6) for name, value in chosen.thresholds.items()},
        entry.files['local'][1],
        measured,
        chosen.tile,
        settings.uplink_kbps,
        chosen.margin,
    )
    rows = [
        {
            'remainder': t.calibration.remainder,
            'spread': t.calibration.spread,
            'thresholds': dict(t.calibration.thresholds),
            'miou': round(t.accuracy, 4),
            'compute_ratio': round(t.compute_ratio, 4),
            'recompute_ratio': round(t.recompute_ratio, 4),
        }
        for t in trials
    ]
    return calibration, {'model': settings.model, **measured, 'trials': rows}


def _levels(
    module: sparse.SparseModule, footage: Sequences, names: Sequence[str]
) -> list[tuple[str, tuple[float, ...]]]:
    """Candidates of each layer, in units of how much its values vary."""
    plan_names = {stable: name for name, stable in stable_names(module.plan).items()}
    spreads: dict[str, list[float]] = {name: [] for name in names}
    for clip in footage.clips:
        module.reset()
        module.step(clip[0].image)
        for name in names:
            spreads[name].append(float(module.held(plan_names[name]).std()))
    return [(name, tuple(float(np.mean(spreads[name])) * level for level in _LEVELS)) for name in names]
