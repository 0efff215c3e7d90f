"""What the dispatcher decided in a run, and what that was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from dedelayed_ros.report.account import DueFrame

_INPUTS = (
    'cloud_expected_ms', 'edge_expected_ms', 'fused_expected_ms', 'local_expected_ms', 'uplink_kbps', 'bytes_up',
    'added_bytes_up', 'propagation_ms', 'queue_ms', 'edge_ratio', 'cloud_ratio', 'stalled_ms',
)  # fmt: skip
_CHANGES = 40  # of the dispatcher's mind that are listed


def decisions(frames: Sequence[DueFrame]) -> dict[str, Any] | None:
    """How often each way was preferred, quantiles of what decisions were made of, and when and why the dispatcher
    changed its mind (``t_s`` seconds into the window, the first 40 times); None where there was never a choice.

    ``pictures``: of the decisions for which the cloud could be asked, how many found the picture on its way up in any
    case (``asked_for``), and how many would have sent it for the mask alone (``sent``).
    """
    decided = [(f.due_s, f.provenance) for f in frames if f.provenance is not None and f.provenance.choice]
    if not decided:
        return None
    inputs = {}
    for name in _INPUTS:
        values = [v for _, p in decided if (v := p.inputs.get(name)) is not None and np.isfinite(v)]
        if values:
            inputs[name] = {f'p{q}': round(float(np.percentile(values, q)), 2) for q in (5, 50, 95)}
    ways = Counter(
        'asked_for' if p.inputs.get('added_bytes_up', size) < size else 'sent'
        for _, p in decided
        if (size := p.inputs.get('bytes_up') or 0.0) > 0
    )
    changes, last = [], ''
    for due_s, p in decided:
        if p.choice != last:
            changes.append({'t_s': round(due_s, 3), 'choice': p.choice, 'reason': p.decision})
            last = p.choice
    return {
        'preferred': dict(Counter(p.choice for _, p in decided)),
        'inputs': inputs,
        'pictures': {way: ways[way] for way in ('asked_for', 'sent')},
        'changes_of_mind': len(changes) - 1,
        'changes': changes[:_CHANGES],
    }
