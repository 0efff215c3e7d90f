"""The delay table: what remote features are worth, over how late they are and how late they were thought to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from dedelayed_ros.eval.counts import ClipCounts
from dedelayed_ros.eval.delay_cases import METHODS, Pair, Scene, judged
from dedelayed_ros.eval.jitter import Jitter, arrivals
from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.losses import Confusion

_STEP = 2  # of the frames that can be judged at every delay, each second one
_CODEC_AT_MS = 100.0


@dataclass(frozen=True)
class DelaySettings:
    """``delays_ms`` of the table; ``reach_ms``: longer ones at which only what runs is measured; ``mismatch_ms``: true
    and told delays of the matrix; ``raw``: the cloud sees the camera's own pixels, not H.264; ``jitter``: also measure
    delays that are drawn from it, beside constant ones of its mean.
    """

    delays_ms: tuple[float, ...] = (0.0, 33.0, 67.0, 100.0, 133.0, 167.0, 250.0, 333.0, 500.0)
    reach_ms: tuple[float, ...] = (667.0, 833.0, 1000.0)
    mismatch_ms: tuple[float, ...] = (0.0, 100.0, 250.0, 500.0, 1000.0)
    raw: bool = False
    jitter: Jitter | None = None


@dataclass
class _Case:
    """One cell of a table: a method, the true delay and the told one, and how each clip went."""

    method: str
    delay_ms: float
    told_ms: float
    coded: bool = True
    clips: list[np.ndarray] = field(default_factory=list)

    @property
    def counts(self) -> ClipCounts:
        return ClipCounts(np.stack(self.clips))


@torch.inference_mode()
def evaluate_delays(
    pair: Pair, clips: Sequence[Clip], settings: DelaySettings, say: Callable[[str], None] = print
) -> dict:
    """Measure every method on the same frames of ``clips``; mIoU is 0–1, on exact labels at the camera's size.

    Returns:
        ``rows`` of {method, delay_ms, told_ms, miou, low, high, lead, lead_low, lead_high, per_class}: intervals are
        95 % over clips, the lead is that over ``local`` on the same frames. ``mismatch`` likewise, of fused_motion and
        fused over true and told delays. ``codec`` {delay_ms, miou_without, miou_with, cost, cost_low, cost_high} if
        there is one. ``jitter`` if asked for. ``staleness_s``: the longest delay up to which fused_motion always
        leads. ``frames``: how many were judged.
    """
    table = [_Case(method, delay, delay) for method in METHODS for delay in settings.delays_ms]
    reach = [_Case('fused_motion', delay, delay) for delay in settings.reach_ms]
    matrix = [
        _Case(method, true, told)
        for method in ('fused_motion', 'fused')
        for true in settings.mismatch_ms
        for told in settings.mismatch_ms
        if told != true
    ]
    plain = [_Case('fused_motion', _CODEC_AT_MS, _CODEC_AT_MS, coded=False)] if pair.codec is not None else []
    jittered = [_Case(name, math.nan, math.nan) for name in ('jittered', 'constant')] if settings.jitter else []
    cases = [*table, *reach, *matrix, *plain]
    longest = max(case.delay_ms for case in cases)
    frames = 0
    for number, clip in enumerate(clips, 1):
        scene = Scene(pair, clip, raw=settings.raw)
        found = [Confusion(len(CITYSCAPES)) for _ in cases]
        targets = judged(clip, longest, _STEP)
        for now in targets:
            labels = np.asarray(clip.labels[now])
            local: Confusion | None = None
            for case, confusion in zip(cases, found, strict=True):
                if case.method == 'local' and local is not None:
                    confusion.counts[:] = local.counts  # it knows of no delay
                    continue
                seen = now - scene.frames(case.delay_ms)
                logits = scene.logits(case.method, now, seen, case.told_ms, coded=case.coded)
                confusion.add(logits, labels)
                if case.method == 'local':
                    local = confusion
        frames += len(targets)
        for case, confusion in zip(cases, found, strict=True):
            case.clips.append(confusion.counts)
        if settings.jitter is not None:
            for case, process in zip(jittered, (settings.jitter, settings.jitter.constant()), strict=True):
                case.clips.append(_under(process, scene, clip, targets, seed=number))
        say(f'evaluated {number}/{len(clips)} clips')
    alone = table[0].counts
    result: dict = {
        'rows': [_row(case, alone) for case in [*table, *reach]],
        'mismatch': [
            _row(case, alone)
            for case in [*(c for c in (*table, *reach) if c.method in ('fused', 'fused_motion')), *matrix]
            if case.delay_ms in settings.mismatch_ms
        ],
        'frames': frames,
    }
    result['staleness_s'] = staleness_s(result['rows'])
    if plain:
        coded = next(c for c in table if (c.method, c.delay_ms) == ('fused_motion', _CODEC_AT_MS)).counts
        without = plain[0].counts
        low, high = without.interval(coded)
        result['codec'] = {
            'delay_ms': _CODEC_AT_MS,
            'miou_without': round(without.miou(), 4),
            'miou_with': round(coded.miou(), 4),
            'cost': round(without.miou() - coded.miou(), 4),
            'cost_low': round(low, 4),
            'cost_high': round(high, 4),
        }
    if settings.jitter is not None:
        drawn, constant = (case.counts for case in jittered)
        low, high = constant.interval(drawn)
        result['jitter'] = {
            **settings.jitter.describe(),
            'miou': round(drawn.miou(), 4),
            'miou_constant': round(constant.miou(), 4),
            'cost': round(constant.miou() - drawn.miou(), 4),
            'cost_low': round(low, 4),
            'cost_high': round(high, 4),
        }
    return result


def staleness_s(rows: Sequence[dict]) -> float:
    """The longest delay of the table, in seconds, up to which carried features always helped the local model."""
    local = next(row['miou'] for row in rows if row['method'] == 'local')
    longest = 0.0
    for row in sorted((r for r in rows if r['method'] == 'fused_motion'), key=lambda r: r['delay_ms']):
        if row['miou'] <= local:
            break
        longest = row['delay_ms'] / 1e3
    return longest


def _under(process: Jitter, scene: Scene, clip: Clip, targets: Sequence[int], seed: int) -> np.ndarray:
    """Counts of what the robot makes of answers that arrive as ``process`` draws them."""
    confusion = Confusion(len(CITYSCAPES))
    using = arrivals(process, len(clip), clip.rate, seed)
    for now in targets:
        answer = using[now]
        logits = scene.local(now) if answer is None else scene.logits('fused_motion', now, answer.seen, answer.told_ms)
        confusion.add(logits, np.asarray(clip.labels[now]))
    return confusion.counts


def _row(case: _Case, alone: ClipCounts) -> dict:
    counts = case.counts
    low, high = counts.interval()
    lead_low, lead_high = counts.interval(alone)
    per_class = {
        name: None if math.isnan(value) else round(float(value), 4)
        for name, value in zip(CITYSCAPES.names, counts.per_class(), strict=True)
    }
    return {
        'method': case.method,
        'delay_ms': case.delay_ms,
        'told_ms': case.told_ms,
        'miou': round(counts.miou(), 4),
        'low': round(low, 4),
        'high': round(high, 4),
        'lead': round(counts.miou() - alone.miou(), 4),
        'lead_low': round(lead_low, 4),
        'lead_high': round(lead_high, 4),
        'per_class': per_class,
    }
