"""mIoU on validation streets: the local model alone, the remote one, and both together over the delay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import RemoteModel
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.losses import Confusion
from dedelayed_ros.train.pictures import to_input


@torch.inference_mode()
def single_frame(
    local: LocalModel | None, remote: RemoteModel | None, clips: Sequence[Clip], step: int = 4, reduce: int = 2
) -> dict[str, float]:
    """Score each model, mIoU 0–1, on every ``step``-th frame, without any delay: the gate between the stages.

    ``reduce``: camera pixels to one of the local model's, on each axis.
    Keys: 'local', 'remote_image' (its image head), 'remote' (through the 32 features), of the models that are given.
    """
    counts = {name: Confusion(len(CITYSCAPES)) for name in ('local', 'remote_image', 'remote')}
    for clip in clips:
        for index in range(0, len(clip), step):
            labels = np.asarray(clip.labels[index])
            if local is not None:
                counts['local'].add(local(to_input(clip.images[index], reduce))[0], labels)
            if remote is not None:
                encoded = remote.encode(to_input(clip.decoded[index], 1))
                counts['remote_image'].add(remote.image_logits(encoded)[0], labels)
                counts['remote'].add(remote.logits(remote.predict_still(encoded))[0], labels)
    return {name: confusion.miou() for name, confusion in counts.items() if confusion.counts.any()}
