"""The README says what is so."""

from __future__ import annotations

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
