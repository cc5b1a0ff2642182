"""Distributions as mixtures of Normals, whose projections onto any plane are known exactly.

The density of P z, for z of a mixture Σ_i w_i N(μ_i, Σ_i), is Σ_i w_i N(P μ_i, P Σ_i Pᵀ): what of a
prior of ten dimensions is seen in a plane. Where a distribution is no such mixture, draws of it,
each made a small Normal, stand in for it (a kernel estimate).

References:
    Scott. Multivariate Density Estimation. 1992, section 6.5 (the width of the kernels).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily

from vaezoo.distributions.normals import diagonal_of, is_a, is_full

__all__ = ["Normals", "as_normals", "kernels"]

NUMBERS = 2**20  # at a time: 8 MiB
CPU: dict[str, Any] = {"dtype": torch.double, "device": "cpu"}


class Normals(NamedTuple):
    """Σ_i w_i N(μ_i, Σ_i), in float64.

    Attributes:
        weights: w (k,).
        means: μ (k, d).
        covariances: Σ (k, d, d).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def along(self, directions: Tensor, centre: Tensor) -> Normals:
        """The mixture of (z - centre) @ directions, for directions (d, m)."""
        covariances = directions.T @ self.covariances @ directions
        return Normals(self.weights, (self.means - centre) @ directions, covariances)

    def log_prob(self, z: Tensor) -> Tensor:
        """The log-density at z (n, d), shape (n,).

        Example:
            >>> from torch.distributions import Independent, Normal
            >>> one = as_normals(Independent(Normal(torch.zeros(2), torch.ones(2)), 1))
            >>> round(one.log_prob(torch.zeros(1, 2)).item(), 6)
            -1.837877
        """
        factors = torch.linalg.cholesky(self.covariances)
        white = torch.linalg.inv(factors)
        offsets = (white @ self.means[..., None]).squeeze(-1)
        scales = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.weights.log() - scales - 0.5 * z.shape[-1] * math.log(2 * math.pi)

        def densities(z: Tensor) -> Tensor:
            distances = (torch.einsum("kij,nj->nki", white, z) - offsets).square().sum(-1)
            return (constant - 0.5 * distances).logsumexp(-1)

        size = max(1, NUMBERS // self.means.numel())  # or k · d numbers for each z fill memory
        return torch.cat([densities(part) for part in z.double().split(size)])

    def sample(self, n: int) -> Tensor:
        """n draws (n, d), by torch's global generator."""
        i = torch.multinomial(self.weights, n, replacement=True)
        noise = torch.randn(n, self.means.shape[1], 1, **CPU)
        return self.means[i] + (torch.linalg.cholesky(self.covariances)[i] @ noise).squeeze(-1)


def as_normals(distribution: Distribution) -> Normals | None:
    """A Normal, or a mixture of Normals, on the CPU; None where it is neither."""
    if is_a(distribution, MixtureSameFamily):
        moments = _moments(distribution.component_distribution)
        weights = distribution.mixture_distribution.probs
    else:
        moments, weights = _moments(distribution), torch.ones(1, **CPU)
    if moments is None or moments[0].dim() > 2:
        return None
    loc, covariance = map(_copied, moments)
    single = loc.dim() == 1
    means, covariances = (loc[None], covariance[None]) if single else (loc, covariance)
    return Normals(_copied(weights), means, covariances)


def kernels(draws: Tensor) -> Normals:
    """A Normal around each of n draws (n, d), all as wide as Scott's rule has it."""
    n, d = draws.shape
    draws = _copied(draws)
    spread = draws.T.cov().reshape(d, d) + 1e-12 * torch.eye(d, **CPU)
    covariances = (n ** (-2 / (d + 4)) * spread).expand(n, d, d)
    return Normals(torch.full((n,), 1 / n, **CPU), draws, covariances)


def _copied(values: Tensor) -> Tensor:
    """In float64 on the CPU, and never the parameter that it may be a view of."""
    return values.detach().to(**CPU, copy=True)


def _moments(distribution: Any) -> tuple[Tensor, Tensor] | None:
    if diagonal_of(distribution) is not None:
        return distribution.mean, distribution.variance.diag_embed()
    if is_full(distribution):
        return distribution.mean, distribution.covariance_matrix
    return None
