"""A Normal posterior of any covariance."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import vec_to_tril_matrix

from vaezoo import distributions
from vaezoo.networks import positive
from vaezoo.posteriors.base import Amortised

__all__ = ["FullNormal"]


class FullNormal(Amortised):
    """N(μ(x), L(x) Lᵀ(x)) with a lower triangular Cholesky factor L, its diagonal positive.

    The network puts out z_dim means, z_dim raw scales and z_dim (z_dim - 1) / 2 numbers below the
    diagonal, in one vector. The KL from N(0, I) has a closed form and is used. Arguments as in
    `DiagonalNormal`.

    Example:
        >>> q = FullNormal((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.covariance_matrix.shape
        torch.Size([7, 10, 10])
    """

    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network puts out for one image."""
        return (self.z_dim * (self.z_dim + 3) // 2,)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        d = self.z_dim
        loc, raw_scale, below = self._read(x, y).split([d, d, d * (d - 1) // 2], -1)
        tril = torch.diag_embed(positive(raw_scale))
        if d > 1:
            tril = tril + vec_to_tril_matrix(below, -1)
        return distributions.FullNormal(loc, scale_tril=tril)
