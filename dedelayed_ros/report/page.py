"""report.html: one file that shows a run without anything beside it (the video alone is a file of its own)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedelayed_ros.report import figures
from dedelayed_ros.report.style import SOURCE_COLOURS, SOURCE_NAMES
from dedelayed_ros.report.summary import outage_sentences

if TYPE_CHECKING:
    from dedelayed_ros.models.labels import Labels
    from dedelayed_ros.report.account import Account
    from dedelayed_ros.report.video import Picture

_TEMPLATE = Path(__file__).with_name('page.html')


def render(
    account: Account,
    summary: Mapping[str, Any],
    *,
    pictures: Sequence[Picture] = (),
    labels: Labels | None = None,
    class_shares: Mapping[int, float] | None = None,
    video: str | None = None,
) -> str:
    """The page.

    ``pictures`` are some frames with their masks, ``labels`` names and colours of the classes, ``class_shares`` the
    share of all pixels (0-1) by class id, for the legend, and ``video`` the name of the overlay video beside the page.
    """
    parts = {
        'title': escape(account.title),
        'lead': escape(_lead(account)),
        'tiles': ''.join(_tile(*tile) for tile in _tiles(summary)),
        'notes': ''.join(f'<p class="note">{escape(note)}</p>' for note in account.notes),
        'timeline': _figure(figures.timeline(account), 'Latency, source, remote age and bit rates over time'),
        'sources': _source_legend(account),
        'outage': _outage(summary),
        'stages': _figure(figures.stages(account), 'Time of each stage'),
        'distribution': _figure(figures.latency_distribution(account), 'Share of masks within a latency'),
        'video': _video(video),
        'pictures': ''.join(_picture(picture) for picture in pictures),
        'legend': _class_legend(labels, class_shares or {}),
        'figures_table': _table(_flat({k: summary[k] for k in _FIGURES if summary.get(k) is not None})),
        'decisions': _decisions(summary['decisions']),
        'settings': _table(_flat(summary['settings'])) or '<p>none</p>',
        'machine': _table(_flat(summary['machine'])) or '<p>unknown</p>',
        'processes': _processes(summary),
    }
    template = _TEMPLATE.read_text(encoding='utf-8')
    return re.sub(r'\{\{(\w+)\}\}', lambda place: parts[place[1]], template)


_FIGURES = (
    'frames_in', 'masks_out', 'dropped_frames', 'masks_fused', 'masks_local', 'masks_cloud', 'masks_carried',
    'masks_without_provenance',
    'latency_ms', 'arrival_ms', 'remote_age_ms', 'predicted_delay_ms', 'uplink_kbps', 'downlink_kbps', 'longest_gap_ms',
    'stamp_error_ms', 'scene_cuts', 'degraded', 'outage',
)  # fmt: skip


def _lead(account: Account) -> str:
    height, width = account.size
    text = f'{account.input_name}, {width}x{height} pixels at {account.window.rate:g} frames a second, '
    text += f'{account.window.seconds:g} s, mode {account.mode}'
    if account.rtt_ms is not None:
        text += f'; the cloud is {account.rtt_ms:g} ms of round trip away'
    return text + '.'


def _tiles(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Value, name and detail of the figures that matter most."""
    frames, masks = summary['frames_in'], summary['masks_out']
    fused, local = summary['masks_fused'], summary['masks_local']
    latency, age = summary['latency_ms'], summary['remote_age_ms']
    share = 100 * masks / frames if frames else 0.0
    tiles = [
        (f'{share:.1f} %', 'of frames got a mask', f'{masks} of {frames}; {frames - masks} without'),
        (_whole(100 * fused / masks if masks else None, '%'), 'of masks are fused', f'{fused} fused, {local} local'),
        (
            _whole(latency['p95'], 'ms'), 'latency, 95th percentile',
            f'median {_whole(latency["p50"], "ms")}, 99th {_whole(latency["p99"], "ms")}',
        ),
        (_whole(age['p50'], 'ms'), 'median age of remote features', f'95th percentile {_whole(age["p95"], "ms")}'),
        (_whole(summary['uplink_kbps'], 'kbit/s'), 'up', f'{_whole(summary["downlink_kbps"], "kbit/s")} down'),
    ]  # fmt: skip
    return tiles


