from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pixel_shuffle

from dedelayed_ros.errors import InputError, WeightsError
from dedelayed_ros.models import RemoteModel, model_sizes
from dedelayed_ros.models.blocks import fold_batchnorm
from dedelayed_ros.models.efficientnet import EfficientNetLite0, from_classifier


@pytest.fixture(scope='module')
def model() -> RemoteModel:
    torch.manual_seed(0)
    return fold_batchnorm(RemoteModel().eval())


@pytest.mark.parametrize('camera', [(271, 641), (640, 272), (1, 1), (200, 300)])
def test_shapes_follow_the_camera(model: RemoteModel, camera: tuple[int, int]) -> None:
    sizes = model_sizes(camera)
    with torch.inference_mode():
        encoded = model.encode(torch.rand(1, 3, *sizes.remote))
        features = model.predict(encoded[:, None].repeat(1, 4, 1, 1, 1), torch.zeros(1, 4), torch.tensor([80.0]))
        logits, image_logits = model.logits(features), model.image_logits(encoded)
    assert features.shape == (1, 32, *sizes.grid)
    assert logits.shape == image_logits.shape == (1, 19, sizes.remote[0] // 4, sizes.remote[1] // 4)


def test_a_fine_model_describes_each_part_of_a_cell_by_itself() -> None:
    torch.manual_seed(0)
    model = fold_batchnorm(RemoteModel(parts=2, fine=True, feature_channels=48)).eval()
    with torch.inference_mode():
        encoded = model.encode(torch.rand(1, 3, 128, 192))
        assert encoded.shape == (1, 256, 8, 12)
        features = model.predict_still(encoded)
        assert features.shape == (1, 48, 8, 12)
        assert model.image_logits(encoded).shape == model.logits(features).shape == (1, 19, 32, 48)
        other = encoded.clone()
        other[:, 3::4, 4, 6] += 1.0
        changed = (pixel_shuffle(model.predict_still(other), 2) != pixel_shuffle(features, 2)).any(1)[0]
    assert changed[9, 13]
    rows, columns = changed.nonzero().unbind(1)
    # Two 3x3 convolutions on cells, two on parts.
    assert (int(rows.min()), int(rows.max())) == (2 * 2 - 2, 2 * 6 + 1 + 2)
    assert (int(columns.min()), int(columns.max())) == (2 * 4 - 2, 2 * 8 + 1 + 2)
    with pytest.raises(InputError, match='2 parts a cell, on each axis; 1 were asked for'):
        RemoteModel(fine=True)


def test_every_cell_of_a_deep_model_sees_all_others() -> None:
    torch.manual_seed(0)
    model = fold_batchnorm(RemoteModel(parts=2, fine=True, deep=1)).eval()
    image = torch.rand(1, 3, 64, 2048)  # further than convolutions reach
    far = image.clone()
    far[..., :32] = 0.0

    def changed() -> bool:
        with torch.inference_mode():
            return not torch.equal(model.encode(image)[..., -1], model.encode(far)[..., -1])

    assert not changed()  # untrained, the attention adds nothing
    torch.nn.init.normal_(model.encoder.mix32[0].gather.weight)
    assert changed()
    with pytest.raises(InputError, match='expected fine=True with deep=1'):
        RemoteModel(deep=1)
    with pytest.raises(InputError, match='depth 3 was asked for; expected 0 to 2'):
        RemoteModel(parts=2, fine=True, deep=3)


def test_features_depend_on_delay_ages_and_every_frame_of_the_history(model: RemoteModel) -> None:
    torch.manual_seed(1)
    history = torch.randn(1, 4, 128, 8, 8)
    ages, delay = torch.tensor([[300.0, 170.0, 66.0, 0.0]]), torch.tensor([100.0])
    with torch.inference_mode():
        features = model.predict(history, ages, delay)
        assert not torch.equal(features, model.predict(history, ages, delay + 1.0))
        assert not torch.equal(features, model.predict(history, ages * 2, delay))
        for frame in range(4):
            changed = history.clone()
            changed[:, frame] = 0
            assert not torch.equal(features, model.predict(changed, ages, delay)), frame


def test_parts_of_a_cell_are_read_each_by_itself() -> None:
    model = fold_batchnorm(RemoteModel(parts=2)).eval()
    features = torch.randn(1, 32, 8, 8)
    other = features.clone()
    other[:, 3::4, 4, 4] += 1.0  # the lower right quarter of one cell
    with torch.inference_mode():
        changed = (model.logits(features) - model.logits(other)).abs().amax((0, 1)) > 0
    assert changed.shape == (32, 32)
    rows, columns = changed.nonzero().unbind(1)
    # Quarter (9, 9) of the map at stride 8, what a 3x3 convolution reaches, two logits each.
    assert (int(rows.min()), int(rows.max())) == (2 * 8, 2 * 10 + 1)
    assert (int(columns.min()), int(columns.max())) == (2 * 8, 2 * 10 + 1)


def test_a_still_frame_is_a_history_of_repetitions(model: RemoteModel) -> None:
    encoded = torch.randn(2, 128, 8, 8)
    with torch.inference_mode():
        repeated = model.predict(encoded[:, None].repeat(1, 4, 1, 1, 1), torch.zeros(2, 4), torch.zeros(2))
        assert torch.equal(model.predict_still(encoded), repeated)


def test_bfloat16_is_close_to_float32(model: RemoteModel) -> None:
    torch.manual_seed(2)
    half = fold_batchnorm(RemoteModel().eval())
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    image = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        exact = model.predict_still(model.encode(image))
        rough = half.predict_still(half.encode(image))
    assert rough.dtype == torch.bfloat16
    assert float((exact - rough.float()).abs().mean()) < 0.1 * float(exact.abs().mean() + exact.std())


def test_wrong_inputs_are_named(model: RemoteModel) -> None:
    with pytest.raises(InputError, match='641x271'):
        model.encode(torch.rand(1, 3, 271, 641))
    with pytest.raises(InputError, match=r'\[1, 3, 128, 8, 8\]'):
        model.predict(torch.zeros(1, 3, 128, 8, 8), torch.zeros(1, 3), torch.zeros(1))


def test_published_classifier_weights_land_in_the_backbone() -> None:
    expected = EfficientNetLite0().state_dict()
    inner = {
        'expand': ('_expand_conv', '_bn0'),
        'depthwise': ('_depthwise_conv', '_bn1'),
        'project': ('_project_conv', '_bn2'),
    }
    published = {'_fc.weight': torch.zeros(1000, 1280)}
    for key, value in expected.items():
        parts = key.split('.')
        if parts[0] == 'stem':
            published[f'{"_conv_stem" if parts[1] == "conv" else "_bn0"}.{parts[2]}'] = value
        else:
            published[f'_blocks.{parts[1]}.{inner[parts[2]][parts[3] == "norm"]}.{parts[4]}'] = value
    translated = from_classifier(published)
    assert translated.keys() == expected.keys()
    assert all(torch.equal(translated[key], expected[key]) for key in expected)
    del published['_conv_stem.weight']
    with pytest.raises(WeightsError, match=r'stem\.conv\.weight'):
        from_classifier(published)
