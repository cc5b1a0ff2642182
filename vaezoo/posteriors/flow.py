"""An autoregressive flow as posterior; its maps are explained in `distributions.autoregressive`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from vaezoo import arguments, distributions
from vaezoo.networks import positive
from vaezoo.posteriors.base import Amortised

__all__ = ["Flow"]


class Flow(Amortised):
    """An inverse autoregressive flow on a diagonal Normal, with a context from image and label.

    z = f_T(… f_1(μ(x) + σ(x) ε, c(x)) …, c(x)); the network puts out μ, raw σ and the context c in
    one vector. Drawing z and its density takes one pass of each layer; the density at any other
    point takes z_dim. (Kingma et al. 2016. arXiv:1606.04934, algorithm 1.) As with transforms of
    torch's that keep their draw, a draw's density has no gradient by z; that of `z.clone()` has.

    Args:
        layers: autoregressive layers.
        flow_hidden: widths of each layer's masked network, at least z_dim each.
        context: size of c; the rest as in `DiagonalNormal`.

    Example:
        >>> import torch
        >>> q = Flow((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.log_prob(q.rsample()).shape
        torch.Size([7])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        layers: int = 2,
        flow_hidden: Sequence[int] = (128,),
        context: int = 32,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        self.context = arguments.size("context", context)  # first, as `output_shape` reads it
        options: dict[str, Any] = {"classes": classes, "network": network, "log1p": log1p}
        super().__init__(x_shape, z_dim, hidden=hidden, **options)
        self.layers = arguments.size("layers", layers)
        self.flow_hidden = arguments.shape("flow_hidden", flow_hidden)
        self.flow = distributions.AutoregressiveFlow(
            self.z_dim, layers=self.layers, hidden=self.flow_hidden, context=self.context
        )

    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network puts out for one image."""
        return (2 * self.z_dim + self.context,)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y]), a `TransformedDistribution`."""
        d = self.z_dim
        loc, raw_scale, context = self._read(x, y).split([d, d, self.context], -1)
        base = distributions.DiagonalNormal(loc, positive(raw_scale)).to_event(1)
        return dist.TransformedDistribution(base, list(self.flow(context)))

    def __repr__(self) -> str:
        return f"Flow({self.z_dim}, layers={self.layers})"
