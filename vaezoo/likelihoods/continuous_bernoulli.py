"""The likelihood of grey pixels, anywhere between 0 and 1."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from vaezoo import distributions
from vaezoo.likelihoods.base import Likelihood

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Likelihood):
    """Independent grey pixels with density C(λ) e^{λx} on [0, 1], λ the network's logits.

    C(λ) = λ / (e^λ - 1) is what a Bernoulli likelihood of grey pixels leaves out (Loaiza-Ganem,
    Cunningham 2019. arXiv:1907.06845, equations 5 and 6, where λ = log(p / (1 - p))). It is a
    density: log p(x|z) may be positive, and is not to be compared with that of levels or of bits.

    Example:
        >>> import torch
        >>> p = ContinuousBernoulli(1, (1,), network=torch.nn.Identity())(torch.tensor([[2.0]]))
        >>> round(p.log_prob(torch.ones(1, 1)).item(), 4)
        0.8386
    """

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        return distributions.ContinuousBernoulli(self._decode(z, y)).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a pixel lies outside [0, 1]."""
        outside = (x < 0) | (x > 1)
        if outside.any():
            raise ValueError(
                "a ContinuousBernoulli likelihood needs pixels in [0, 1], got "
                f"{x[outside][0].item():.4g}: divide bytes by 255, load the data with "
                "binarisation='none', or use likelihoods.Normal for other real numbers"
            )
