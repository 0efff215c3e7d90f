"""The figures of a run, each as one SVG drawing."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dedelayed_ros.provenance import SOURCES
from dedelayed_ros.report.account import Account
from dedelayed_ros.report.style import DOWN, EVENT, FIGURE_STYLE, INK, PAPER, QUIET, SOURCE_COLOURS, UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 10.4  # inches; the page shows it at the width of its text
_MANY = 3000  # from so many points on, a picture of them is smaller than their outlines


def timeline(account: Account) -> str:
    """Latency, source of each mask, remote age and bit rates over the seconds of the window."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(_WIDTH, 7.0), layout='constrained')
        latency, strip, age, rate = figure.subplots(4, 1, sharex=True, height_ratios=[3.2, 0.55, 2.2, 2.2])
        _latency(latency, account)
        _sources(strip, account)
        _ages(age, account)
        _bit_rates(rate, account)
        for axes in (latency, strip, age, rate):
            _mark_events(axes, account)
        _name_events(latency, account)
        rate.set_xlabel('seconds of the counted window')
        rate.set_xlim(0, account.window.seconds)
        figure.align_ylabels()
        return _svg(figure)


def stages(account: Account) -> str:
    """Where the time of a mask goes: each stage's median and 95th percentile, and what is left to the latency."""
    with matplotlib.rc_context(FIGURE_STYLE):
        times = _stage_times(account)
        figure = Figure(figsize=(_WIDTH / 2, 0.9 + 0.36 * max(1, len(times))), layout='constrained')
        axes = figure.subplots()
        if not times:
            _say(axes, 'no stage times were reported')
            return _svg(figure)
        names = list(times)
        medians = [float(np.median(times[name])) for name in names]
        highs = [float(np.percentile(times[name], 95)) for name in names]
        rows = range(len(names))
        axes.barh(rows, highs, height=0.6, color='#cfe0ec', label='95th percentile')
        axes.barh(rows, medians, height=0.6, color=SOURCE_COLOURS['fused'], label='median')
        room = max(highs) * 0.02
        for row, median, high in zip(rows, medians, highs, strict=True):
            axes.text(high + room, row, f'{median:.1f} / {high:.1f} ms', va='center', fontsize=8, color=INK)
        axes.set_yticks(rows, names, color=INK)
        axes.set_xlim(0, max(highs) * 1.3 + 1e-3)
        axes.grid(axis='y', visible=False)
        axes.invert_yaxis()
        axes.set_title('Time of each stage (median / 95th percentile)')
        axes.set_xlabel('ms')
        return _svg(figure)


def latency_distribution(account: Account) -> str:
    """The share of masks that came within a latency, by source."""
    with matplotlib.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(_WIDTH / 2, 3.0), layout='constrained')
        axes = figure.subplots()
        drawn = 0
        for source in SOURCES:
            values = np.sort([f.provenance.latency_ms for f in account.frames if f.provenance and f.source == source])
            if not values.size:
                continue
            share = np.arange(1, values.size + 1) / values.size
            colour = SOURCE_COLOURS[source]
            axes.step(values, share, where='post', color=colour, lw=1.8, label=f'{source} ({len(values)})')
            drawn += 1
        if not drawn:
            _say(axes, 'no mask came')
            return _svg(figure)
        axes.axhline(0.95, color=QUIET, lw=0.8, ls=':')
        axes.set_yticks([0, 0.25, 0.5, 0.75, 0.95])
        axes.set_yticklabels(['0', '25 %', '50 %', '75 %', '95 %'])
        axes.set_ylim(0, 1.02)
        axes.set_xlim(left=0)
        axes.set_xlabel(f'ms, {account.latency_is}')
        axes.set_title('Share of masks within a latency')
        axes.legend(loc='lower right')
        return _svg(figure)


def _latency(axes: Axes, account: Account) -> None:
    axes.set_title(f'Latency of each mask: {account.latency_is}')
    axes.set_ylabel('ms')
    top = 0.0
    for source in SOURCES:
        points = [(f.stamp_s, f.provenance.latency_ms) for f in account.frames if f.provenance and f.source == source]
        if points:
            x, y = np.array(points, float).T
            colour, label = SOURCE_COLOURS[source], f'{source} ({len(points)})'
            axes.plot(x, y, '.', ms=4, color=colour, label=label, rasterized=len(points) > _MANY)
            top = max(top, float(y.max()))
    missing = [f.due_s for f in account.frames if f.mask is None]
    if missing:
        colour, label = SOURCE_COLOURS[None], f'no mask ({len(missing)})'
        axes.plot(missing, np.zeros(len(missing)), '|', ms=9, mew=1.5, color=colour, label=label, clip_on=False)
    axes.set_ylim(0, max(top * 1.22, 10.0))
    if top or missing:
        axes.legend(loc='upper left', ncols=4, handletextpad=0.1, columnspacing=1.2, borderaxespad=0.2, markerscale=2)
    else:
        _say(axes, 'no mask came')


