"""Approximate posteriors q(z|x) and q(z|x, y), and the classifier q(y|x)."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from vaezoo.components import Component
from vaezoo.networks import MLP, positive

__all__ = ["Classifier", "DiagonalNormal", "Posterior"]


class Posterior(Component):
    """q(z|x[, y]): `forward(x[, y])` returns a distribution with event shape (z_dim,).

    It must be reparametrised (`has_rsample`) and accept leading dimensions in x and y.
    """

    z_dim: int

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y]) for images x, shape (*leading, *x_shape)."""
        raise NotImplementedError


class DiagonalNormal(Posterior):
    """N(μ(x), diag σ²(x)), the posterior of Kingma & Welling 2014.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for q(z|x).
        network: your own module from images (and labels) to (2, z_dim): means and raw scales.

    Example:
        >>> import torch
        >>> q = DiagonalNormal((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.batch_shape, q.event_shape
        (torch.Size([7]), torch.Size([10]))
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.x_shape, self.z_dim = tuple(x_shape), z_dim
        self.hidden, self.classes = tuple(hidden), classes
        self.network = network or MLP(x_shape, hidden, (2, z_dim), classes=classes)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        h = self.network(x) if y is None else self.network(x, y)
        loc, raw_scale = h.unbind(-2)
        return dist.Normal(loc, positive(raw_scale)).to_event(1)

    def __repr__(self) -> str:
        return f"DiagonalNormal({self.z_dim})"


class Classifier(Component):
    """q(y|x), a Categorical over the classes.

    Args:
        x_shape: shape of one image.
        classes: number of classes.
        hidden: widths of the hidden layers of the default `MLP` (ReLU, as in the seed).
        network: your own module from images to (classes,) logits.

    Example:
        >>> import torch
        >>> Classifier((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28)).probs.shape
        torch.Size([7, 10])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        classes: int,
        *,
        hidden: Sequence[int] = (300, 300),
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.x_shape, self.classes, self.hidden = tuple(x_shape), classes, tuple(hidden)
        self.network = network or MLP(x_shape, hidden, (classes,), activation=nn.ReLU)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Return q(y|x) for images x, shape (*leading, *x_shape)."""
        return dist.Categorical(logits=self.network(x))

    def __repr__(self) -> str:
        return f"Classifier({self.classes})"
