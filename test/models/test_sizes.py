from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import model_sizes


@pytest.mark.parametrize(
    ('camera', 'remote'),
    [
        ((272, 640), (256, 640)),
        ((271, 641), (256, 640)),
        ((480, 640), (512, 640)),  # 7.5 of 64: the nearest, upwards
        ((720, 1280), (512, 896)),
        ((1080, 1920), (512, 896)),
        ((640, 272), (640, 256)),
        ((1, 1), (128, 128)),
        ((8, 4000), (128, 4032)),
    ],
)
def test_sizes_of_common_and_odd_cameras(camera: tuple[int, int], remote: tuple[int, int]) -> None:
    sizes = model_sizes(camera)
    assert sizes.remote == remote
    assert sizes.local == (remote[0] // 2, remote[1] // 2)
    assert sizes.grid == (remote[0] // 16, remote[1] // 16)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_every_camera_gives_sizes_that_the_networks_take(height: int, width: int) -> None:
    sizes = model_sizes((height, width))
    assert all(side % 64 == 0 and side >= 128 for side in sizes.remote)
    assert all(side % 32 == 0 for side in sizes.local)


def test_a_smaller_pixel_budget_makes_smaller_inputs() -> None:
    assert model_sizes((720, 1280), pixels=102_400).remote == (256, 448)


def test_a_camera_without_pixels_is_an_error() -> None:
    with pytest.raises(InputError, match='both sides must be at least 1'):
        model_sizes((0, 640))
