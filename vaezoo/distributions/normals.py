"""Normal distributions that know the noise their draws were made of.

log q(z|x) at a draw z = μ + L ε needs ε. Computed back from z as L⁻¹ (z - μ) it is wrong where L is
ill-conditioned or |μ| much larger than L: the difference has lost its digits, and what is left of
them is divided by L. In float32 such densities can be off by any number of nats. The draw and its
noise are therefore kept, and the density of that draw is computed from

    w = ε + L⁻¹ [ (z - z̄) - (μ - μ̄) - (L - L̄) ε ]

where a bar is the same number without its gradient: w is ε to the last digit, with the gradients of
L⁻¹ (z - μ) by z, μ and L. For other values the density is computed from those, as ever.

A covariance W Wᵀ + D of low rank goes by an orthonormal basis Q of columns, [D^-½ W; I] = Q R:

    (z - μ)ᵀ Σ⁻¹ (z - μ) = |n - Q Qᵀ n|²,  n = [D^-½ (z - μ); 0],  log |Σ| = log |D| + 2 log |R|

Modified Gram-Schmidt finds Q and R without the squares in I + Wᵀ D⁻¹ W, whose Cholesky factor does
not exist in float32 once the columns of W are long and nearly parallel.

References:
    Björck. Solving Linear Least Squares Problems by Gram-Schmidt Orthogonalization. 1967. BIT 7.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl

from vaezoo.distributions.noise import Draw, draw, full_precision, moved, standard_noise, times

__all__ = ["DiagonalNormal", "FullNormal"]

LOG_2_PI = math.log(2 * math.pi)


class DiagonalNormal(dist.Normal):
    """N(μ, σ²) for each number by itself; `to_event(1)` makes it that of a vector.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> q = DiagonalNormal(torch.tensor(1e6), torch.tensor(1e-4))
        >>> z = q.rsample()
        >>> round(q.log_prob(z).item(), 4), round(q.log_prob(z.clone()).item(), 4)
        (7.1041, 8.2914)
    """

    _drawn: Draw | None = None

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + σ ε."""
        noise = standard_noise(self._extended_shape(torch.Size(sample_shape)), self.loc)
        value: Tensor = self.loc + noise * self.scale
        self._drawn = draw(value, noise)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, σ²)."""
        if self._drawn is None or not self._drawn.is_at(value):
            return super().log_prob(value)
        (noise,) = self._drawn.noise
        if value is not self._drawn.value:
            change = moved(value) - moved(self.loc) - moved(self.scale) * noise
            noise = noise + change / self.scale
        return -0.5 * (noise.square() + LOG_2_PI) - self.scale.log()


class FullNormal(dist.MultivariateNormal):
    """N(μ, L Lᵀ) by its Cholesky factor, `scale_tril`."""

    _drawn: Draw | None = None

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + L ε."""
        noise = standard_noise(self._extended_shape(torch.Size(sample_shape)), self.loc)
        value: Tensor = self.loc + times(self._unbroadcasted_scale_tril, noise)
        self._drawn = draw(value, noise)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, L Lᵀ)."""
        with full_precision(value):
            if self._drawn is None or not self._drawn.is_at(value):
                return super().log_prob(value)
            (noise,), factor = self._drawn.noise, self._unbroadcasted_scale_tril
            if value is not self._drawn.value:
                change = moved(value) - moved(self.loc) - times(moved(factor), noise)
                noise = noise + _solve(factor, change)
            half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            constant = 0.5 * self.event_shape[0] * LOG_2_PI
            return -0.5 * noise.square().sum(-1) - half_log_det - constant


def _solve(factor: Tensor, vector: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, vector.unsqueeze(-1), upper=False).squeeze(-1)


def kl_to_diagonal(q: dist.TorchDistribution, p: dist.Independent) -> Tensor:
    """KL from a Normal q of any covariance to a diagonal one: -H(q) - E_q[log p]."""
    if not isinstance(p.base_dist, dist.Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    loc, scale = p.base_dist.loc, p.base_dist.scale
    cross = (q.variance + (q.mean - loc).square()) / scale.square() + 2 * scale.log()
    return 0.5 * (cross.sum(-1) + q.event_shape[0] * LOG_2_PI) - q.entropy()


# of a type of our own, so that the KL is not registered for all of torch
kl.register_kl(FullNormal, dist.Independent)(kl_to_diagonal)
