from __future__ import annotations

import pytest
import torch
from torch import nn

from dedelayed_ros.train.depthwise import FrozenDepthwiseConv


@pytest.mark.parametrize('size', [(12, 16), (11, 7)])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel', [3, 5])
def test_outputs_and_gradients_are_those_of_torch(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=8).double()
    x = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected = plain(x)
    frozen = FrozenDepthwiseConv.of(plain)
    found = frozen(y)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    found.backward(gradient)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(y.grad, x.grad)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
