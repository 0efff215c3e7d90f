"""Masks of ``dedelayed eval delay`` to look at: the same frames by the methods that matter, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from dedelayed_ros import masks
from dedelayed_ros.eval.delay_cases import Pair, Scene
from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.train.footage import Clip

COLUMNS = ('camera', 'truth', 'local', 'remote_image', 'fused_motion')


@torch.inference_mode()
def delay_pictures(pair: Pair, clips: Sequence[Clip], delay_ms: float, *, streets: int = 6) -> Image.Image:
    """A sheet of the last frame of the first ``streets`` clips, a row each; columns are COLUMNS: what the camera saw,
    the labels, and the masks of the local model, of the cloud as it arrives ``delay_ms`` late, and of both fused.
    """
    rows = []
    for clip in clips[:streets]:
        scene = Scene(pair, clip)
        now = len(clip) - 1
        seen = now - scene.frames(delay_ms)
        image, labels = np.array(clip.images[now]), np.array(clip.labels[now])
        size = (labels.shape[0], labels.shape[1])
        shown = [image, masks.overlay(image, labels, CITYSCAPES.palette, 1.0)]
        for method in COLUMNS[2:]:
            mask, _ = masks.render(scene.logits(method, now, seen, delay_ms), size)
            shown.append(masks.overlay(image, mask, CITYSCAPES.palette, 0.7))
        rows.append(np.concatenate(shown, axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)
