"""A Normal posterior of independent units."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from vaezoo import distributions
from vaezoo.networks import positive
from vaezoo.posteriors.base import Amortised

__all__ = ["DiagonalNormal"]


class DiagonalNormal(Amortised):
    """N(μ(x), diag σ²(x)), the posterior of Kingma & Welling 2014.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for q(z|x).
        network: your own module from images (and labels) to (2, z_dim): means and raw scales.
        log1p: show the network `networks.signed_log1p` of x: for counts, which are far from 1.

    Example:
        >>> import torch
        >>> q = DiagonalNormal((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.batch_shape, q.event_shape
        (torch.Size([7]), torch.Size([10]))
    """

    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network puts out for one image."""
        return (2, self.z_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        loc, raw_scale = self._read(x, y).unbind(-2)
        return distributions.DiagonalNormal(loc, positive(raw_scale)).to_event(1)
