"""The feature codec's networks, and the estimate of bits that they are trained with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dedelayed_ros.link import LatentCoder, code_lengths
from dedelayed_ros.models.codec import LATENT_LIMIT, FeatureCodec, LatentRate


def test_latents_are_whole_and_within_their_limit() -> None:
    torch.manual_seed(0)
    codec = FeatureCodec(latents=8)
    latents = codec.encode(100 * torch.randn(2, 32, 5, 7))
    assert latents.shape == (2, 8, 5, 7)
    assert torch.equal(latents, latents.round())
    assert latents.abs().max() == LATENT_LIMIT
    assert codec(torch.randn(2, 32, 5, 7)).shape == (2, 32, 5, 7)


@pytest.mark.parametrize('correlated', [False, True])
def test_the_estimated_bits_are_those_that_the_coder_takes(correlated: bool) -> None:
    """Trained on latents with neighbours alike or not, the estimate is near the coder's real size."""
    torch.manual_seed(0)
    maps = 3 * torch.randn(24, 4, 20, 40)
    if correlated:
        for _ in range(2):
            maps = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(maps, (1, 1, 1, 1)), 3, 1)
        maps = 3 * maps / maps.std()
    whole = maps.round().clamp(-LATENT_LIMIT, LATENT_LIMIT)
    rate = LatentRate(4)
    optimiser = torch.optim.Adam(rate.parameters(), lr=0.05)
    for _ in range(120):
        bits = rate(whole + torch.rand_like(whole) - 0.5)
        optimiser.zero_grad()
        bits.backward()
        optimiser.step()
    integers = [latents.to(torch.int32).numpy() for latents in whole]
    coder = LatentCoder(code_lengths(integers, LATENT_LIMIT))
    real = 8 * np.mean([len(coder.pack(latents)) for latents in integers]) / (20 * 40)
    assert real == pytest.approx(float(bits.detach()), rel=0.12)
    alone = 4 * np.log2(3 * np.sqrt(2 * np.pi * np.e))  # bits of four such latents by themselves
    assert (real < 0.8 * alone) == correlated, 'that neighbours are alike is used'
