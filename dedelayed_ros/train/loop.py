"""The loop that all stages share: steps, checkpoints, resumption and curves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.train.config import StageConfig
from dedelayed_ros.train.optimiser import Adan, WeightAverage, warmup_stable_decay

_REPORT_EVERY = 50


class Task(Protocol):
    """What a stage trains: all parameters of ``model`` that require gradients."""

    model: nn.Module

    def losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Named scalar losses of one batch drawn by ``rng``; their sum is minimised."""
        ...

    def rate_factor(self, name: str) -> float:
        """The factor of the learning rate for the parameter of that name."""
        ...


def fit(
    task: Task,
    stage: StageConfig,
    folder: Path,
    fingerprint: str,
    say: Callable[[str], None] = print,
    *,
    save_every_s: float = 120.0,
) -> None:
    """Train ``task.model`` for ``stage.steps`` and leave the averaged weights in it.

    A checkpoint is written to ``folder`` every ``save_every_s`` seconds, so that a stopped run goes on where it
    was, with the same result: what is random in a step depends only on the stage's seed and the step. ``curves.json``
    holds the losses.

    Raises:
        InputError: the checkpoint in ``folder`` is of another recipe (``fingerprint``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(task.rate_factor(name), []).append(parameter)
    optimiser = Adan(
        [{'params': params, 'factor': factor} for factor, params in groups.items()],
        lr=stage.rate,
        weight_decay=stage.weight_decay,
    )
    average = WeightAverage(task.model, stage.ema)
    checkpoint = folder / 'checkpoint.pt'
    curves: list[dict] = []
    first = 0
    if checkpoint.is_file():
        first, curves = _restore(checkpoint, fingerprint, task.model, optimiser, average)
        say(f'continued at step {first} of {stage.steps}')
    task.model.train()
    sums: dict[str, float] = {}
    summed = 0
    begun = saved = time.monotonic()
    for step in range(first, stage.steps):
        factor = warmup_stable_decay(step, stage.steps, stage.warmup)
        for group in optimiser.param_groups:
            group['lr'] = stage.rate * group['factor'] * factor
        losses = task.losses(np.random.default_rng((stage.seed, step)))
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups.values() for p in group], stage.clip_norm)
        optimiser.step()
        average.update(task.model, step)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        summed += 1
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == stage.steps:
            means = {name: round(total / summed, 4) for name, total in sums.items()}
            sums, summed = {}, 0
            elapsed = time.monotonic() - begun
            curves.append({'step': step + 1, **means})
            listed = '  '.join(f'{name} {value:.3f}' for name, value in means.items())
            left = elapsed / (step + 1 - first) * (stage.steps - step - 1)
            say(f'step {step + 1}/{stage.steps}  {listed}  {elapsed:.0f} s, {left:.0f} s left')
        if time.monotonic() - saved > save_every_s or step + 1 == stage.steps:
            _save(checkpoint, fingerprint, step + 1, task.model, optimiser, average, curves)
            (folder / 'curves.json').write_text(json.dumps(curves))
            saved = time.monotonic()
    task.model.load_state_dict(average.state)
    task.model.eval()


def _save(
    path: Path,
    fingerprint: str,
    step: int,
    model: nn.Module,
    optimiser: Adan,
    average: WeightAverage,
    curves: list[dict],
) -> None:
    state = {
        'fingerprint': fingerprint,
        'step': step,
        'model': model.state_dict(),
        'optimiser': optimiser.state_dict(),
        'average': average.state,
        'curves': curves,
    }
    partial = path.with_suffix('.partial')
    torch.save(state, partial)
    partial.replace(path)


def _restore(
    path: Path, fingerprint: str, model: nn.Module, optimiser: Adan, average: WeightAverage
) -> tuple[int, list[dict]]:
    state = torch.load(path, weights_only=True)
    if state['fingerprint'] != fingerprint:
        raise InputError(
            f'{path} belongs to another recipe ({state["fingerprint"]}, this one is {fingerprint}). Give another '
            '--runs folder, or delete it to begin anew'
        )
    model.load_state_dict(state['model'])
    optimiser.load_state_dict(state['optimiser'])
    for name, value in state['average'].items():
        average.state[name].copy_(value)
    return state['step'], state['curves']
