"""The likelihood of pixels that are 0 or 1."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from vaezoo.likelihoods.base import Likelihood

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels, parametrised by logits.

    Example:
        >>> import torch
        >>> p = Bernoulli(10, (1, 28, 28))(torch.zeros(7, 10))
        >>> p.batch_shape, p.event_shape
        (torch.Size([7]), torch.Size([1, 28, 28]))
        >>> Bernoulli(10, (1, 28, 28)).check(torch.full((1, 1, 28, 28), 0.5))
        Traceback (most recent call last):
        ...
        ValueError: a Bernoulli likelihood needs pixels that are 0 or 1, got 0.5: ...
    """

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        return dist.Bernoulli(logits=self._decode(z, y)).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a pixel is neither 0 nor 1."""
        grey = (x != 0) & (x != 1)
        if grey.any():
            raise ValueError(
                f"a Bernoulli likelihood needs pixels that are 0 or 1, got {x[grey][0].item():.4g}:"
                " load the data with binarisation='dynamic', 'static' or 'threshold', or use "
                "likelihoods.ContinuousBernoulli, DiscretizedLogistic or Normal for grey images"
            )
