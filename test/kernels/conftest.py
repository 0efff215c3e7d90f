"""The emulated device and the networks of the sparse tests, importable; and the orders in which fibers are taken."""

import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / 'sparse')]

from emulated import ORDERS, EmulatedDevice  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    """The feature maps here are tiny: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=ORDERS)
def order(request):
    """The order in which the threads of a block run between two barriers."""
    return request.param


@pytest.fixture
def device(order):
    return EmulatedDevice(order)
