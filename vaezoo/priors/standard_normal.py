"""The standard Normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch

from vaezoo import arguments
from vaezoo.priors.base import Prior

__all__ = ["StandardNormal"]


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
        self.z_dim = arguments.size("z_dim", z_dim)
        self.register_buffer("zeros", torch.zeros(self.z_dim), persistent=False)
        self.register_buffer("ones", torch.ones(self.z_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return N(0, I)."""
        return dist.Normal(self.zeros, self.ones).to_event(1)

    def __repr__(self) -> str:
        return f"StandardNormal({self.z_dim})"
