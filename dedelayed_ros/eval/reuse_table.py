"""`dedelayed eval reuse`: FluxShard's tables with every method on one engine, one dispatcher and one link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dedelayed_ros.eval.profile import ABOUT, ProfileSettings, curve, profile
from dedelayed_ros.eval.reuse_footage import PAPER_MV_STD, ReuseSet, clip_set, street_sets
from dedelayed_ros.eval.reuse_methods import EXTRA, METHODS, TOLERANT, Library, ReuseSettings
from dedelayed_ros.eval.reuse_record import ClipRecord, Policy
from dedelayed_ros.eval.reuse_simulation import (
    EDGE_FACTOR,
    EDGE_WATTS,
    PROPAGATION_MS,
    WAIT_WATTS,
    Frames,
    Machines,
    Method,
    simulate,
    with_factor,
)
from dedelayed_ros.eval.reuse_tuning import Tuned
from dedelayed_ros.models import zoo
from dedelayed_ros.sim.traces import TIERS, BandwidthTrace, read_traces, synthesise
from dedelayed_ros.sparse import Alignment
from dedelayed_ros.train.losses import iou

ABLATIONS = ('full', 'without alignment', 'per layer, exact', 'without remap', 'without sparse', 'without offload')
GOALS = {'low': 0.30, 'medium': 0.20, 'high': 0.15}


def reuse_table(settings: ReuseSettings, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Record, simulate, and return what the file holds; see ``_Tables``."""
    tables = _Tables(settings, say)
    found = tables.preamble()
    sets = tables.sets()
    found['sets'] = [_motion_row(chosen) for chosen in sets]
    for row in found['sets']:
        say(
            f'  {row["set"]}: {row["clips"]} clips, MV std {row["mv_std"]:.1f} px ({row["mv_std_at_1024"]:.1f} at a '
            f'width of 1024; paper {row["paper"] or "–"})'
        )
    found['end_to_end'] = [row for chosen in sets for row in tables.end_to_end(chosen)]
    found['ablation'] = tables.ablation(sets[0])
    found['clients'] = tables.clients(sets[0])
    found['sensitivity'] = tables.sensitivity(sets[0]) if settings.sensitivity else []
    found['points'] = tables.points(sets[0])
    found['goals'] = goals(found)
    found['policies'] = tables.library.described
    found['engine_steps'] = tables.library.steps
    return found


