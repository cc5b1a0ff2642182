"""The likelihood of levels and categories, numbered from 0."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from vaezoo import arguments, distributions
from vaezoo.likelihoods.base import Likelihood

__all__ = ["Categorical"]


class Categorical(Likelihood):
    """Independent levels or categories 0..K-1, P(k) = softmax_k of the network's (*x_shape, K).

    The mean of the distribution is the expected level Σ_k k P(k), which means something where
    levels are ordered.

    Args:
        levels: K, at least 2.
        network: your own module from codes (and labels) to (*x_shape, levels) logits.

    Example:
        >>> import torch
        >>> likelihood = Categorical(10, (30,), levels=4)
        >>> likelihood(torch.zeros(7, 10)).sample().dtype
        torch.float32
        >>> logits = likelihood.network(torch.zeros(1, 10))
        >>> expected = logits.softmax(-1) @ torch.arange(4.0)
        >>> bool(torch.allclose(likelihood(torch.zeros(1, 10)).mean, expected))
        True
    """

    def __init__(
        self,
        z_dim: int,
        x_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        levels: int = 2,
    ) -> None:
        self.levels = arguments.size("levels", levels, least=2)  # first: `output_shape` reads it
        super().__init__(z_dim, x_shape, hidden=hidden, classes=classes, network=network)

    def output_shape(self) -> tuple[int, ...]:
        """(*x_shape, levels)."""
        return (*self.x_shape, self.levels)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        logits = self._decode(z, y)
        if logits.shape[-1] != self.levels:
            raise ValueError(f"expected logits of {self.levels} levels, got {logits.shape[-1]}")
        return distributions.FloatCategorical(logits=logits).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a value is no integer in 0..levels-1."""
        wrong = (x < 0) | (x >= self.levels) | (x != x.round())
        if wrong.any():
            raise ValueError(
                f"a Categorical likelihood with levels={self.levels} needs integers in "
                f"0..{self.levels - 1}, as floats, got {x[wrong][0].item():.4g}: number the "
                "categories from 0, or build it with more levels"
            )

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, levels={self.levels})"
