"""The figures of ``dedelayed eval delay`` as Markdown."""

from __future__ import annotations

_NAMES = {
    'local': 'local model only',
    'remote_image': "the cloud's mask as it arrives",
    'remote_predictive': 'remote, predicted for arrival',
    'remote_warped': 'remote, carried',
    'fused': 'fused, predicted for arrival',
    'fused_motion': '**fused and carried (what runs)**',
}


def markdown(found: dict) -> str:
    """Tables of mIoU in points, of what is left of the gain, of the mismatch, and what else was measured."""
    rows = found['rows']
    delays = sorted({row['delay_ms'] for row in rows})
    cells = {(row['method'], row['delay_ms']): row for row in rows}
    parts = ['mIoU in points (± half of the 95 % interval over clips)\n', _head('delay (ms)', delays)]
    for method, name in _NAMES.items():
        line = []
        for delay in delays:
            row = cells.get((method, delay))
            half = '' if row is None else f'{100 * row["miou"]:.1f} ± {50 * (row["high"] - row["low"]):.1f}'
            line.append(half)
        parts.append(_line(name, line))
    parts += [
        '\nGain over the local model on the same frames, points [95 % interval over clips]\n',
        _head('delay (ms)', delays),
    ]
    start = cells['fused_motion', 0.0]['lead']
    for method in ('fused', 'fused_motion'):
        line = []
        for delay in delays:
            row = cells.get((method, delay))
            line.append(
                ''
                if row is None
                else f'{100 * row["lead"]:.1f} [{100 * row["lead_low"]:.1f}, {100 * row["lead_high"]:.1f}]'
            )
        parts.append(_line(_NAMES[method], line))
    kept = [
        f'{100 * cells["fused_motion", d]["lead"] / start:.0f} %' if ('fused_motion', d) in cells and start else ''
        for d in delays
    ]
    parts.append(_line('share of the gain at 0 ms that is kept', kept))
    parts.append(_mismatch(found['mismatch']))
    parts.append(_rest(found))
    return '\n'.join(parts) + '\n'


def _mismatch(rows: list[dict]) -> str:
    told = sorted({row['told_ms'] for row in rows})
    cells = {(row['delay_ms'], row['told_ms']): row['miou'] for row in rows if row['method'] == 'fused_motion'}
    lines = ['\nFused and carried, when the delay is not the one that the cloud was told (mIoU in points)\n']
    lines.append(_head('true \\ told (ms)', told))
    for true in told:
        lines.append(_line(f'{true:.0f}', [f'{100 * cells[true, t]:.1f}' if (true, t) in cells else '' for t in told]))
    return '\n'.join(lines)


def _rest(found: dict) -> str:
    gmac = found['gmac']
    lines = [
        f'\n- {found["clips"]} clips, {found["frames"]} frames judged, `{found["command"]}`',
        f'- work of a frame: local {gmac["local"]:.2f} GMAC ({gmac["local_parameters_m"]:.2f} M parameters), remote '
        f'{gmac["remote"]:.2f} GMAC ({gmac["remote_parameters_m"]:.2f} M): {gmac["ratio"]:.1f} times as much',
        f'- downlink at {found.get("rate", 30.0):g} Hz, headers included: {found["downlink_kbps"]:.0f} kbit/s',
        f'- carrying: {found["carry_ms"]["refine"]:.2f} ms to correct the motion by the pictures and '
        f'{found["carry_ms"]["warp"]:.2f} ms to warp the features (processor time of a frame)',
        f'- fusion always leads the local model up to a delay of {found["staleness_s"]:.2f} s',
    ]
    if 'codec' in found:
        codec = found['codec']
        lines.append(
            f'- the feature codec costs {100 * codec["cost"]:.2f} points at {codec["delay_ms"]:.0f} ms '
            f'[{100 * codec["cost_low"]:.2f}, {100 * codec["cost_high"]:.2f}]'
        )
    if 'jitter' in found:
        jitter = found['jitter']
        lines.append(
            f'- log-normal delays of {jitter["mean_ms"]:.0f} ± {jitter["deviation_ms"]:.0f} ms with '
            f'{jitter["loss"]:.0%} lost: {100 * jitter["miou"]:.1f}; constant: {100 * jitter["miou_constant"]:.1f}; '
            f'cost {100 * jitter["cost"]:.1f} points [{100 * jitter["cost_low"]:.1f}, {100 * jitter["cost_high"]:.1f}]'
        )
    return '\n'.join(lines)


def _head(first: str, columns: list[float]) -> str:
    titles = ' | '.join(f'{column:.0f}' for column in columns)
    return f'| {first} | {titles} |\n|---|' + '---|' * len(columns)


def _line(name: str, cells: list[str]) -> str:
    return f'| {name} | ' + ' | '.join(cells) + ' |'
