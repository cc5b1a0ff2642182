"""Importance sampling of a density about which nothing is known but draws."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["DRAWS", "LocalProposal", "Proposal", "effective", "importance_weights", "log_density"]

DRAWS = 20_000
FREEDOM = 5  # degrees of freedom of the t distributions
FEW = 0.1  # share of the draws below which the effective number of them calls for a closer look


class Proposal:
    """A mixture of Student t distributions: narrow ones around draws, a wide one around them all.

    Points are whitened by the covariance of the draws, and there every component is isotropic.

    Args:
        draws: (n, size), n at least a few hundred.
        kernels: how many of the draws have a component.
    """

    def __init__(self, draws: Tensor, kernels: int = 63) -> None:
        self.mean, self.factor = draws.mean(0), torch.linalg.cholesky(draws.T.cov())
        white = self.whiten(draws)[:kernels]
        self.centres = torch.cat([white, torch.zeros_like(white[:1])])
        narrow = white.new_ones(len(white)) / 2
        self.width = torch.cat([narrow, white.new_tensor([1.3])])
        self.weight = torch.cat([narrow / len(white), white.new_tensor([0.5])])

    def whiten(self, points: Tensor) -> Tensor:
        """Points (n, size) in the coordinates in which draws have covariance I."""
        return torch.linalg.solve_triangular(self.factor, (points - self.mean).T, upper=False).T

    def sample(self, n: int) -> Tensor:
        """Draw points (n, size)."""
        i = torch.multinomial(self.weight, n, replacement=True)
        noise = torch.randn(n, FREEDOM + len(self.mean)).to(self.mean)
        scale = noise[:, :FREEDOM].square().mean(-1).rsqrt()
        white = self.centres[i] + self._scaled(scale[:, None] * noise[:, FREEDOM:], i)
        return self.mean + white @ self.factor.T

    def _scaled(self, noise: Tensor, i: Tensor) -> Tensor:
        """Noise (n, size) as wide as the components i."""
        return self.width[i, None] * noise

    def _squares(self, white: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances (n, components) of points, in widths; log of the volume of these."""
        squares = (torch.cdist(white, self.centres) / self.width).square()
        return squares, white.shape[1] * self.width.log()

    def log_prob(self, points: Tensor) -> Tensor:
        """log q of points (n, size), shape (n,)."""
        size, top = len(self.mean), (FREEDOM + len(self.mean)) / 2
        squares, volumes = self._squares(self.whiten(points))
        logs = self.weight.log() - top * torch.log1p(squares / FREEDOM) - volumes
        constant = math.lgamma(top) - math.lgamma(FREEDOM / 2)
        constant -= size / 2 * math.log(FREEDOM * math.pi)
        return logs.logsumexp(-1) + constant - self.factor.diagonal().log().sum()


class LocalProposal(Proposal):
    """A mixture of Student t distributions, each of the shape of the draws around its centre.

    It serves where draws lie in clusters, between which a mixture of equal ones is lost; one wide
    component is left.

    Args:
        draws: (n, size), n at least a few hundred.
        kernels: how many of the draws have a component.
        neighbours: how many draws a component takes its covariance from.
    """

    def __init__(self, draws: Tensor, kernels: int = 200, neighbours: int = 60) -> None:
        super().__init__(draws, kernels)
        white, size = self.whiten(draws), draws.shape[1]
        distances = torch.cdist(white[:kernels], white)
        clouds = white[distances.topk(max(neighbours, 4 * size), largest=False).indices]
        unit = torch.eye(size).to(white)
        shapes = torch.linalg.cholesky(_covariance(clouds) + 1e-10 * unit)
        self.factors = torch.cat([1.5 * shapes, 1.3 * unit[None]])
        share = white.new_full((kernels,), 0.9 / kernels)
        self.weight = torch.cat([share, white.new_tensor([0.1])])

    def _scaled(self, noise: Tensor, i: Tensor) -> Tensor:
        return (self.factors[i] @ noise[:, :, None]).squeeze(-1)

    def _squares(self, white: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(self.factors, self.centres, strict=True)
        solved = (torch.linalg.solve_triangular(f, (white - c).T, upper=False) for f, c in pairs)
        squares = torch.stack([s.square().sum(0) for s in solved], -1)
        return squares, self.factors.diagonal(dim1=1, dim2=2).log().sum(-1)


def _covariance(clouds: Tensor) -> Tensor:
    """Of each of several sets of points (k, n, size)."""
    centred = clouds - clouds.mean(1, keepdim=True)
    return centred.mT @ centred / clouds.shape[1]


def log_density(d: dist.TorchDistribution, points: Tensor) -> Tensor:
    """log p of flattened points (n, size) for a distribution of one input, shape (n,)."""
    shaped = points.reshape(-1, *[1] * len(d.batch_shape), *d.event_shape)
    return torch.cat([d.log_prob(piece).flatten() for piece in shaped.split(DRAWS)])


def importance_weights(d: dist.TorchDistribution) -> tuple[Tensor, Tensor, Proposal]:
    """log p/q at `DRAWS` points of a proposal q made of draws; the points (DRAWS, size); q."""
    draws = d.sample(torch.Size([2000])).reshape(2000, -1)
    weighted = _weighted(d, Proposal(draws))
    if effective(weighted[0]) < FEW * DRAWS:
        weighted = max(weighted, _weighted(d, LocalProposal(draws)), key=lambda w: effective(w[0]))
    return weighted


def _weighted(d: dist.TorchDistribution, q: Proposal) -> tuple[Tensor, Tensor, Proposal]:
    points = q.sample(DRAWS)
    return log_density(d, points) - q.log_prob(points), points, q


def effective(log_w: Tensor) -> float:
    """The effective number of weighted points, (Σ w)² / Σ w²; 0 where no weight is a number.

    Example:
        >>> effective(torch.tensor([0.0, 0.0, -torch.inf]))
        2.0
    """
    number = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp().item()
    return number if number > 0 else 0.0
