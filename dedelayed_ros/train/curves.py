"""The losses of a training as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def plot(runs: Path, stages: tuple[str, ...] = ('local', 'remote', 'joint')) -> Path:
    """Draw ``runs/<stage>/curves.json`` of every stage that has begun to ``runs/curves.png``, and return its path."""
    import matplotlib

    matplotlib.use('agg')
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(stages), figsize=(5 * len(stages), 3.5), squeeze=False)
    for axes, stage in zip(panels[0], stages, strict=True):
        axes.set(title=stage, xlabel='step', ylabel='loss', yscale='log')
        path = runs / stage / 'curves.json'
        if not path.is_file():
            continue
        points = json.loads(path.read_text())
        for name in points[0] if points else ():
            if name != 'step':
                axes.plot([p['step'] for p in points], [p[name] for p in points], label=name)
        axes.legend()
    figure.tight_layout()
    target = runs / 'curves.png'
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
    return target
