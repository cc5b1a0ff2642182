"""Likelihoods of counts, for observations that are not pictures.

An encoder that is shown raw counts puts out means and scales as far from 1 as they are. A member's
own encoder sees log(1 + x) instead; give a posterior of yours `log1p=True`.

log P of a count x is a small difference of numbers as large as x log x, of which float32 has seven
digits: at counts of a million that is a nat or more. Evaluate such in float64, by `model.double()`.

References:
    Lopez, Regier, Cole, Jordan, Yosef. Deep generative modeling for single-cell transcriptomics.
    2018. Nature Methods 15, 1053-1058 (scVI), with the negative binomial by mean and inverse
    dispersion.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import distributions
from vaezoo.likelihoods.base import Likelihood

__all__ = ["NegativeBinomial", "Poisson"]

BOUND = 15.0  # of a log rate and of a log inverse dispersion


class Poisson(Likelihood):
    """Independent counts with rate exp(15 tanh(h/15)), h the network's output.

    The log of the rate is the natural parameter: the gradient by it is x - rate, and counts that
    differ by factors are as near for the network as those that differ by units. A softplus would
    have to put out the counts themselves. The bound differs from h by less than 1 % for |h| < 2.6,
    and keeps rates within 3e-7 and 3e6, where float32 has neither 0 nor ∞; unlike a clamp it leaves
    a gradient.

    Example:
        >>> p = Poisson(1, (1,), network=nn.Identity())(torch.zeros(7, 1))
        >>> p.log_prob(torch.zeros(7, 1)).tolist() == [-1.0] * 7
        True
    """

    counts = True

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        rate = _bounded(self._decode(z, y)).exp()
        return dist.Poisson(rate).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a value is no count."""
        _check_counts("Poisson", x)


class NegativeBinomial(Likelihood):
    """Independent counts of mean μ(z) and variance μ + μ²/r, r learned for each of them.

        log P(x) = log Γ(x + r) - log Γ(r) - log x! + r log(r / (r + μ)) + x log(μ / (r + μ))

    (scVI; Lopez et al. 2018.) log μ is the network's output and log r a parameter of x_shape, which
    starts at r = 1, both bounded as the rate of `Poisson` is. r → ∞ is the Poisson distribution.

    Example:
        >>> p = NegativeBinomial(10, (30,))(torch.zeros(7, 10)).base_dist
        >>> bool(torch.allclose(p.variance, p.mean + p.mean**2))
        True
    """

    counts = True

    def __init__(
        self,
        z_dim: int,
        x_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__(z_dim, x_shape, hidden=hidden, classes=classes, network=network)
        self.raw_r = nn.Parameter(torch.zeros(self.x_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        log_mean, log_r = _bounded(self._decode(z, y)), _bounded(self.raw_r)
        counts = distributions.NegativeBinomial(log_r.exp(), logits=log_mean - log_r)
        return counts.to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a value is no count."""
        _check_counts("NegativeBinomial", x)


def _bounded(raw: Tensor) -> Tensor:
    return BOUND * torch.tanh(raw / BOUND)


def _check_counts(name: str, x: Tensor) -> None:
    wrong = (x < 0) | (x != x.round())
    if wrong.any():
        raise ValueError(
            f"a {name} likelihood needs counts 0, 1, 2, …, as floats, got "
            f"{x[wrong][0].item():.4g}: give the raw counts, not normalised or logged ones, or use "
            "likelihoods.Normal for real numbers"
        )
