"""What every prior is: p(z), without any image."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from vaezoo.components import Component

__all__ = ["Prior"]


class Prior(Component):
    """p(z): `forward()` returns a distribution with event shape (z_dim,) and no batch shape."""

    z_dim: int

    def forward(self) -> dist.TorchDistribution:
        """Return p(z)."""
        raise NotImplementedError

    def follow(self, posterior: nn.Module) -> None:
        """Take note of the posterior of the member that this is the prior of; here, do nothing.

        A member calls it whenever either is swapped. A prior that overrides it serves one member
        at a time, and says by `follows` whom it took note of.
        """
