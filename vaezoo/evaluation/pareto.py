"""Pareto's k̂: how heavy the tail of importance weights is.

References:
    Vehtari, Simpson, Gelman, Yao, Gabry. Pareto Smoothed Importance Sampling. 2024. JMLR 25(72).
    arXiv:1507.02646, algorithm 1 and appendix C.
    Zhang, Stephens. A New and Efficient Estimation Method for the Generalized Pareto Distribution.
    2009. Technometrics 51(3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["FEWEST", "pareto_shape"]

FEWEST = 25  # weights of which a fifth is a tail of five
ROUNDING = 100  # in units of the last place of a log weight, which is a sum over pixels


def pareto_shape(log_w: Tensor, computed: torch.dtype | None = None) -> Tensor:
    """k̂ of K log weights (K, N), shape (N,): the shape of the tail of the min(K/5, 3√K) largest.

    Weights with a bounded tail have k̂ below 0. Those that are all the same have 0 here, weights of
    0 are in no tail, and among NaN k̂ is NaN.

    Args:
        log_w: log weights.
        computed: the type that they were computed in, whose rounding makes no tail; theirs by
            default.

    Example:
        >>> u = (torch.arange(4000) + 0.5) / 4000
        >>> pareto_shape(torch.stack([-0.3 * u.log(), -1.2 * u.log()], 1))
        tensor([0.3127, 1.1495], dtype=torch.float64)
    """
    k = len(log_w)
    m = min(k // 5, math.isqrt(9 * k))
    eps = ROUNDING * torch.finfo(computed or log_w.dtype).eps
    largest = (log_w.double() - log_w.max(0).values).topk(m + 1, 0).values.exp()
    # those that a float cannot tell from the cut count as just above it
    tail = (largest[:-1] - largest[-1]).clamp(min=torch.finfo(torch.float64).tiny)
    positive = torch.where(log_w == -torch.inf, log_w.max(0).values, log_w)
    spread = positive.max(0).values - positive.min(0).values
    noise = eps * positive.abs().max(0).values
    return torch.where(spread <= noise, 0.0, _shape(tail))


def _shape(tail: Tensor) -> Tensor:
    """The shape of a generalised Pareto distribution of n exceedances (n, N), in falling order.

    With b = -k / σ the likelihood is one of b alone, and the estimate its mean under a prior of
    Zhang and Stephens, drawn a little to ½ as Vehtari et al. do.
    """
    n, points = len(tail), 30 + int(math.sqrt(len(tail)))
    j = torch.arange(1, points + 1, dtype=tail.dtype, device=tail.device)[:, None]
    quartile = tail[n - int(n / 4 + 0.5)]
    b = 1 / tail[0] + (1 - (points / (j - 0.5)).sqrt()) / (3 * quartile)
    shapes = torch.stack([torch.log1p(-each * tail).mean(0) for each in b])
    weights = (n * ((-b / shapes).log() - shapes - 1)).softmax(0)
    shape = torch.log1p(-(weights * b).sum(0) * tail).mean(0)
    return (n * shape + 5) / (n + 10)
