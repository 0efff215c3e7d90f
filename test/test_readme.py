"""The README says what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


def test_the_parameters_are_those_of_the_nodes() -> None:
    """Generated: ``print(parameters.table(settings.NODES))`` is what belongs between the two marks."""
    from dedelayed_ros.nodes import parameters, settings

    written = README.split('<!-- parameters -->')[1].split('<!-- /parameters -->')[0]
    assert written.strip() == parameters.table(settings.NODES).strip()


@pytest.mark.parametrize('page', ['README.md', *(f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md'))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [target for target in re.findall(r'\]\(([^)#]+)[^)]*\)', text) if '://' not in target]
    missing = [target for target in targets if not ((ROOT / page).parent / target).exists()]
    assert not missing


def test_the_accuracy_is_that_of_the_weights_that_ship() -> None:
    """Stored by `dedelayed eval delay --store` in the default entry."""
    from dedelayed_ros.models import zoo

    measured = json.loads(zoo.path_of(zoo.DEFAULT).read_text())['measured']
    miou = {(row['method'], row['delay_ms']): row['miou'] for row in measured['rows']}
    delays = [float(cell) for cell in _cells('delay (ms)')]
    for title, method in (
        ('local model only', 'local'),
        ("the cloud's mask as it arrives", 'remote_image'),
        ('**fused and carried**', 'fused_motion'),
    ):
        known = [0.0] * len(delays) if method == 'local' else delays  # which does not depend on it
        wanted = [f'{100 * miou[method, delay]:.1f}' if (method, delay) in miou else '' for delay in known]
        assert [cell.strip('*') for cell in _cells(title)] == wanted
    assert f'Answers take {measured["downlink_kbps"]:.0f} kbit/s' in README


def _cells(title: str) -> list[str]:
    """Of the table's row that begins with it, those that follow."""
    (row,) = (line for line in README.splitlines() if line.startswith(f'| {title} |'))
    return [cell.strip() for cell in row.split('|')[2:-1]]
