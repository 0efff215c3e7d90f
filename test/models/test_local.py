from __future__ import annotations

import pytest
import torch

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import LocalModel, model_sizes
from dedelayed_ros.models.blocks import fold_batchnorm


def trained_looking(seed: int = 0, *, fine: bool = False) -> LocalModel:
    """A model whose batch-norms and gates are not at their initial, trivial values."""
    torch.manual_seed(seed)
    model = LocalModel(fine=fine)
    torch.nn.init.normal_(model.fusion.expand.weight, std=0.1)
    if model.fusion4 is not None:
        torch.nn.init.normal_(model.fusion4.expand.weight, std=0.1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return model.eval()


@pytest.mark.parametrize('fine', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('age_ms', [0.0, 33.0, 512.5, 1e9, float('inf'), float('nan'), -5.0])
def test_no_features_and_zero_features_are_the_local_model_bit_for_bit(
    dtype: torch.dtype, age_ms: float, fine: bool
) -> None:
    model = fold_batchnorm(trained_looking(fine=fine)).to(dtype)
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        alone = model(image)
        zeros = model(image, torch.zeros(2, 32, 8, 12), torch.full((2,), age_ms))
        real = model(image, torch.randn(2, 32, 8, 12), torch.full((2,), age_ms))
    assert torch.equal(alone, zeros)
    assert torch.isfinite(real).all()
    assert not torch.equal(alone, real)


@pytest.mark.parametrize('fine', [False, True])
def test_an_untrained_fusion_adds_nothing(fine: bool) -> None:
    model = LocalModel(fine=fine).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(image), model(image, torch.randn(1, 32, 8, 8), torch.tensor([80.0])))


@pytest.mark.parametrize('fine', [False, True])
def test_features_count_less_or_more_with_their_age(fine: bool) -> None:
    model = trained_looking(fine=fine)
    image, features = torch.rand(1, 3, 64, 64), torch.randn(1, 32, 8, 8)
    with torch.inference_mode():
        young, old = (model(image, features, torch.tensor([age])) for age in (0.0, 500.0))
        unsaid = model(image, features)
    assert torch.equal(young, unsaid)
    assert not torch.equal(young, old)


@pytest.mark.parametrize('camera', [(271, 641), (272, 640), (480, 640), (640, 272), (1, 1), (720, 1280)])
def test_shapes_follow_the_camera(camera: tuple[int, int]) -> None:
    sizes = model_sizes(camera)
    model = fold_batchnorm(trained_looking()).to(torch.bfloat16)
    with torch.inference_mode():
        logits = model(torch.rand(1, 3, *sizes.local), torch.randn(1, 32, *sizes.grid), torch.zeros(1))
        fine = fold_batchnorm(LocalModel(fine=True)).eval()(torch.rand(1, 3, *sizes.local))
    assert logits.shape == (1, 19, sizes.local[0] // 4, sizes.local[1] // 4)
    assert fine.shape == (1, 19, sizes.local[0] // 2, sizes.local[1] // 2)
    assert logits.dtype == torch.float32


def test_features_reach_a_fine_model_in_quarters_of_their_cells() -> None:
    """What the four parts of a cell say need not be the same, and each is heard where it is."""
    model = trained_looking(fine=True)
    torch.nn.init.zeros_(model.fusion.expand.weight)
    with torch.no_grad():
        model.fusion4.expand.weight[:, :, 1, :] = 0  # the lower half of each cell hears nothing
        image, features = torch.rand(1, 3, 64, 64), torch.zeros(1, 32, 8, 8)
        features[:, :, 4, 4] = 1.0
        changed = (model(image, features) - model(image)).abs().amax((0, 1)) > 0
    rows, columns = changed.nonzero().unbind(1)
    # Cell 4 is rows 8 and 9 of the map at stride 4; the last 3x3 convolution reaches one further, the head doubles.
    assert (int(rows.min()), int(rows.max())) == (2 * 7, 2 * 9 + 1)
    assert (int(columns.min()), int(columns.max())) == (2 * 7, 2 * 10 + 1)


def test_folding_keeps_the_outputs_and_leaves_no_batchnorm() -> None:
    model = trained_looking()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before = model(image)
        after = fold_batchnorm(model)(image)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_wrong_sizes_are_named() -> None:
    model = trained_looking()
    with pytest.raises(InputError, match='641x271'):
        model(torch.rand(1, 3, 271, 641))
    with pytest.raises(InputError, match=r'\[9, 12\].*\[8, 12\]'):
        model(torch.rand(1, 3, 64, 96), torch.zeros(1, 32, 9, 12))
