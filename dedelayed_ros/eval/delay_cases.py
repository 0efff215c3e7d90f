"""What the delay table compares: how each method makes a mask of the present from what the cloud saw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dedelayed_ros.carry import CELL, warp_features
from dedelayed_ros.models.codec import FeatureCodec
from dedelayed_ros.models.labels import UNLABELLED
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.pictures import to_input

METHODS = ('local', 'remote_image', 'remote_predictive', 'remote_warped', 'fused', 'fused_motion')
"""``local``: the robot's model without features. ``remote_image``: the cloud's mask of the frame that it saw, as it
arrives. ``remote_predictive``: the cloud's features, predicted for their arrival, through its own head (DeDelayed's
remote model). ``remote_warped``: its features of the frame that it saw, carried to now, through its own head.
``fused``: the local model with features predicted for their arrival (DeDelayed). ``fused_motion``: the local model with
features carried to now (what the robot runs)."""

_HISTORY_GAP_MS = 67.0


@dataclass(frozen=True)
class Pair:
    """The two models, and ``codec``, which gives features as they come out of the downlink."""

    local: LocalModel
    remote: RemoteModel
    split: int = 1
    codec: FeatureCodec | None = None


class Scene:
    """One clip as both sides see it; what several cases need is computed once.

    ``raw``: the cloud gets the camera's own pixels instead of H.264.
    """

    def __init__(self, pair: Pair, clip: Clip, *, raw: bool = False) -> None:
        self._pair = pair
        self._clip = clip
        self._pictures = clip.images if raw else clip.decoded
        self._encoded: dict[int, Tensor] = {}
        self._features: dict[tuple[int, float, float], Tensor] = {}
        self._local: dict[int, Tensor] = {}

    def frames(self, delay_ms: float) -> int:
        """The whole number of frames that is nearest to a delay."""
        return round(delay_ms * 1e-3 * self._clip.rate)

    def logits(self, method: str, now: int, seen: int, told_ms: float, *, coded: bool = True) -> Tensor:
        """float32 [classes, h, w] of frame ``now`` by a method of METHODS, when the cloud saw ``seen`` and was told
        ``told_ms``; ``coded``: features go through the pair's codec.
        """
        if method == 'local':
            return self.local(now)
        if method == 'remote_image':
            return self._pair.remote.image_logits(self._encode(seen))[0]
        if method in ('remote_predictive', 'fused'):
            features = self.features(seen, told_ms, arrival=True, coded=coded)
        else:
            motion = self._clip.motion_between(seen, now, CELL // self._pair.split)
            features = warp_features(self.features(seen, told_ms, coded=coded), motion, split=self._pair.split)
        if method in ('remote_predictive', 'remote_warped'):
            return self._pair.remote.logits(features)[0]
        age = torch.tensor([(now - seen) / self._clip.rate * 1e3])
        return self._pair.local(to_input(self._clip.images[now], 2), features, age)[0]

    def local(self, now: int) -> Tensor:
        """The local model's logits of a frame."""
        if now not in self._local:
            self._local[now] = self._pair.local(to_input(self._clip.images[now], 2))[0]
        return self._local[now]

    def features(self, seen: int, told_ms: float, *, arrival: bool = False, coded: bool = True) -> Tensor:
        """float32 [1, F, h, w] of the remote model, which has seen frames up to ``seen``."""
        remote = self._pair.remote
        ahead_ms = told_ms if arrival and remote.ahead is not None else 0.0
        key = (seen, told_ms, ahead_ms)
        if key not in self._features:
            gap = max(1, round(_HISTORY_GAP_MS * 1e-3 * self._clip.rate))
            frames = [max(0, seen - gap * back) for back in reversed(range(HISTORY))]
            ages = torch.tensor([[(seen - frame) / self._clip.rate * 1e3 for frame in frames]])
            history = torch.stack([self._encode(frame) for frame in frames], 1)
            self._features[key] = remote.predict(
                history, ages, torch.tensor([told_ms]), torch.tensor([ahead_ms])
            ).float()
        features = self._features[key]
        return features if self._pair.codec is None or not coded else self._pair.codec(features)

    def _encode(self, frame: int) -> Tensor:
        if frame not in self._encoded:
            self._encoded[frame] = self._pair.remote.encode(to_input(self._pictures[frame], 1))
        return self._encoded[frame]


def judged(clip: Clip, longest_ms: float, step: int) -> list[int]:
    """Each ``step``-th labelled frame of a clip, of those that can be judged at every delay up to ``longest_ms``."""
    late = range(math.ceil(longest_ms * 1e-3 * clip.rate), len(clip))
    return [frame for frame in late if bool((clip.labels[frame] != UNLABELLED).any())][::step]
