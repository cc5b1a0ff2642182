"""A Normal posterior with a covariance of low rank beside the diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments, distributions
from vaezoo.networks import positive
from vaezoo.posteriors.base import Amortised

__all__ = ["LowRankNormal"]


class LowRankNormal(Amortised):
    """N(μ(x), W(x) Wᵀ(x) + diag σ²(x)), with W of a few columns.

    The network puts out (rank + 2, z_dim): means, raw scales and W's columns. The KL from N(0, I)
    has a closed form and is used.

    Args:
        rank: columns of W, at least 1; the rest as in `DiagonalNormal`.

    Example:
        >>> q = LowRankNormal((1, 28, 28), 10, rank=2)(torch.zeros(7, 1, 28, 28))
        >>> q.cov_factor.shape
        torch.Size([7, 10, 2])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        rank: int = 2,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        self.rank = arguments.size("rank", rank)  # first, as `output_shape` reads it
        options: dict[str, Any] = {"classes": classes, "network": network, "log1p": log1p}
        super().__init__(x_shape, z_dim, hidden=hidden, **options)

    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network puts out for one image."""
        return (self.rank + 2, self.z_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        loc, raw_scale, *columns = self._read(x, y).unbind(-2)
        if len(columns) != self.rank:
            raise ValueError(f"expected {self.rank + 2} vectors, got {len(columns) + 2}")
        return distributions.LowRankNormal(
            loc, torch.stack(columns, -1), positive(raw_scale).square()
        )

    def __repr__(self) -> str:
        return f"LowRankNormal({self.z_dim}, rank={self.rank})"
