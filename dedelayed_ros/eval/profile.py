"""`dedelayed profile`: how long the sparse engine takes on this machine, over the share of the frame that is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from dedelayed_ros import sparse
from dedelayed_ros.dispatch import LatencyProfile
from dedelayed_ros.errors import InputError
from dedelayed_ros.eval.bench_sparse import blobs, noise
from dedelayed_ros.frames import MotionField
from dedelayed_ros.models import zoo
from dedelayed_ros.models.dtypes import resolve_engine_dtype

ABOUT = ('model', 'input', 'backend', 'threads', 'dtype', 'clock', 'rounds', 'dense_ms')
"""What of the figures goes into the profile."""
RATIOS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_WARM_UP = 2

Clock = Literal['wall', 'processor']


@dataclass(frozen=True)
class ProfileSettings:
    """``model`` of the zoo; ``camera`` size (H, W) that the input follows from; ``rounds`` in each of which every ratio
    is measured once; ``threads``, ``device`` ('auto', 'cpu', 'cuda', 'reference') and ``dtype`` ('auto', 'float32',
    'bfloat16') of the engine; ``clock``: wall time, or processor time where other work shares the machine and there is
    one thread.
    """

    model: str = 'street-conv'
    camera: tuple[int, int] = (320, 640)
    ratios: Sequence[float] = RATIOS
    rounds: int = 15
    threads: int = 1
    device: str = 'auto'
    dtype: str = 'float32'
    clock: Clock = 'wall'

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f'rounds is {self.rounds}; expected 1 or more')
        if self.clock == 'processor' and self.threads != 1:
            raise InputError('processor time is that of one thread; expected threads 1')


def profile(settings: ProfileSettings, say: Callable[[str], None] = print) -> tuple[LatencyProfile, dict[str, Any]]:
    """Measure; the profile over the recompute ratio, and what the file of figures holds.

    ``rows`` of {ratio (of blobs with new content), recompute_ratio, compute_ratio, ms, ms_low, ms_high (quartiles)};
    ``dense_ms``, ``dense_low``, ``dense_high`` of a frame of which nothing is known.
    """
    size = zoo.entry(settings.model).input_size(settings.camera)
    generator = torch.Generator().manual_seed(1)
    base = noise(size, generator)
    dtype = resolve_engine_dtype(settings.dtype, settings.device)
    model = zoo.load_local(settings.model, dtype)
    compiled = sparse.compile(model, (base,), dtype=dtype, backend=settings.device, threads=settings.threads)
    still = MotionField.identity(size)
    changed = [blobs(size, ratio, generator) for ratio in settings.ratios]
    dense: list[float] = []
    times: list[list[float]] = [[] for _ in changed]
    ratios = [(0.0, 0.0)] * len(changed)
    for number in range(settings.rounds + _WARM_UP):
        # Of a stream that has its memory, which may take as long to get.
        took, _ = _timed(compiled, base, None, settings.clock)
        dense.append(took)
        for k, mask in enumerate(changed):
            fresh = noise(size, generator)
            compiled.step(base, motion=still)
            took, stats = _timed(compiled, torch.where(mask, fresh, base), still, settings.clock)
            times[k].append(took)
            ratios[k] = stats.recompute_ratio, stats.compute_ratio
        if (number + 1) % 5 == 0:
            say(f'  round {number + 1} of {settings.rounds + _WARM_UP}')
    rows = []
    for share, (recompute, compute), taken in zip(settings.ratios, ratios, times, strict=True):
        low, median, high = np.percentile(taken[_WARM_UP:], (25, 50, 75))
        rows.append(
            {
                'ratio': share,
                'recompute_ratio': round(recompute, 5),
                'compute_ratio': round(compute, 5),
                'ms': round(float(median), 3),
                'ms_low': round(float(low), 3),
                'ms_high': round(float(high), 3),
            }
        )
    low, median, high = np.percentile(dense[_WARM_UP:], (25, 50, 75))
    found = {
        'model': settings.model,
        'input': list(size),
        'backend': compiled.backend,
        'threads': settings.threads,
        'dtype': str(dtype).removeprefix('torch.'),
        'clock': settings.clock,
        'rounds': settings.rounds,
        'dense_ms': round(float(median), 3),
        'dense_low': round(float(low), 3),
        'dense_high': round(float(high), 3),
        'rows': rows,
    }
    return curve(rows, 'recompute_ratio', found), found


def curve(rows: Sequence[dict[str, Any]], over: str, found: dict[str, Any]) -> LatencyProfile:
    """The profile of measured rows ``over`` their 'recompute_ratio' or 'compute_ratio'."""
    points = {row[over]: row['ms'] for row in rows}
    ratios = sorted(points)
    about = {key: found[key] for key in ABOUT}
    spread = [[row[over], row['ms_low'], row['ms_high']] for row in rows]
    return LatencyProfile(np.array(ratios), np.array([points[ratio] for ratio in ratios]), {**about, 'spread': spread})


def _timed(
    module: sparse.SparseModule, picture: torch.Tensor, motion: MotionField | None, clock: Clock
) -> tuple[float, sparse.SparseStats]:
    now = time.perf_counter if clock == 'wall' else time.process_time
    begun = now()
    _, stats = module.step(picture, motion=motion, copy=False)
    return (now() - begun) * 1e3, stats


def markdown(found: dict[str, Any]) -> str:
    """The rows as a table."""
    clock = 'processor time' if found['clock'] == 'processor' else 'wall time'
    lines = [
        f'{found["model"]}, input {found["input"][1]}x{found["input"][0]}, {found["backend"]}, {found["dtype"]}, '
        f'{found["threads"]} thread(s), {clock}, {found["rounds"]} rounds; a dense pass: {found["dense_ms"]:.1f} ms '
        f'({found["dense_low"]:.1f}–{found["dense_high"]:.1f})',
        '',
        '| new | recompute ratio | compute ratio | ms | quartiles | / dense |',
        '|---|---|---|---|---|---|',
    ]
    for row in found['rows']:
        lines.append(
            f'| {row["ratio"]:.0%} | {row["recompute_ratio"]:.3f} | {row["compute_ratio"]:.3f} | {row["ms"]:.1f} '
            f'| {row["ms_low"]:.1f}–{row["ms_high"]:.1f} | {row["ms"] / found["dense_ms"]:.2f} |'
        )
    return '\n'.join(lines) + '\n'
