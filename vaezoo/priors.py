"""Priors p(z): what a latent code looks like before any image is seen."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo.components import Component
from vaezoo.mixtures import NormalMixture
from vaezoo.networks import positive

__all__ = ["MixtureOfGaussians", "Prior", "StandardNormal"]


class Prior(Component):
    """p(z): `forward()` returns a distribution with event shape (z_dim,) and no batch shape."""

    z_dim: int

    def forward(self) -> dist.TorchDistribution:
        """Return p(z)."""
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I), fixed.

    Args:
        z_dim: latent size.

    Example:
        >>> round(StandardNormal(2)().log_prob(torch.zeros(2)).item(), 6)
        -1.837877
    """

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = _at_least_one("z_dim", z_dim)
        self.register_buffer("zeros", torch.zeros(z_dim), persistent=False)
        self.register_buffer("ones", torch.ones(z_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return N(0, I)."""
        return dist.Normal(self.zeros, self.ones).to_event(1)

    def __repr__(self) -> str:
        return f"StandardNormal({self.z_dim})"


class MixtureOfGaussians(Prior):
    """Σ_i w_i N(μ_i, diag σ_i²), means and variances learned.

    Means and raw variances start as N(0, I) / sqrt(k · z_dim), and σ² = softplus(raw) + 1e-8, as
    in the seed's GMVAE. Its KL from a Normal has no closed form: objectives estimate it with the
    posterior's sample.

    Args:
        z_dim: latent size.
        k: number of components.
        learn_weights: learn the weights w; they are 1/k, fixed, otherwise.

    Example:
        >>> prior = MixtureOfGaussians(10, k=500)
        >>> prior().log_prob(torch.zeros(7, 10)).shape
        torch.Size([7])
    """

    logits: Tensor

    def __init__(self, z_dim: int, *, k: int = 500, learn_weights: bool = False) -> None:
        super().__init__()
        self.z_dim, self.k = _at_least_one("z_dim", z_dim), _at_least_one("k", k)
        self.learn_weights = learn_weights
        self.loc = nn.Parameter(torch.randn(k, z_dim) / math.sqrt(k * z_dim))
        self.raw_scale = nn.Parameter(torch.randn(k, z_dim) / math.sqrt(k * z_dim))
        if learn_weights:
            self.logits = nn.Parameter(torch.zeros(k))
        else:
            self.register_buffer("logits", torch.zeros(k), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return the mixture, a `MixtureSameFamily`."""
        components = dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
        return NormalMixture(dist.Categorical(logits=self.logits), components)

    def __repr__(self) -> str:
        return f"MixtureOfGaussians({self.z_dim}, k={self.k})"


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value
