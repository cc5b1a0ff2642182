"""An autoregressive flow as prior; its maps are explained in `distributions.autoregressive`."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch

from vaezoo import arguments
from vaezoo.distributions import AutoregressiveFlow
from vaezoo.priors.base import Prior

__all__ = ["Flow"]


class Flow(Prior):
    """A masked autoregressive flow: ε = f(z) ~ N(0, I), evaluated in one pass, drawn in z_dim.

    (Papamakarios, Pavlakou, Murray 2017. arXiv:1705.07057, equation 3; as the prior of a VAE: Chen
    et al. 2017, Variational Lossy Autoencoder, arXiv:1611.02731.)

    Args:
        z_dim: latent size, at least 2.
        layers: autoregressive layers.
        hidden: widths of each layer's masked network, at least z_dim each.

    Example:
        >>> Flow(10)().log_prob(torch.zeros(7, 10)).shape
        torch.Size([7])
    """

    def __init__(self, z_dim: int, *, layers: int = 4, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        self.z_dim, self.layers = arguments.size("z_dim", z_dim), arguments.size("layers", layers)
        self.hidden = arguments.shape("hidden", hidden)
        self.flow = AutoregressiveFlow(self.z_dim, layers=self.layers, hidden=self.hidden)
        self.register_buffer("zeros", torch.zeros(self.z_dim), persistent=False)
        self.register_buffer("ones", torch.ones(self.z_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return p(z), a `TransformedDistribution`."""
        base = dist.Normal(self.zeros, self.ones).to_event(1)
        return dist.TransformedDistribution(base, [t.inv for t in self.flow()])

    def __repr__(self) -> str:
        return f"Flow({self.z_dim}, layers={self.layers})"
