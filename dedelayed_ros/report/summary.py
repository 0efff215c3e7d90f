"""The figures of a run: summary.json, and the same on one screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dedelayed_ros.provenance import SOURCES
from dedelayed_ros.report.account import Account, DueFrame, mean_kbps
from dedelayed_ros.report.decisions import decisions

PERCENTILES = (50, 95, 99)


def summarise(account: Account) -> dict[str, Any]:
    """What summary.json holds.

    ``frames_in`` are the frames due at the source's own rate, ``masks_out`` the distinct stamps that the observer got
    of those; ``latency_ms`` is publication minus camera stamp, ``arrival_ms`` the same as the observer saw it; the bit
    rates are those that passed through the network. A figure that nothing was measured for is null.
    """
    arrived = [frame for frame in account.frames if frame.mask is not None]
    known = [frame.provenance for frame in arrived if frame.provenance is not None]
    uplink, downlink = mean_kbps(account.traffic)
    height, width = account.size
    stages = sorted({name for p in known for name in p.stages_ms})
    return {
        'frames_in': len(account.frames),
        'masks_out': len(arrived),
        **{f'masks_{source}': sum(p.source == source for p in known) for source in SOURCES},
        'masks_without_provenance': len(arrived) - len(known),
        'dropped_frames': len(account.frames) - len(arrived),
        'latency_ms': percentiles(p.latency_ms for p in known),
        'arrival_ms': percentiles(f.arrival_ms for f in arrived if f.arrival_ms is not None),
        'remote_age_ms': percentiles(p.remote_age_ms for p in known if p.remote_age_ms is not None),
        'predicted_delay_ms': percentiles(p.predicted_delay_ms for p in known if p.predicted_delay_ms is not None),
        'uplink_kbps': rounded(uplink),
        'downlink_kbps': rounded(downlink),
        'longest_gap_ms': rounded(longest_gap_ms(arrived)),
        'stamp_error_ms': percentiles(1e3 * abs(f.stamp_s - f.due_s) for f in arrived if f.stamp_s is not None),
        'stages_ms': {name: percentiles(p.stages_ms[name] for p in known if name in p.stages_ms) for name in stages},
        'scene_cuts': sum(p.scene_cut for p in known),
        'degraded': _count(reason for p in known for reason in p.degraded),
        'decisions': decisions(account.frames),
        'events': [{'name': event.name, 't_s': rounded(event.t_s, 3)} for event in account.events],
        'outage': outage(account),
        'latency_is': account.latency_is,
        'title': account.title,
        'mode': account.mode,
        'seconds': rounded(account.window.seconds, 3),
        'rate': account.window.rate,
        'window': {'first_sequence': account.window.first_sequence, 'start_ns': account.window.start_ns},
        'rtt_ms': account.rtt_ms,
        'input': account.input_name,
        'size': {'height': height, 'width': width},
        'notes': list(account.notes),
        'settings': dict(account.settings),
        'machine': dict(account.machine),
        'ros': None if account.ros is None else dict(account.ros),
        'cpu_percent': dict(account.cpu_percent),
    }


def outage(account: Account) -> dict[str, Any] | None:
    """How the masks fared while the cloud was away; None when it never was.

    ``late_fused`` counts fused masks of frames taken more than the staleness limit and one frame after the kill and
    before the restart: they would be made of features that nobody may use any more. ``fused_again_s`` runs from the
    restart to the publication of the first mask with features of a frame that was taken after it, ``ready_again_s`` to
    the moment at which the new process said that its model is loaded.
    """
    times = {event.name: event.t_s for event in account.events}
    killed, restarted, ready = (times.get(f'cloud {what}') for what in ('killed', 'restarted', 'ready'))
    if killed is None:
        return None
    until = account.window.seconds if restarted is None else restarted
    limit = killed + account.staleness_s + 1 / account.window.rate
    away = [f for f in account.frames if killed <= _time(f) < until]
    fused = [f for f in away if f.source == 'fused']
    again = None
    if restarted is not None:
        again = next(
            (moment - restarted for f in account.frames if (moment := _fused_anew(f, restarted)) is not None), None
        )
    return {
        'killed_at_s': rounded(killed, 3),
        'restarted_at_s': rounded(restarted, 3),
        'frames_in': len(away),
        'masks_out': sum(f.mask is not None for f in away),
        'longest_gap_ms': rounded(longest_gap_ms([f for f in away if f.mask is not None])),
        'last_fused_after_s': rounded(max(_time(f) for f in fused) - killed, 3) if fused else None,
        'late_fused': sum(_time(f) > limit for f in fused),
        'ready_again_s': None if ready is None or restarted is None else rounded(ready - restarted, 3),
        'fused_again_s': rounded(again, 3),
    }


def _time(frame: DueFrame) -> float:
    return frame.due_s if frame.stamp_s is None else frame.stamp_s


def _fused_anew(frame: DueFrame, restarted_s: float) -> float | None:
    """When a mask with features of a frame later than the restart was published, seconds into the window."""
    p = frame.provenance
    if frame.stamp_s is None or p is None or p.remote_age_ms is None or frame.source != 'fused':
        return None
    if frame.stamp_s - p.remote_age_ms / 1e3 <= restarted_s:
        return None
    return frame.stamp_s + p.latency_ms / 1e3


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """p50, p95 and p99, linearly interpolated; None of nothing."""
    array = np.fromiter(values, float)
    if not array.size:
        return {f'p{q}': None for q in PERCENTILES}
    return {f'p{q}': rounded(float(np.percentile(array, q))) for q in PERCENTILES}


def rounded(value: float | None, digits: int = 2) -> float | None:
    """A figure as people read it."""
    return None if value is None else round(float(value), digits)


def longest_gap_ms(frames: Iterable[DueFrame]) -> float | None:
    """The longest time between two masks, as their observer saw them; None of fewer than two."""
    times = np.sort([frame.arrival_s for frame in frames if frame.arrival_s is not None])
    return float(np.diff(times).max() * 1e3) if times.size > 1 else None


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def screen(summary: dict[str, Any]) -> str:
    """The summary on one screen."""
    lines = [_headline(summary), '']
    frames, masks = summary['frames_in'], summary['masks_out']
    share = 100 * masks / frames if frames else 0.0
    lines.append(
        _row('masks', f'{masks} of {frames} frames ({share:.1f} %), longest gap {_ms(summary["longest_gap_ms"])}')
    )
    kinds = [f'{summary["masks_" + kind]} {kind}' for kind in SOURCES if summary['masks_' + kind]]
    if summary['masks_without_provenance']:
        kinds.append(f'{summary["masks_without_provenance"]} that nobody vouched for')
    lines.append(_row('made of', ', '.join(kinds) or 'nothing'))
    if summary['decisions'] is not None:
        lines.append(_row('preferred', _preferred(summary['decisions'])))
        pictures = summary['decisions']['pictures']
        if summary['mode'] == 'auto' and any(pictures.values()):
            once, again = pictures['asked_for'], pictures['sent']
            lines.append(_row('pictures', f'go up once in {once} decisions, once more for the mask in {again}'))
    lines.append(_row('latency', f'{_spread(summary["latency_ms"])}  ({summary["latency_is"]})'))
    if summary['masks_fused']:
        lines.append(_row('remote age', f'{_spread(summary["remote_age_ms"])}  (when a mask used it)'))
    if summary['uplink_kbps'] is not None:
        lines.append(
            _row('network', f'{summary["uplink_kbps"]:.0f} kbit/s up, {summary["downlink_kbps"]:.0f} kbit/s down')
        )
    lines.extend(_row('cloud', text) for text in outage_sentences(summary['outage']))
    if summary['ros']:
        nodes = ', '.join(f'{name} {pid}' for name, pid in summary['ros']['nodes'].items())
        lines.append(_row('processes', f'{nodes}  (ROS 2 {summary["ros"]["distro"]}, {summary["ros"]["rmw"]})'))
    if summary['cpu_percent']:
        used = ', '.join(f'{name} {percent:.0f} %' for name, percent in summary['cpu_percent'].items())
        lines.append(_row('processor', f'{used}  (of one core)'))
    lines.extend(_row('note', note) for note in summary['notes'])
    return '\n'.join(lines)


def _preferred(decided: dict[str, Any]) -> str:
    counts = ', '.join(f'{choice} {count}' for choice, count in decided['preferred'].items())
    expected = [
        f'{choice} {decided["inputs"][name]["p50"]:.0f} ms'
        for choice in ('cloud', 'edge', 'fused', 'local')
        if (name := f'{choice}_expected_ms') in decided['inputs']
    ]
    return counts + (f'  (expected, medians: {", ".join(expected)})' if expected else '')


def outage_sentences(away: dict[str, Any] | None) -> list[str]:
    """What happened while the cloud was away, in words."""
    if away is None:
        return []
    restarted = away['restarted_at_s']
    until = 'the end' if restarted is None else f'{restarted:.1f} s'
    sentences = [
        f'killed at {away["killed_at_s"]:.1f} s; until {until} {away["masks_out"]} masks of {away["frames_in"]} frames '
        f'came, longest gap {_ms(away["longest_gap_ms"])}'
    ]
    last = away['last_fused_after_s']
    kept = (
        'no mask used its features any more'
        if last is None
        else f'the last mask with its features came {last:.2f} s after'
    )
    sentences.append(f'{kept}; {away["late_fused"]} beyond the staleness limit')
    if restarted is not None:
        again = away['fused_again_s']
        sentences.append(
            'never used again' if again is None else f'fused again {again:.2f} s after the restart{_of_which(away)}'
        )
    return sentences


def _of_which(away: dict[str, Any]) -> str:
    ready = away['ready_again_s']
    return '' if ready is None else f'; the new process had its model after {ready:.2f} s'


def _headline(summary: dict[str, Any]) -> str:
    size = summary['size']
    parts = [
        summary['title'],
        f'{summary["input"]}, {size["width"]}x{size["height"]} at {summary["rate"]:g} Hz',
        f'{summary["seconds"]:g} s',
        f'mode {summary["mode"]}',
    ]
    if summary['rtt_ms'] is not None:
        parts.append(f'cloud {summary["rtt_ms"]:g} ms away')
    return ' · '.join(parts)


def _row(name: str, text: str) -> str:
    return f'  {name:<11} {text}'


def _ms(value: float | None) -> str:
    return 'unknown' if value is None else f'{value:.0f} ms'


def _spread(values: dict[str, float | None]) -> str:
    return '  '.join(f'{name} {_ms(value)}' for name, value in values.items())
