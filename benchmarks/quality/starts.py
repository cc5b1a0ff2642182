"""What a model takes from the training images before it is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.quality.recipe import Member
from vaezoo import models, priors, training

__all__ = ["from_images", "from_m1", "from_means"]

FIRST, PEAK = 20_000, 4e-3  # steps of M1


def from_images(model: Member, images: Any) -> None:
    """Let pseudo-inputs start as training images."""
    assert isinstance(model.prior, priors.VampPrior)
    model.prior.start_from(images[:500].tensors()[0])


def from_means(model: Member, images: Any) -> None:
    """Let the decoder start with the mean of each pixel."""
    *_, last = (m for m in model.likelihood.modules() if isinstance(m, nn.Linear))
    means = images.pixels.float().mean(0).flatten() / 255
    with torch.no_grad():
        last.bias.copy_(means.clamp(1e-3, 1 - 1e-3).logit())


def from_m1(model: Member, batches: Any) -> None:
    """Train M1, a VAE, on images without labels, and freeze it again, as the paper does."""
    assert isinstance(model, models.M1M2)
    m1 = models.VAE(z_dim=50, posterior=model.posterior, likelihood=model.likelihood)
    m1.requires_grad_(True)
    rate = training.one_cycle(PEAK, FIRST)
    training.fit(m1, batches.unlabelled, steps=FIRST, lr=rate, compile=True)
    m1.requires_grad_(False)
