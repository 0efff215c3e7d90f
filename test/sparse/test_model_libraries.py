"""Networks of torchvision and timm as they are: they convert without change, and equal their dense pass."""

from __future__ import annotations

import pytest
import torch
from sparse_alike import assert_equal
from sparse_scenes import scenes, shift
from torch import nn
from torch.utils import _pytree as pytree

from dedelayed_ros import sparse
from dedelayed_ros.frames import MotionField


def library(name):
    """The module, or a skipped test: a build for another torch does not import (RuntimeError: its operators lack)."""
    try:
        return __import__(name, fromlist=['*'])
    except (ImportError, RuntimeError) as error:
        pytest.skip(f'{name} does not import: {error}')


def segmentation(name):
    models = library('torchvision.models.segmentation')
    return getattr(models, name)(weights=None, weights_backbone=None, num_classes=5)


def resnet_fpn():
    return library('torchvision.models.detection.backbone_utils').resnet_fpn_backbone(
        backbone_name='resnet18', weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
    )


def features(name):
    return library('timm').create_model(name, pretrained=False, features_only=True)


NETWORKS = {
    'ResNet-FPN': resnet_fpn,
    'DeepLab-V3, ResNet-50': lambda: segmentation('deeplabv3_resnet50'),
    'DeepLab-V3, MobileNet-V3': lambda: segmentation('deeplabv3_mobilenet_v3_large'),
    'LR-ASPP': lambda: segmentation('lraspp_mobilenet_v3_large'),
    'MobileNet-V3 of torchvision': lambda: library('torchvision.models').mobilenet_v3_small(weights=None),
    'MobileNet-V3 of timm': lambda: features('mobilenetv3_small_100'),
    'EfficientNet-Lite': lambda: features('tf_efficientnet_lite0'),
}
SIZE = (64, 128)


@pytest.fixture(params=NETWORKS, scope='module')
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


def assert_close(got, wanted):
    for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@torch.no_grad()
def test_a_network_converts_without_change_and_equals_its_dense_pass(network):
    """Real weights: within float32 rounding, over a first frame, a change and a shift."""
    image = torch.rand(1, 3, *SIZE)
    module = sparse.compile(network, (image,))
    got, stats = module.step(image)
    assert stats.dense
    assert_close(got, network(image))
    image = image.clone()
    image[..., 20:28, 30:40] += 0.5
    got, stats = module.step(image, motion=MotionField.identity(SIZE))
    assert stats.compute_ratio < 1
    assert_close(got, network(image))
    image = image.roll((0, 32), (2, 3))
    assert_close(module.step(image, motion=shift(SIZE, 0, 32))[0], network(image))


def whole_numbers(model):
    """Each output of a convolution reads one input, times 1 or -1: values stay small, and float32 is exact."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = torch.zeros(module.weight.shape).flatten(1)
            taps = torch.randint(weight.shape[1], (len(weight), 1), generator=generator)
            weight.scatter_(1, taps, torch.randint(2, taps.shape, generator=generator) * 2.0 - 1)
            module.weight.data = weight.view_as(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize('name', ['ResNet-FPN', 'DeepLab-V3, ResNet-50', 'EfficientNet-Lite'])
def test_whole_numbers_come_out_bit_for_bit(name):
    """Of the networks whose operations are exact on them."""
    model = whole_numbers(NETWORKS[name]())
    module = sparse.compile(model, (torch.zeros(1, 3, *SIZE),))
    for image, motion in scenes(11, 3, SIZE, frames=8):
        assert_equal(module.step(image, motion=motion)[0], model(image))
