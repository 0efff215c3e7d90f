"""The tables of `dedelayed eval reuse` as Markdown, the paper's figures beside ours where it has some."""

from __future__ import annotations

from typing import Any

# FluxShard, Table III (medium tier): transmitted, computed and cloud ratio in percent, segmentation / pose.
_PAPER_RATIOS = {
    'fluxshard': ('17.1 / 8.9', '47.9 / 40.7', '98.1 / 95.6'),
    'offload_raw': ('100', '100', '100'),
    'coach': ('24.0 / 24.1', '96.0 / 96.5', '97.5 / 93.4'),
    'deltacnn': ('56.9 / 31.7', '66.8 / 54.6', '98.4 / 96.4'),
    'motion_deltacnn': ('45.5 / 28.9', '65.7 / 58.5', '98.0 / 93.7'),
}
# Table IV: accuracy and latency (ms) of segmentation / pose.
_PAPER_ABLATION = {
    'full': ('−2.1 / −2.6 %', '47.9 / 40.7', '112 / 74'),
    'without alignment': ('−3.3 / −5.1 %', '45.0 / 38.7', '115 / 78'),
    'per layer, exact': ('−1.8 / −1.9 %', '61.9 / 48.8', '117 / 76'),
    'without remap': ('−1.1 / −10.6 %', '77.1 / 77.3', '226 / 198'),
    'without sparse': ('−1.9 / −0.2 %', '100 / 100', '125 / 92'),
    'without offload': ('−0.3 / −2.9 %', '45.4 / 41.1', '434 / 252'),
}


def markdown(found: dict[str, Any]) -> str:
    """All of it."""
    parts = [_setup(found), _sets(found)]
    for chosen in found['sets']:
        parts.append(_end_to_end(found, chosen['set']))
    parts += [_goals(found), _ablation(found), _clients(found), _sensitivity(found), _policies(found)]
    return '\n'.join(part for part in parts if part)


def _setup(found: dict[str, Any]) -> str:
    energy = found['energy_model']
    tiers = ', '.join(
        f'{name} {tier["mean_mbps"]:.1f} ± {tier["std_mbps"]:.1f} Mbit/s ({100 * tier["stalled"]:.1f} % stalled)'
        for name, tier in found['tiers'].items()
    )
    return (
        f'`{found["model"]}`, input {found["input"][1]}x{found["input"][0]}, {found["parameters"] / 1e6:.2f} M '
        f'parameters. A dense pass took {found["measured_dense_ms"]:.1f} ms of processor time here and is called the '
        f"cloud's {found['cloud_dense_ms']} ms; the edge takes {found['edge_factor']:.1f} times as long "
        f'({found["edge_dense_ms"]:.0f} ms). Sparse times follow the measured curve of time over compute ratio, '
        'and what a method took beyond it here. '
        f'Propagation {found["propagation_ms"]:.0f} ms each way; floor (propagation and the smallest possible pass): '
        f'{found["floor_ms"]:.1f} ms. Traces ({found["traces"]}, {found["rounds"]} a cell): {tiers}. Energy is a '
        'model: '
        f'{energy["edge_watts"]:.1f} W while the robot computes, {energy["waiting_watts"]:.1f} W while it sends and '
        'waits.\n'
    )