class _Tables:
    """What the rows are made of, kept between the tables: records by set and policy, and the link's traces."""

    def __init__(self, settings: ReuseSettings, say: Callable[[str], None]) -> None:
        self._s = settings
        self._say = say
        self.library = Library(settings, say)
        self._traces = {tier: self._trace(tier) for tier in TIERS}
        self._machines = Machines(
            sparse_curve([{'compute_ratio': 0.0, 'ms': 0.0}, {'compute_ratio': 1.0, 'ms': 1.0}], 1)
        )

    def preamble(self) -> dict[str, Any]:
        """Measure the latency curve, and say what everything rests on."""
        s = self._s
        _, measured = profile(
            ProfileSettings(model=s.model, rounds=s.profile_rounds, clock='processor'), lambda text: None
        )
        self._machines = Machines(sparse_curve(measured['rows'], measured['dense_ms']))
        m = self._machines
        found = {
            'model': s.model,
            'input': list(self.library.size),
            'parameters': sum(p.numel() for p in self.library.model.parameters()),
            'budget': s.budget,
            'calibration': None if self.library.calibration is None else dict(self.library.calibration.measured),
            'traces': 'synthesised' if s.traces is None else s.traces.name,
            'rounds': s.rounds,
            'measured_dense_ms': measured['dense_ms'],
            'curve': [[row['compute_ratio'], round(row['ms'] / measured['dense_ms'], 4)] for row in measured['rows']],
            'cloud_dense_ms': m.cloud_dense_ms,
            'edge_dense_ms': round(m.cloud_dense_ms * m.edge_factor, 1),
            'edge_factor': round(m.edge_factor, 2),
            'propagation_ms': PROPAGATION_MS,
            'floor_ms': round(2 * PROPAGATION_MS + m.cloud_dense_ms * m.curve(0.0), 2),
            'energy_model': {'edge_watts': round(EDGE_WATTS, 2), 'waiting_watts': WAIT_WATTS},
            'tiers': {
                tier: {
                    'mean_mbps': round(float(np.mean(np.concatenate([t.mbps for t in traces]))), 1),
                    'std_mbps': round(float(np.std(np.concatenate([t.mbps for t in traces]))), 1),
                    'stalled': round(float(np.mean(np.concatenate([t.mbps for t in traces]) == 0)), 4),
                }
                for tier, traces in self._traces.items()
            },
        }
        self._say(
            f'{s.model}, input {self.library.size[1]}x{self.library.size[0]}: a dense pass takes '
            f'{measured["dense_ms"]:.1f} ms here and '
            f"is called the cloud's {m.cloud_dense_ms} ms; the edge takes {m.edge_factor:.1f} times as long, "
            f'{found["edge_dense_ms"]} ms; propagation {PROPAGATION_MS:.0f} ms each way; floor {found["floor_ms"]} ms; '
            f'energy: {EDGE_WATTS:.1f} W computing, {WAIT_WATTS} W else (a model)'
        )
        return found

    def sets(self) -> list[ReuseSet]:
        """The streets, strong motion first, and the videos."""
        s = self._s
        found = street_sets(self.library.model, self.library.size, s.cache, s.seeds, s.frames, s.each, self._say)
        for uri in s.clips:
            from dedelayed_ros.frames import open_source

            with open_source(uri, pace='fast') as source:
                size = zoo.entry(s.model).input_size(source.size)
            found.append(clip_set(self.library.model, size, uri, s.clip_frames, 2 * s.tuning_frames))
        return found

    # -- the tables

    def end_to_end(self, chosen: ReuseSet) -> list[dict[str, Any]]:
        """Tables II and III, figures 4 and 5: every method in every tier."""
        rows = []
        for method in (*METHODS, *EXTRA):
            records = self.library.recorded(chosen, method)
            front = round(self._method(chosen, method, records, self.library.tuned(chosen, method)).front, 3)
            for tier in TIERS:
                frames = self._simulated(chosen, method, tier)
                row = {'set': chosen.name, 'tier': tier, 'method': method, **self._row(chosen, frames), 'front': front}
                rows.append(row)
            self._say(
                f'  {chosen.name}, {method}: '
                + ', '.join(f'{row["tier"]} {row["latency_ms_mean"]:.0f} ms' for row in rows[-len(TIERS) :])
                + f'; sent {100 * rows[-1]["tx_ratio"]:.1f} %, computed {100 * rows[-1]["compute_ratio"]:.0f} %, '
                f'accuracy {-100 * rows[-1]["accuracy_loss_relative"]:+.1f} % ({len(records)} clips)'
            )
        return rows

    def ablation(self, chosen: ReuseSet) -> list[dict[str, Any]]:
        """Table IV, on the medium tier."""
        rows = []
        for variant in ABLATIONS:
            frames = self._variant(chosen, variant)
            rows.append({'set': chosen.name, 'tier': 'medium', 'variant': variant, **self._row(chosen, frames)})
        return rows

    def clients(self, chosen: ReuseSet) -> list[dict[str, Any]]:
        """Figure 7: several robots on one link and one server, medium tier."""
        rows = []
        for method in (*METHODS, *EXTRA):
            for clients in self._s.clients:
                frames = self._simulated(chosen, method, 'medium', clients=clients, rounds=max(4, self._s.rounds // 4))
                rows.append(
                    {
                        'set': chosen.name, 'tier': 'medium', 'method': method, 'clients': clients,
                        **self._row(chosen, frames),
                    }
                )  # fmt: skip
        return rows

    def sensitivity(self, chosen: ReuseSet) -> list[dict[str, Any]]:
        """Table V, and the ratio of the two machines."""
        rows = []
        for alpha, share in ((0.03, 2 / 3), (0.03, 0.5), (0.03, 0.9), (0.01, 2 / 3), (0.05, 2 / 3)):
            name = f'alpha {alpha:.2f}, r {share:.2f}'
            coding, level = self.library.stream
            tuned = self.library.tune(chosen, name, TOLERANT, budget=alpha, share=share, coding=coding, level=level)
            policy = Policy(name, coding, 'codec', tuned.level, tuned.alignment, tuned.thresholds)
            method = self._method(chosen, 'ours', self.library.record(chosen, policy), tuned)
            frames = self._simulate(self.library.record(chosen, policy), method, 'medium')
            rows.append(
                {'set': chosen.name, 'tier': 'medium', 'what': name, 'method': 'ours', **self._row(chosen, frames)}
            )
        for name in ('deltacnn', 'motion_deltacnn', 'fluxshard', 'ours', *EXTRA):
            records = self.library.recorded(chosen, name)
            method = replace(self._method(chosen, name, records, self.library.tuned(chosen, name)), front=0.0)
            row = self._row(chosen, self._simulate(records, method, 'medium'))
            rows.append({'set': chosen.name, 'tier': 'medium', 'what': 'by the curve alone', 'method': name, **row})
        for factor in (4.0, EDGE_FACTOR, 64.0):
            for name in ('offload_h264', 'fluxshard', *(('ours',) + EXTRA)):
                for tier in TIERS:
                    frames = self._simulated(chosen, name, tier, machines=with_factor(self._machines, factor))
                    rows.append(
                        {
                            'set': chosen.name, 'tier': tier, 'what': f'edge:cloud {factor:.0f}:1', 'method': name,
                            **self._row(chosen, frames),
                        }
                    )  # fmt: skip
        return rows

    def points(self, chosen: ReuseSet) -> list[dict[str, Any]]:
        """Figure 6: measured time of a step over its compute ratio, in units of this machine's dense pass."""
        found = []
        for method in ('deltacnn', 'motion_deltacnn', 'fluxshard', 'ours'):
            for record in self.library.recorded(chosen, method):
                first = record.passes[0]
                unit = float(np.nanmedian(first.dense_ms))
                found += [
                    {'method': method, 'compute_ratio': round(float(c), 4), 'of_dense': round(float(ms) / unit, 3)}
                    for c, ms in zip(first.compute, first.engine_ms, strict=True)
                ]
        return found

    # -- what they are made of

    def _row(self, chosen: ReuseSet, frames: Frames) -> dict[str, Any]:
        latency = np.array(frames.latency)
        p50, p95 = np.percentile(latency, (50, 95))
        accuracy = float(iou(np.asarray(frames.counts))[0])
        dense = self.library.dense_accuracy(chosen)
        parts = np.mean(np.array(frames.parts, np.float64), 0)
        return {
            'latency_ms_mean': round(float(latency.mean()), 2),
            'latency_ms_p50': round(float(p50), 2),
            'latency_ms_p95': round(float(p95), 2),
            'accuracy': round(accuracy, 4),
            'accuracy_loss_relative': round(1 - accuracy / dense, 4),
            'tx_ratio': round(float(np.mean(frames.tx)), 5),
            'compute_ratio': round(float(np.mean(frames.compute)), 4),
            'cloud_ratio': round(float(np.mean(frames.cloud)), 4),
            'coding_ms': round(float(parts[0]), 2),
            'transmission_ms': round(float(parts[1]), 2),
            'propagation_ms': round(float(parts[2]), 2),
            'computing_ms': round(float(parts[3]), 2),
            'energy_j': round(float(np.mean(frames.energy)), 3),
        }

    def _simulated(
        self, chosen: ReuseSet, name: str, tier: str, *, clients: int = 1, rounds: int | None = None,
        machines: Machines | None = None,
    ) -> Frames:  # fmt: skip
        records = self.library.recorded(chosen, name)
        method = self._method(chosen, name, records, self.library.tuned(chosen, name))
        return self._simulate(records, method, tier, clients=clients, rounds=rounds, machines=machines)

    def _simulate(
        self, records: list[ClipRecord], method: Method, tier: str, *, clients: int = 1, rounds: int | None = None,
        machines: Machines | None = None,
    ) -> Frames:  # fmt: skip
        traces = self._traces[tier][: rounds or self._s.rounds]
        return simulate(method, records, traces, machines or self._machines, clients=clients)

    def _method(self, chosen: ReuseSet, name: str, records: Sequence[ClipRecord], tuned: Tuned | None) -> Method:
        coding = float(np.median(np.concatenate([record.passes[0].coding_ms for record in records])))
        if any(record.chained for record in records):
            coding = 0.0  # the camera's own stream, which gives the motion too
        return Method(
            name,
            dispatched=not name.startswith('offload'),
            dense=name.startswith('offload') or name == 'coach',
            profile=None if tuned is None else tuned.expected,
            front=0.0 if tuned is None else self._front(records),
            coding_ms=coding,
        )

    def _front(self, records: Sequence[ClipRecord]) -> float:
        """What a method's steps took beyond the curve, in units of the dense steps among them (medians)."""
        passes = [record.passes[0] for record in records]
        unit = float(np.nanmedian(np.concatenate([p.dense_ms for p in passes])))
        beyond = [
            ms / unit - self._machines.curve(float(compute))
            for p in passes
            for compute, ms in zip(p.compute, p.engine_ms, strict=True)
        ]
        return max(0.0, float(np.median(beyond)))

    def _variant(self, chosen: ReuseSet, variant: str) -> Frames:
        full, tuned = self.library.policy(chosen, 'ours'), self.library.tuned(chosen, 'ours')
        changed = {
            'without alignment': replace(full, alignment=Alignment('off')),
            'per layer, exact': replace(full, alignment=Alignment('per_layer')),
            'without remap': replace(full, remap=False),
        }.get(variant, full)
        records = self.library.record(chosen, changed)
        if changed is not full:
            tuned = self.library.judged(chosen, changed)
        method = self._method(chosen, 'ours', records, tuned)
        if variant == 'without sparse':
            method = replace(method, dense=True)
        if variant == 'without offload':
            method = replace(method, dispatched=False, always='edge')
        return self._simulate(records, method, 'medium')

    def _trace(self, tier: str) -> list[BandwidthTrace]:
        if self._s.traces is None:
            return [synthesise(TIERS[tier], 600, seed) for seed in range(self._s.rounds)]
        traces = read_traces(self._s.traces, tier)
        names = sorted(traces)
        return [traces[names[k * len(names) // self._s.rounds % len(names)]] for k in range(self._s.rounds)]


def sparse_curve(rows: Sequence[dict[str, Any]], dense_ms: float) -> Any:
    """Time in units of a dense pass over the compute ratio."""
    about = dict.fromkeys(ABOUT)
    plain = [{'ms_low': 0.0, 'ms_high': 0.0, **row} for row in rows]
    return curve(plain, 'compute_ratio', about).scaled(1 / dense_ms)


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """On the first set, how much shorter ours is than the best of the other methods, and what the floor would allow."""
    rows = []
    first = found['end_to_end'][0]['set']
    cells = {(row['tier'], row['method']): row for row in found['end_to_end'] if row['set'] == first}
    for tier, goal in GOALS.items():
        # A baseline that is not within the accuracy budget is no baseline to be beaten.
        others = [m for m in METHODS if m not in ('ours', 'fluxshard')]
        fair = [m for m in others if cells[tier, m]['accuracy_loss_relative'] <= found['budget']] or others
        best = min(fair, key=lambda m: cells[tier, m]['latency_ms_mean'])
        base = cells[tier, best]['latency_ms_mean']
        for method in ('ours', *EXTRA):
            mean = cells[tier, method]['latency_ms_mean']
            rows.append(
                {
                    'tier': tier,
                    'method': method,
                    'best_baseline': best,
                    'baseline_ms': base,
                    'latency_ms': mean,
                    'lower': round(1 - mean / base, 4),
                    'goal': goal,
                    'accuracy_loss_relative': cells[tier, method]['accuracy_loss_relative'],
                    'possible': round(1 - found['floor_ms'] / base, 4),
                    'lower_than_raw': round(1 - mean / cells[tier, 'offload_raw']['latency_ms_mean'], 4),
                    'lower_than_fluxshard': round(1 - mean / cells[tier, 'fluxshard']['latency_ms_mean'], 4),
                }
            )
    return rows


def _motion_row(chosen: ReuseSet) -> dict[str, Any]:
    paper = PAPER_MV_STD.get(chosen.name.removeprefix('street_'))
    return {
        'set': chosen.name,
        'clips': len(chosen.footage.clips),
        'frames': sum(len(clip) - 1 for clip in chosen.footage.clips),
        'size': list(chosen.size),
        'labelled': chosen.footage.labelled,
        'mv_std': round(chosen.motion.std, 2),
        'mv_std_at_1024': round(chosen.motion.std_at_paper, 2),
        'mv_mean': round(chosen.motion.mean, 2),
        'still': round(chosen.motion.still, 3),
        'paper': paper,
    }