def _sources(axes: Axes, account: Account) -> None:
    """One coloured cell a due frame, whatever became of it."""
    cuts = [f.due_s for f in account.frames if f.provenance is not None and f.provenance.scene_cut]
    remark = ' (white: a scene cut, after which older features are of no use)' if cuts else ''
    axes.set_title(f'What each mask is made of{remark}')
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_ylim(0, 1)
    step = 1 / account.window.rate
    for source in (*SOURCES, None):
        runs = _runs([f.source == source for f in account.frames])
        spans = [(account.frames[first].due_s, account.frames[last].due_s + step) for first, last in runs]
        boxes = [[(x0, 0), (x1, 0), (x1, 1), (x0, 1)] for x0, x1 in spans]
        if boxes:
            axes.add_collection(PolyCollection(boxes, facecolors=SOURCE_COLOURS[source], linewidths=0))
    axes.vlines(cuts, 0.0, 1.0, color=PAPER, lw=1.2)


def _runs(flags: list[bool]) -> list[tuple[int, int]]:
    """First and last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.array(flags, np.int8), [0]))))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _ages(axes: Axes, account: Account) -> None:
    axes.set_title('Age of the remote features that a mask used, and the delay that the cloud was told')
    axes.set_ylabel('ms')
    rows = [
        (f.stamp_s, f.provenance.remote_age_ms, f.provenance.predicted_delay_ms)
        for f in account.frames
        if f.provenance is not None and f.provenance.remote_age_ms is not None
    ]
    if not rows:
        _say(axes, 'no mask used remote features')
        return
    x, age, told = np.array(rows, float).T
    many = len(rows) > _MANY
    axes.plot(x, age, '.', ms=4, color=SOURCE_COLOURS['fused'], label='age', rasterized=many)
    if np.isfinite(told).any():
        axes.plot(x, told, '.', ms=2, color=QUIET, label='delay told', rasterized=many)
    if account.rtt_ms is not None:
        axes.axhline(account.rtt_ms, color=QUIET, lw=0.8, ls=':', label='round trip of the network')
    highest = np.nanmax([age, told])
    axes.set_ylim(0, max(float(highest) * 1.3, 10.0))
    axes.legend(loc='upper left', ncols=3, handletextpad=0.4, columnspacing=1.2, borderaxespad=0.2, markerscale=2)


def _bit_rates(axes: Axes, account: Account) -> None:
    axes.set_title('Bit rates through the network')
    axes.set_ylabel('kbit/s')
    if len(account.traffic) < 2:
        _say(axes, 'nothing was sent')
        return
    t = np.array([s.t_s for s in account.traffic])
    seconds = np.diff(t)
    keep = seconds > 0
    for name, colour, total in (
        ('up', UP, [s.bytes_up for s in account.traffic]),
        ('down', DOWN, [s.bytes_down for s in account.traffic]),
    ):
        kbps = np.diff(total)[keep] * 8e-3 / seconds[keep]
        axes.stairs(kbps, np.concatenate((t[:-1][keep], t[-1:])), color=colour, lw=1.6, label=name, baseline=None)
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.15, 10.0))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.legend(loc='upper left', ncols=2, borderaxespad=0.2)


def _mark_events(axes: Axes, account: Account) -> None:
    for event in account.events:
        axes.axvline(event.t_s, color=EVENT, lw=1.0)


def _name_events(axes: Axes, account: Account) -> None:
    for n, event in enumerate(account.events):
        # One below the other: two events may be close together.
        place: Any = {'xycoords': ('data', 'axes fraction'), 'xytext': (4, -22 - 12 * (n % 3)), 'va': 'top'}
        axes.annotate(event.name, (event.t_s, 1.0), textcoords='offset points', color=EVENT, fontsize=8.5, **place)


def _stage_times(account: Account) -> dict[str, list[float]]:
    """Milliseconds of each stage by name, in the order of the pipeline, and last what no stage accounts for."""
    times: dict[str, list[float]] = {}
    rest: list[float] = []
    for frame in account.frames:
        if frame.provenance is None:
            continue
        for name, value in frame.provenance.stages_ms.items():
            times.setdefault(name, []).append(value)
        rest.append(max(0.0, frame.provenance.latency_ms - sum(frame.provenance.stages_ms.values())))
    if times:
        times['the rest'] = rest
    return times


def _say(axes: Axes, text: str) -> None:
    """An empty panel says why it is empty."""
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha='center', va='center', color=QUIET)


def _svg(figure: Figure) -> str:
    """The drawing as a file; the same run gives the same one."""
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', metadata={'Date': None, 'Creator': None})
    return buffer.getvalue()
