"""mIoU on validation streets: the local model alone, the remote one, and both together over the delay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dedelayed_ros.models.labels import CITYSCAPES
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.joint import carry
from dedelayed_ros.train.losses import Confusion

_HISTORY_GAP_MS = 67.0
_TARGET_STEP = 2  # of the frames that can be judged at every delay, each second one


def to_input(image: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [H, W, 3] -> [1, 3, H, W] in 0–1."""
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return (picture.to(torch.float32) / 255.0).to(dtype)


def half_size(image: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] -> the local input, float32 [1, 3, H/2, W/2] in 0–1."""
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    size = (picture.shape[-2] // 2, picture.shape[-1] // 2)
    return F.interpolate(picture, size=size, mode='bilinear', antialias=True).float() / 255.0


@torch.inference_mode()
def single_frame(
    local: LocalModel | None, remote: RemoteModel | None, clips: Sequence[Clip], step: int = 4
) -> dict[str, float]:
    """Score each model, mIoU 0–1, on every ``step``-th frame, without any delay: the gate between the stages.

    Keys: 'local', 'remote_image' (its image head), 'remote' (through the 32 features), of the models that are given.
    """
    counts = {name: Confusion(len(CITYSCAPES)) for name in ('local', 'remote_image', 'remote')}
    for clip in clips:
        for index in range(0, len(clip), step):
            labels = np.asarray(clip.labels[index])
            if local is not None:
                counts['local'].add(local(half_size(clip.images[index]))[0], labels)
            if remote is not None:
                encoded = remote.encode(to_input(clip.decoded[index]))
                counts['remote_image'].add(remote.image_logits(encoded)[0], labels)
                counts['remote'].add(remote.logits(remote.predict_still(encoded))[0], labels)
    return {name: confusion.miou() for name, confusion in counts.items() if confusion.counts.any()}


@torch.inference_mode()
def over_delays(
    local: LocalModel,
    remote: RemoteModel,
    clips: Sequence[Clip],
    delays_ms: Sequence[float],
    say: Callable[[str], None] = print,
) -> list[dict]:
    """A row for each method and delay: ``{method, delay_ms, miou, per_class}``, mIoU 0–1, on the same frames
    throughout.

    Methods: ``local``; ``remote_image`` (single frame, stale); ``remote_carried`` (the remote model's own logits of
    carried features); ``fused_stale`` (not carried); ``fused_carried`` (what the robot does). Told and true delay are
    the same.
    """
    methods = ('remote_image', 'remote_carried', 'fused_stale', 'fused_carried')
    counts = {(method, delay): Confusion(len(CITYSCAPES)) for method in methods for delay in delays_ms}
    alone = Confusion(len(CITYSCAPES))
    for number, clip in enumerate(clips, 1):
        encoded = [remote.encode(to_input(image)) for image in clip.decoded]
        first = math.ceil(max(delays_ms) * 1e-3 * clip.rate)
        for now in range(first, len(clip), _TARGET_STEP):
            labels = np.asarray(clip.labels[now])
            picture = half_size(clip.images[now])
            alone.add(local(picture)[0], labels)
            for delay_ms in delays_ms:
                seen = now - round(delay_ms * 1e-3 * clip.rate)
                age = torch.tensor([(now - seen) / clip.rate * 1e3])
                features = _features(remote, encoded, seen, clip.rate, float(age))
                carried = carry(features[0].float(), clip.motion_between(seen, now))[None]
                counts['remote_image', delay_ms].add(remote.image_logits(encoded[seen])[0], labels)
                counts['remote_carried', delay_ms].add(remote.logits(carried)[0], labels)
                counts['fused_stale', delay_ms].add(local(picture, features.float(), age)[0], labels)
                counts['fused_carried', delay_ms].add(local(picture, carried, age)[0], labels)
        say(f'evaluated {number}/{len(clips)} clips')
    rows = [_row('local', delay, alone) for delay in delays_ms]
    return rows + [_row(method, delay, confusion) for (method, delay), confusion in counts.items()]


def staleness_s(rows: Sequence[dict]) -> float:
    """The longest delay of the table, in seconds, up to which carried features always helped local alone."""
    local = {row['delay_ms']: row['miou'] for row in rows if row['method'] == 'local'}
    longest = 0.0
    for row in sorted((r for r in rows if r['method'] == 'fused_carried'), key=lambda r: r['delay_ms']):
        if row['miou'] <= local[row['delay_ms']]:
            break
        longest = row['delay_ms'] / 1e3
    return longest


def table(rows: Sequence[dict]) -> str:
    """The rows as text, mIoU in points."""
    delays = sorted({row['delay_ms'] for row in rows})
    lines = ['delay (ms)       ' + ''.join(f'{delay:8.0f}' for delay in delays)]
    for method in dict.fromkeys(row['method'] for row in rows):
        values = {row['delay_ms']: row['miou'] for row in rows if row['method'] == method}
        lines.append(f'{method:17s}' + ''.join(f'{100 * values[delay]:8.1f}' for delay in delays))
    return '\n'.join(lines)


def _features(remote: RemoteModel, encoded: Sequence[Tensor], seen: int, rate: float, told_ms: float) -> Tensor:
    gap = max(1, round(_HISTORY_GAP_MS * 1e-3 * rate))
    frames = [max(0, seen - gap * back) for back in reversed(range(HISTORY))]
    ages = torch.tensor([[(seen - frame) / rate * 1e3 for frame in frames]])
    return remote.predict(torch.stack([encoded[frame] for frame in frames], 1), ages, torch.tensor([told_ms]))


def _row(method: str, delay_ms: float, confusion: Confusion) -> dict:
    per_class = {
        name: None if math.isnan(value) else round(float(value), 4)
        for name, value in zip(CITYSCAPES.names, confusion.iou(), strict=True)
    }
    return {'method': method, 'delay_ms': delay_ms, 'miou': round(confusion.miou(), 4), 'per_class': per_class}
