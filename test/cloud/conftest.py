"""What the tests of this folder share. They can import its `tiny` module, which also runs as a program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dedelayed_ros.reuse import Attempts

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def every_frame_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed in full tells of motion that is not known, and not of an end that has stopped trying."""
    monkeypatch.setattr(Attempts, 'due', lambda self: True)
