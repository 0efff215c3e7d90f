"""The codec stage: the fewest bits that still tell the robot what the frozen models need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dedelayed_ros.errors import InputError
from dedelayed_ros.models.codec import LATENT_LIMIT, FeatureCodec, LatentRate
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel
from dedelayed_ros.train.config import CodecConfig
from dedelayed_ros.train.footage import Clip
from dedelayed_ros.train.joint import history_of

_COUNTED = 600  # maps that the codes are made for


class _Weight(nn.Module):
    """A number that is kept with a model and not trained by gradients."""

    value: Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer('value', torch.tensor(value))


class CodecTask:
    """Distortion where it matters plus rate, on features of the joint stage's remote model.

    Distortion is measured where features go to: what the fusion adds inside the local model at each place, relative to
    its variance, and the classes that the remote head reads from them. The rate's weight follows the rate: it grows
    while ``stage.bits`` a cell are exceeded and falls below them.
    """

    def __init__(
        self,
        local: LocalModel,
        remote: RemoteModel,
        clips: tuple[Sequence[Clip], Sequence[np.ndarray]],
        stage: CodecConfig,
        base: FeatureCodec | None = None,
    ) -> None:
        """``base``: the codec to begin with; None: one that knows nothing.

        Raises:
            InputError: it is of other features or latents.
        """
        torch.manual_seed(stage.seed)
        self.codec = FeatureCodec(feature_channels=remote.feature_channels, latents=stage.latents)
        if base is not None:
            _restore(self.codec, base)
        self.rate = LatentRate(stage.latents)
        self._weight = _Weight(stage.first_weight)
        # The weight is checkpointed too: a stopped run goes on with the one that it had found.
        self.model: nn.Module = nn.ModuleDict({'codec': self.codec, 'rate': self.rate, 'weight': self._weight})
        self._local = local
        self._remote = remote
        self._clips, self._maps = clips
        self._stage = stage
        with torch.no_grad():
            seen = self._features(np.random.default_rng((stage.seed, 2**31)), count=32)
            self._variances = [added.var() for added in local.expanded(seen)]
            if base is not None:
                return
            # Latents of about two steps' spread to begin with.
            spread = self.codec.analyse(seen).std()
            last = cast('nn.Conv2d', self.codec.analysis[-1])
            last.weight.mul_(2.0 / spread)
            cast('Tensor', last.bias).zero_()

    def rate_factor(self, name: str) -> float:
        return 1.0

    def losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        stage = self._stage
        features = self._features(rng, stage.batch)
        with torch.no_grad():
            wanted = self._local.expanded(features)
            classes = self._remote.logits(features).softmax(1)
        latents = self.codec.analyse(features)
        noisy = latents + (torch.rand_like(latents) - 0.5)
        rounded = latents + (latents.round() - latents).detach()
        decoded = self.codec.decode(rounded.clamp(-LATENT_LIMIT, LATENT_LIMIT))
        parts = zip(self._local.expanded(decoded), wanted, self._variances, strict=True)
        added = torch.stack([F.mse_loss(found, part) / variance for found, part, variance in parts]).mean()
        read = F.kl_div(self._remote.logits(decoded).log_softmax(1), classes, reduction='none').sum(1).mean()
        bits = self.rate(noisy)
        weight = self._weight.value.clone()
        self._weight.value.mul_(torch.exp(stage.weight_gain * (bits.detach() / stage.bits - 1.0).clamp(-1.0, 1.0)))
        return {'added': added, 'read': read, 'rate': weight * bits}

    def code_lengths(self) -> np.ndarray:
        """The codes for :class:`~dedelayed_ros.link.LatentCoder` that suit the features of the footage."""
        from dedelayed_ros.link import code_lengths

        maps: list[np.ndarray] = []
        rng = np.random.default_rng((self._stage.seed, 2**31 + 1))
        with torch.no_grad():
            while len(maps) < _COUNTED:
                maps += list(self.codec.encode(self._features(rng, self._stage.batch)).to(torch.int32).numpy())
        return code_lengths(maps, LATENT_LIMIT)

    @torch.no_grad()
    def _features(self, rng: np.random.Generator, count: int) -> Tensor:
        """float32 [count, F, h, w] that the remote model would answer with, at random moments and told delays."""
        history, ages, told = [], [], []
        for index in rng.integers(len(self._clips), size=count):
            clip = self._clips[index]
            frames = history_of(int(rng.integers(len(clip))), clip.rate, rng)
            history.append(self._maps[index][list(frames)])
            ages.append([(frames[-1] - frame) / clip.rate * 1e3 for frame in frames])
            told.append(float(rng.uniform(0.0, 500.0)))
        assert len(history[0]) == HISTORY
        return self._remote.predict(torch.from_numpy(np.stack(history)), torch.tensor(ages), torch.tensor(told)).float()


def _restore(codec: FeatureCodec, base: FeatureCodec) -> None:
    wanted, found = ({name: tuple(value.shape) for name, value in one.state_dict().items()} for one in (codec, base))
    if wanted != found:
        raise InputError(
            f"the base's codec is of other features or latents ({found}; expected {wanted}); begin without it"
        )
    codec.load_state_dict(base.state_dict())
