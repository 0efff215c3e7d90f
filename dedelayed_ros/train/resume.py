"""Going on from a model that is already folded for inference, as entries of the zoo are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from dedelayed_ros.models.blocks import ConvUnit

Model = TypeVar('Model', bound=nn.Module)


def restore(model: Model, folded: nn.Module, run: Iterable[object]) -> Model:
    """Give ``model`` the weights of ``folded``, the same network without batch-norms, and norms that change nothing.

    ``run`` yields after each pass of training pictures through ``folded``. Each norm is then centred on what its
    convolution was seen to give, and scales and shifts back to exactly that: the network computes what it did, up to
    rounding, and can be trained as one that always had its norms. Units of ``model`` that are folded stay so, and parts
    that ``folded`` lacks keep their initial values.
    """
    seen: dict[str, _Moments] = {}
    hooks = []
    for name, unit in folded.named_modules():
        if isinstance(unit, ConvUnit):
            seen[name] = _Moments()
            hooks.append(unit.conv.register_forward_hook(partial(_watch, seen[name])))
    for _ in run:
        pass
    for hook in hooks:
        hook.remove()
    state = folded.state_dict()
    for name, unit in model.named_modules():
        if isinstance(unit, ConvUnit) and unit.norm is not None:
            bias = state.pop(f'{name}.conv.bias')
            mean, variance = seen[name].result()
            state |= {
                f'{name}.norm.running_mean': mean - bias,
                f'{name}.norm.running_var': variance,
                f'{name}.norm.weight': (variance + unit.norm.eps).sqrt(),
                f'{name}.norm.bias': mean,
                f'{name}.norm.num_batches_tracked': torch.tensor(0),
            }
    model.load_state_dict(model.state_dict() | state)  # what does not belong there is still refused
    return model


class _Moments:
    """Mean and variance of each channel over all maps that were added."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor = torch.zeros(())
        self._square: Tensor = torch.zeros(())

    def add(self, maps: Tensor) -> None:
        """Maps [B, C, h, w]."""
        flat = maps.detach().double().transpose(0, 1).flatten(1)  # [C, N]
        self._count += flat.shape[1]
        self._sum = self._sum + flat.sum(1)
        self._square = self._square + flat.square().sum(1)

    def result(self) -> tuple[Tensor, Tensor]:
        """float32 [C] each."""
        mean = self._sum / self._count
        return mean.float(), (self._square / self._count - mean.square()).clamp(min=0.0).float()


def _watch(moments: _Moments, _module: nn.Module, _inputs: object, output: Tensor) -> None:
    moments.add(output)