def _whole(value: float | None, unit: str) -> str:
    return 'none' if value is None else f'{value:.0f} {unit}'


def _tile(value: str, name: str, detail: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span><small>{escape(detail)}</small></div>'


def _processes(summary: Mapping[str, Any]) -> str:
    ros = _table(_flat(summary['ros'])) if summary['ros'] else '<p>ROS took no part in this run.</p>'
    return ros + _table([(name, f'{percent:g} % of a core') for name, percent in summary['cpu_percent'].items()])


def _figure(svg: str, what: str) -> str:
    data = base64.b64encode(svg.encode()).decode('ascii')
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(what)}"></figure>'


def _chip(colour: str, text: str) -> str:
    return f'<span class="chip"><i style="background:{colour}"></i>{escape(text)}</span>'


def _source_legend(account: Account) -> str:
    present = {frame.source if frame.mask is not None else None for frame in account.frames}
    return ''.join(_chip(SOURCE_COLOURS[s], name) for s, name in SOURCE_NAMES.items() if s in present)


def _outage(summary: Mapping[str, Any]) -> str:
    sentences = outage_sentences(summary['outage'])
    if not sentences:
        return ''
    text = '. '.join(s[0].upper() + s[1:] for s in sentences)
    return f'<p class="outage"><b>The cloud was taken away.</b> {escape(text)}.</p>'


def _decisions(decided: Mapping[str, Any] | None) -> str:
    """How often each way was preferred, of what figures, and why the dispatcher changed its mind."""
    if decided is None:
        return ''
    figures_ = _table(_flat({'preferred': decided['preferred'], 'pictures': decided['pictures'], **decided['inputs']}))
    rows = [(f'{change["t_s"]:.2f} s: {change["choice"]}', change['reason']) for change in decided['changes']]
    more = decided['changes_of_mind'] + 1 - len(rows)
    rest = f'<p class="quiet">and {more} more changes of mind</p>' if more > 0 else ''
    return f'<h2>Where frames were computed, and why</h2><div class="card">{figures_}{_table(rows)}{rest}</div>'


def _video(name: str | None) -> str:
    if name is None:
        return ''
    file = escape(name)
    return (
        f'<video src="{file}" controls muted loop playsinline></video>'
        f'<p class="quiet">Every frame of the window, also those without a mask: <a href="{file}">{file}</a></p>'
    )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.jpeg).decode('ascii')
    colour = SOURCE_COLOURS[picture.source]
    return (
        f'<figure class="picture" style="border-color:{colour}">'
        f'<img src="data:image/jpeg;base64,{data}" alt="frame {picture.sequence}" loading="lazy">'
        f'<figcaption>{escape(picture.caption)}</figcaption></figure>'
    )


def _class_legend(labels: Labels | None, shares: Mapping[int, float]) -> str:
    """The classes that were seen, the most frequent first."""
    if labels is None:
        return ''
    seen = sorted((n for n in shares if n < len(labels.names) and shares[n] >= 5e-4), key=lambda n: -shares[n])
    chips = []
    for n in seen:
        red, green, blue = (int(value) for value in labels.palette[n])
        chips.append(_chip(f'#{red:02x}{green:02x}{blue:02x}', f'{labels.names[n]} {100 * shares[n]:.1f} %'))
    return ''.join(chips)


def _flat(values: Mapping[str, Any], prefix: str = '') -> list[tuple[str, str]]:
    """Rows of a table: what is nested gets its path as its name."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f'{prefix}{key}'
        if isinstance(value, Mapping) and not all(isinstance(v, Mapping) for v in value.values()):
            rows.append((name, ', '.join(f'{k} {_text(v)}' for k, v in value.items())))
        elif isinstance(value, Mapping):
            rows.extend(_flat(value, f'{name}.'))
        else:
            rows.append((name, _text(value)))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return 'none'
    if isinstance(value, Mapping):
        return ', '.join(f'{k} {_text(v)}' for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_text, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ''
    body = ''.join(f'<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows)
    return f'<table>{body}</table>'
