"""Adan, the learning rate's schedule, and the running average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class Adan(torch.optim.Optimizer):
    """Adaptive Nesterov momentum (Xie et al., 2022, algorithm 1) with decoupled weight decay.

    ``betas`` are those of the gradient, of its change, and of the squared Nesterov gradient.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {'lr': lr, 'betas': betas, 'eps': eps, 'weight_decay': weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, 'Adan takes gradients, not closures'
        for group in self.param_groups:
            parameters = [p for p in group['params'] if p.grad is not None]
            if parameters:
                self._update(group, parameters)

    def _update(self, group: dict, parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        states = [self.state[p] for p in parameters]
        for state, gradient in zip(states, gradients, strict=True):
            if not state:
                # Algorithm 1 begins with the previous gradient equal to the first: its change is then zero.
                state.update(
                    step=0,
                    momentum=torch.zeros_like(gradient),
                    change=torch.zeros_like(gradient),
                    square=torch.zeros_like(gradient),
                    previous=gradient.clone(),
                )
            state['step'] += 1
        momentum, change, square, previous = (
            [state[name] for state in states] for name in ('momentum', 'change', 'square', 'previous')
        )
        b1, b2, b3 = group['betas']
        difference = torch._foreach_sub(gradients, previous)
        torch._foreach_lerp_(momentum, gradients, 1 - b1)
        torch._foreach_lerp_(change, difference, 1 - b2)
        nesterov = torch._foreach_add(gradients, difference, alpha=b2)
        torch._foreach_mul_(square, b3)
        torch._foreach_addcmul_(square, nesterov, nesterov, 1 - b3)
        torch._foreach_copy_(previous, gradients)
        steps = [state['step'] for state in states]
        root = torch._foreach_sqrt(square)
        torch._foreach_div_(root, [(1 - b3**n) ** 0.5 for n in steps])
        torch._foreach_add_(root, group['eps'])
        update = torch._foreach_div(momentum, [1 - b1**n for n in steps])
        torch._foreach_add_(update, torch._foreach_div(torch._foreach_mul(change, b2), [1 - b2**n for n in steps]))
        torch._foreach_div_(update, root)
        torch._foreach_add_(parameters, update, alpha=-group['lr'])
        torch._foreach_div_(parameters, 1 + group['lr'] * group['weight_decay'])


def warmup_stable_decay(step: int, steps: int, warmup: int, decay: float = 1 / 3) -> float:
    """Factor of the learning rate: linear rise, plateau, and in the last ``decay`` of the steps a linear fall."""
    rise = min(1.0, (step + 1) / max(1, warmup))
    fall = min(1.0, (steps - step) / max(1.0, steps * decay))
    return min(rise, fall)


class WeightAverage:
    """Exponential running average of a model's parameters and buffers, which generalises better than the last step's.

    Its memory grows with the steps up to ``decay``, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the model after ``step`` (from 0)."""
        weight = 1.0 - min(self._decay, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, weight)
            else:
                self.state[name].copy_(value)
