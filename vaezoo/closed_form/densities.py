"""Densities and KLs of Gaussians, Bernoullis and categories, and what goes with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "duplicate",
    "gaussian_parameters",
    "kl_cat",
    "kl_normal",
    "log_bernoulli_with_logits",
    "log_mean_exp",
    "log_normal",
    "log_normal_mixture",
    "sample_gaussian",
]


def gaussian_parameters(h: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Split h in two along `dim`: means, and variances softplus(·) + 1e-8.

    Example:
        >>> m, v = gaussian_parameters(torch.zeros(1, 4))
        >>> m.tolist(), v.tolist()
        ([[0.0, 0.0]], [[0.6931471824645996, 0.6931471824645996]])
    """
    m, raw = h.chunk(2, dim)
    return m, F.softplus(raw) + 1e-8


def sample_gaussian(m: Tensor, v: Tensor, noise: Tensor | None = None) -> Tensor:
    """z = m + sqrt(v) ε, with ε ~ N(0, I) unless given.

    Example:
        >>> sample_gaussian(torch.ones(2), 4 * torch.ones(2), torch.tensor([0.0, 1.0])).tolist()
        [1.0, 3.0]
    """
    return m + v.sqrt() * (torch.randn_like(m) if noise is None else noise)


def log_normal(x: Tensor, m: Tensor, v: Tensor) -> Tensor:
    """log N(x; m, diag v), summed over the last dimension.

    Example:
        >>> round(log_normal(torch.zeros(2), torch.zeros(2), torch.ones(2)).item(), 6)
        -1.837877
    """
    return -0.5 * (v.log() + (x - m) ** 2 / v + math.log(2 * math.pi)).sum(-1)


def log_normal_mixture(
    z: Tensor, m: Tensor, v: Tensor, log_weights: Tensor | None = None
) -> Tensor:
    """log Σ_i w_i N(z; m_i, diag v_i) for z (N, d) and k components (k, d); w = 1/k by default.

    Example:
        >>> z, m = torch.zeros(1, 2), torch.zeros(3, 2)
        >>> torch.allclose(log_normal_mixture(z, m, m + 1), log_normal(z, m[:1], m[:1] + 1))
        True
    """
    each = log_normal(z.unsqueeze(-2), m, v)
    if log_weights is None:
        return log_mean_exp(each, -1)
    return torch.logsumexp(each + log_weights.log_softmax(-1), -1)


def log_bernoulli_with_logits(x: Tensor, logits: Tensor) -> Tensor:
    """log Bernoulli(x; sigmoid(logits)), summed over the last dimension.

    Example:
        >>> round(log_bernoulli_with_logits(torch.ones(1), torch.zeros(1)).item(), 6)
        -0.693147
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def kl_normal(qm: Tensor, qv: Tensor, pm: Tensor, pv: Tensor) -> Tensor:
    """KL(N(qm, diag qv) ‖ N(pm, diag pv)), summed over the last dimension.

    Example:
        >>> kl_normal(torch.ones(1), torch.ones(1), torch.zeros(1), torch.ones(1)).item()
        0.5
    """
    return 0.5 * (pv.log() - qv.log() + qv / pv + (qm - pm) ** 2 / pv - 1).sum(-1)


def kl_cat(q: Tensor, log_q: Tensor, log_p: Tensor) -> Tensor:
    """KL(q ‖ p) of categorical distributions, summed over the last dimension.

    Example:
        >>> q, log_q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, -50.0])
        >>> round(kl_cat(q, log_q, torch.full((2,), -math.log(2))).item(), 6)
        0.693147
    """
    return (q * torch.where(q == 0, 0.0, log_q - log_p)).sum(-1)


def duplicate(x: Tensor, copies: int) -> Tensor:
    """`copies` of a batch, one after the other, along its first dimension.

    Example:
        >>> duplicate(torch.tensor([1, 2]), 3).tolist()
        [1, 2, 1, 2, 1, 2]
    """
    return x.expand(copies, *x.shape).reshape(-1, *x.shape[1:])


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log mean exp(x) over `dim`, without overflow.

    Example:
        >>> log_mean_exp(torch.full((4,), 1000.0), 0).item()
        1000.0
    """
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])
