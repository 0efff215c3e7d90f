"""Puts a run into a folder: summary.json, overlay.mp4 and report.html."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dedelayed_ros.report import page, video
from dedelayed_ros.report.account import Account, DueFrame
from dedelayed_ros.report.recording import Recording
from dedelayed_ros.report.summary import summarise

if TYPE_CHECKING:
    from dedelayed_ros.models.labels import Labels


@dataclass(frozen=True)
class Paths:
    """Where everything lies; ``overlay`` is None when the source could not be shown again."""

    summary: Path
    report: Path
    overlay: Path | None


def write(
    account: Account,
    recording: Recording,
    folder: Path,
    *,
    images: Iterable[tuple[int, np.ndarray]] | None,
    labels: Labels,
) -> tuple[dict[str, Any], Paths]:
    """Write the three files and return the summary.

    ``images``: (sequence, uint8 [H, W, 3]) of the source once more, from which the video is made; None for a source
    that plays only once, such as a camera.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(account)
    overlay = None if images is None else folder / 'overlay.mp4'
    paths = Paths(folder / 'summary.json', folder / 'report.html', overlay)
    rendered = video.Rendered((), {})
    if images is not None and paths.overlay is not None:
        rendered = video.render(
            account, images, lambda frame: _pixels(recording, frame), labels.palette, paths.overlay,
            pictures=video.choose_pictures(account),
        )  # fmt: skip
    summary['class_shares'] = {
        labels.names[n]: round(share, 4) for n, share in rendered.class_shares.items() if n < len(labels.names)
    }
    summary['files'] = {name: path.name for name, path in vars(paths).items() if path is not None}
    html = page.render(
        account, summary, pictures=rendered.pictures, labels=labels, class_shares=rendered.class_shares,
        video=paths.overlay.name if paths.overlay else None,
    )  # fmt: skip
    paths.report.write_text(html, encoding='utf-8')
    paths.summary.write_text(json.dumps(summary, indent=2, allow_nan=False) + '\n', encoding='utf-8')
    return summary, paths


def _pixels(recording: Recording, frame: DueFrame) -> np.ndarray:
    if frame.mask is None:
        raise ValueError(f'frame {frame.sequence} has no mask')
    return recording.pixels(frame.mask)
