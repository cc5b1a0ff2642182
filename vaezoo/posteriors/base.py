"""What every posterior is, q(z|x) or q(z|x, y), and what those of one network have in common."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.networks import MLP, signed_log1p
from vaezoo.networks.leading import over_leading

__all__ = ["Amortised", "Posterior", "shown"]

Pair = Tensor | tuple[Tensor, Tensor]


class Posterior(Component):
    """q(z|x[, y]): `forward(x[, y])` returns a distribution with event shape (z_dim,).

    It must be reparametrised (`has_rsample`) and accept leading dimensions in x and y.
    """

    z_dim: int

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y]) for images x, shape (*leading, *x_shape)."""
        raise NotImplementedError


class Amortised(Posterior):
    """A posterior whose parameters are what one network puts out.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for q(z|x).
        network: your own module from images (N, *x_shape), and labels (N,) if any, to what the
            posterior reads for each.
        log1p: show the network `signed_log1p` of x: for counts, which are far from 1.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        super().__init__()
        self.log1p = log1p
        kind = type(self).__name__
        self.x_shape, self.z_dim = arguments.shape_first(kind, ("x_shape", "z_dim"), x_shape, z_dim)
        self.hidden = arguments.shape("hidden", hidden)
        self.classes = arguments.size("classes", classes, least=0)
        self.network = (
            MLP(self.x_shape, self.hidden, self.output_shape(), classes=self.classes)
            if network is None
            else arguments.module("network", network)
        )

    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network puts out for one image."""
        raise NotImplementedError

    def _read(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The network's outputs (*leading, …) for images (*leading, *x_shape), or a pair."""
        return over_leading(self.network, shown(x, self.log1p), y, self.x_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.z_dim})"


def shown(x: Pair, log1p: bool) -> Pair:
    """What a network is shown of x, or of the image of a pair."""
    if not log1p:
        return x
    return signed_log1p(x) if isinstance(x, Tensor) else (signed_log1p(x[0]), *x[1:])
