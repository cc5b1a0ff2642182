"""What every likelihood is: a network from codes to the parameters of one distribution per x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.networks import MLP
from vaezoo.networks.leading import over_leading

__all__ = ["Likelihood"]


class Likelihood(Component):
    """p(x|z[, y]): `forward(z[, y])` returns a distribution with event shape x_shape.

    It must accept leading dimensions in z and y, as `_decode` does for any network. Subclasses say
    by `output_shape` what their network puts out, where that is not x_shape (attributes that it
    reads are set before `super().__init__`, which asks for it), and by `counts` that x are counts:
    a member's default encoder then sees log(1 + x).

    Args:
        z_dim: latent size.
        x_shape: shape of one observation: (C, H, W) for images, (genes,) for counts of genes.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for p(x|z).
        network: your own module from codes (N, z_dim), and labels (N,) if any, to
            (N, *output_shape()).

    Example:
        >>> import torch
        >>> from vaezoo.networks import positive
        >>> class Wide(Likelihood):
        ...     def output_shape(self):  # of a mean and a scale for each number
        ...         return (*self.x_shape, 2)
        ...
        ...     def forward(self, z, y=None):
        ...         loc, raw = self._decode(z, y).unbind(-1)
        ...         return dist.Normal(loc, positive(raw)).to_event(len(self.x_shape))
        >>> Wide(10, (3,))(torch.zeros(7, 10)).event_shape
        torch.Size([3])
    """

    counts: ClassVar[bool] = False

    def __init__(
        self,
        z_dim: int,
        x_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        self.z_dim, self.x_shape = arguments.size_first(kind, ("z_dim", "x_shape"), z_dim, x_shape)
        self.hidden = arguments.shape("hidden", hidden)
        self.classes = arguments.size("classes", classes, least=0)
        self.network = (
            MLP((self.z_dim,), self.hidden, self.output_shape(), classes=self.classes)
            if network is None
            else arguments.module("network", network)
        )

    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network puts out for one code."""
        return self.x_shape

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y]) for codes z, shape (*leading, z_dim)."""
        raise NotImplementedError

    def _decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The network's outputs (*leading, …) for codes (*leading, z_dim) and labels (*leading)."""
        return over_leading(self.network, z, y, (self.z_dim,))

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless x are outcomes of this likelihood; here, any reals."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'×'.join(map(str, self.x_shape))})"