def _sets(found: dict[str, Any]) -> str:
    lines = [
        '| set | clips | frames judged | MV std (px) | at a width of 1024 | paper | mean length | blocks at rest |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in found['sets']:
        lines.append(
            f'| {row["set"]} | {row["clips"]} | {row["frames"]} | {row["mv_std"]:.1f} | {row["mv_std_at_1024"]:.1f} '
            f'| {row["paper"] or ""} | {row["mv_mean"]:.1f} | {row["still"]:.0%} |'
        )
    return '\n'.join(lines) + '\n'


def _end_to_end(found: dict[str, Any], chosen: str) -> str:
    lines = [
        f'**{chosen}** (latency mean / p50 / p95 in ms; accuracy, ratios and parts in the medium tier)',
        '',
        '| method | low | medium | high | mIoU | lost | sent | computed | cloud | coding + sending + propagation + '
        'computing | front end / dense | J |',
        '|---|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    cells = {(row['method'], row['tier']): row for row in found['end_to_end'] if row['set'] == chosen}
    for method in dict.fromkeys(method for method, _ in cells):
        row = cells[method, 'medium']
        latency = ' | '.join(
            f'{cells[method, tier]["latency_ms_mean"]:.0f} / {cells[method, tier]["latency_ms_p50"]:.0f} / '
            f'{cells[method, tier]["latency_ms_p95"]:.0f}'
            for tier in found['tiers']
        )
        paper = _PAPER_RATIOS.get(method, ('', '', ''))
        sent, computed, cloud = (f' ({text})' if text else '' for text in paper)
        lines.append(
            f'| {method} | {latency} | {100 * row["accuracy"]:.1f} | {100 * row["accuracy_loss_relative"]:.1f} % '
            f'| {100 * row["tx_ratio"]:.1f} %{sent} | {100 * row["compute_ratio"]:.0f} %{computed} '
            f'| {100 * row["cloud_ratio"]:.0f} %{cloud} | {row["coding_ms"]:.1f} + {row["transmission_ms"]:.1f} + '
            f'{row["propagation_ms"]:.0f} + {row["computing_ms"]:.1f} | {row["front"]:.2f} | {row["energy_j"]:.2f} |'
        )
    return '\n'.join(lines) + "\n\nIn brackets: the paper's, segmentation / pose.\n"


def _goals(found: dict[str, Any]) -> str:
    lines = [
        '| tier | method | best baseline within the budget | ms | ours, ms | lower by | aimed at | the floor allows '
        '| than raw | than fluxshard | lost |',
        '|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for row in found['goals']:
        lines.append(
            f'| {row["tier"]} | {row["method"]} | {row["best_baseline"]} | {row["baseline_ms"]:.1f} '
            f'| {row["latency_ms"]:.1f} | {100 * row["lower"]:.0f} % | {100 * row["goal"]:.0f} % '
            f'| {100 * row["possible"]:.0f} % | {100 * row["lower_than_raw"]:.0f} % '
            f'| {100 * row["lower_than_fluxshard"]:.0f} % | {100 * row["accuracy_loss_relative"]:.1f} % |'
        )
    return '\n'.join(lines) + '\n'


def _ablation(found: dict[str, Any]) -> str:
    lines = [
        '| variant (medium tier) | lost | computed | sent | ms | paper: accuracy | computed | ms |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in found['ablation']:
        paper = _PAPER_ABLATION[row['variant']]
        lines.append(
            f'| {row["variant"]} | {100 * row["accuracy_loss_relative"]:.1f} % | {100 * row["compute_ratio"]:.0f} % '
            f'| {100 * row["tx_ratio"]:.1f} % | {row["latency_ms_mean"]:.0f} | {" | ".join(paper)} |'
        )
    return '\n'.join(lines) + '\n'


def _clients(found: dict[str, Any]) -> str:
    counts = list(dict.fromkeys(row['clients'] for row in found['clients']))
    cells = {(row['method'], row['clients']): row['latency_ms_mean'] for row in found['clients']}
    lines = [
        f'| method | {" | ".join(f"{n} clients" for n in counts)} | {counts[0]} → 3 |',
        '|---|' + '---|' * (len(counts) + 1),
    ]
    for method in dict.fromkeys(row['method'] for row in found['clients']):
        values = ' | '.join(f'{cells[method, n]:.0f}' for n in counts)
        rise = f'{100 * (cells[method, 3] / cells[method, counts[0]] - 1):+.0f} %' if 3 in counts else ''
        lines.append(f'| {method} | {values} | {rise} |')
    return '\n'.join(lines) + '\n'


def _sensitivity(found: dict[str, Any]) -> str:
    if not found['sensitivity']:
        return ''
    lines = ['| what (medium tier) | method | lost | sent | computed | cloud | ms |', '|---|---|---|---|---|---|---|']
    for row in found['sensitivity']:
        if row['tier'] != 'medium':
            continue
        lines.append(
            f'| {row["what"]} | {row["method"]} | {100 * row["accuracy_loss_relative"]:.1f} % '
            f'| {100 * row["tx_ratio"]:.1f} % | {100 * row["compute_ratio"]:.0f} % | {100 * row["cloud_ratio"]:.0f} % '
            f'| {row["latency_ms_mean"]:.0f} |'
        )
    return '\n'.join(lines) + '\n'


def _policies(found: dict[str, Any]) -> str:
    lines = [
        '| set | method | uplink | level | alignment | lost where thresholds were found |',
        '|---|---|---|---|---|---|',
    ]
    for row in found['policies']:
        lost = '' if row['loss_where_tuned'] is None else f'{100 * row["loss_where_tuned"]:.1f} %'
        alignment = row['alignment'] if row['thresholds'] else ''
        lines.append(
            f'| {row["set"]} | {row["method"]} | {row["coding"]} | {row["level"] or ""} | {alignment} | {lost} |'
        )
    return '\n'.join(lines) + '\n'
