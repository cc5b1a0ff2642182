"""A mixture of Gaussians with learned means and variances as prior."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.distributions import NormalMixture
from vaezoo.networks import positive
from vaezoo.priors.base import Prior

__all__ = ["MixtureOfGaussians"]


class MixtureOfGaussians(Prior):
    """Σ_i w_i N(μ_i, diag σ_i²), means and variances learned.

    Means and raw variances start as N(0, I) / sqrt(k · z_dim), and σ² = softplus(raw) + 1e-8, as
    in the reference GMVAE. Its KL from a Normal has no closed form: objectives estimate it with the
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
        self.z_dim, self.k = arguments.size("z_dim", z_dim), arguments.size("k", k)
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
