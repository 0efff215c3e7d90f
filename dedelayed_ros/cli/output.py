"""The folder that a command leaves behind, and what it prints at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dedelayed_ros.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from dedelayed_ros.models.labels import Labels
    from dedelayed_ros.report import Account, Recording

_FILES, _FOLDERS = ('summary.json', 'report.html', 'overlay.mp4', 'masks.mkv'), ('recording', 'logs', 'masks')


def prepare(out: Path) -> None:
    """Make the folder, and remove from it what an earlier run left there, and nothing else.

    Raises:
        InputError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'--out {out} cannot be made: {error.strerror}; choose a folder that can be written'
        ) from error
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def write_figures(found: dict, path: Path | None) -> None:
    """Write the figures that the screen shows to ``path``, where one was asked for, and say so."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + '\n')
        print(f'  figures     {path}')


def write_plots(folder: Path, figures: dict[str, Figure]) -> None:
    """Write each figure to the file of its name in ``folder``, which is made, and say so."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / name)
        print(f'  plot        {folder / name}')


def write_table(path: Path, text: str) -> None:
    """Write the table that the screen shows, and say so."""
    path.write_text(text)
    print(f'  table       {path}')


def finish(
    account: Account,
    recording: Recording,
    out: Path,
    *,
    images: Iterable[tuple[int, np.ndarray]] | None,
    labels: Labels,
    copy: Path | None,
) -> None:
    """Write the report into ``out``, the summary to ``copy`` too, and print it on one screen with the paths."""
    from dedelayed_ros.report import screen, write

    summary, paths = write(account, recording, out, images=images, labels=labels)
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths.summary, copy)
    print('\n' + screen(summary))
    for name, path in (('video', paths.overlay), ('report', paths.report), ('summary', paths.summary)):
        if path is not None:
            print(f'  {name:<11} {_short(path)}')


def _short(path: Path) -> Path:
    """Relative to the working folder where it lies in it."""
    path = path.absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
