"""Importance sampling of a density about which nothing is known but draws."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["DRAWS", "Proposal", "importance_weights", "log_density"]

DRAWS = 20_000
FREEDOM = 5  # degrees of freedom of the t distributions


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
        scale = noise[:, :FREEDOM].square().mean(-1).rsqrt() * self.width[i]
        white = self.centres[i] + scale[:, None] * noise[:, FREEDOM:]
        return self.mean + white @ self.factor.T

    def log_prob(self, points: Tensor) -> Tensor:
        """log q of points (n, size), shape (n,)."""
        size, top = len(self.mean), (FREEDOM + len(self.mean)) / 2
        squares = (torch.cdist(self.whiten(points), self.centres) / self.width).square()
        logs = self.weight.log() - top * torch.log1p(squares / FREEDOM) - size * self.width.log()
        constant = math.lgamma(top) - math.lgamma(FREEDOM / 2)
        constant -= size / 2 * math.log(FREEDOM * math.pi)
        return logs.logsumexp(-1) + constant - self.factor.diagonal().log().sum()


def log_density(d: dist.TorchDistribution, points: Tensor) -> Tensor:
    """log p of flattened points (n, size) for a distribution of one input, shape (n,)."""
    shaped = points.reshape(-1, *[1] * len(d.batch_shape), *d.event_shape)
    return torch.cat([d.log_prob(piece).flatten() for piece in shaped.split(DRAWS)])


def importance_weights(d: dist.TorchDistribution) -> tuple[Tensor, Tensor, Proposal]:
    """log p/q at `DRAWS` points of a proposal q made of draws; the points (DRAWS, size); q."""
    q = Proposal(d.sample(torch.Size([2000])).reshape(2000, -1))
    points = q.sample(DRAWS)
    return log_density(d, points) - q.log_prob(points), points, q
