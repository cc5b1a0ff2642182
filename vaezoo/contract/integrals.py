"""The clause that densities integrate to 1: by sums, quadrature, or importance sampling."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.contract.case import FAILURE_RATE, Case, refuse
from vaezoo.contract.proposal import importance_weights

__all__ = ["normalises", "quadrature", "scalars", "support"]

TOLERANCE = 1e-3  # of an integral over a grid, or of a sum


@torch.no_grad()
def normalises(case: Case) -> None:
    """The density integrates (or sums) to 1."""
    d = case.first()
    mend = "add the log of the normaliser (and of a Jacobian) to log_prob"
    single = scalars(d)
    if single is None and d.support.is_discrete:
        refuse("normalises", "a discrete density that is Independent", d, "use to_event")
    if single is None and math.prod(case.event) > 2:
        w = importance_weights(d)[0].exp()
        error = w.std() / math.sqrt(len(w))
        if not ((w.mean() - 1).abs() < _critical() * error and error < 0.1):
            got = f"{w.mean():.4f} ± {error:.4f} from {len(w)} importance samples"
            refuse("normalises", "an integral of 1", got, mend)
        return
    total = _over_grid(d) if single is None else _of_scalars(single)
    worst = total.flatten()[(total - 1).abs().argmax()].item()
    if not abs(worst - 1) < TOLERANCE:
        refuse("normalises", f"an integral of 1 to {TOLERANCE:g}", f"{worst:.6g}", mend)


def scalars(d: Any) -> Any:
    """The distribution of each number, where they are independent or labels, else None."""
    if not d.event_shape:
        return d
    independent = isinstance(d, torch.distributions.Independent)
    return d.base_dist if independent and not d.base_dist.event_shape else None


def support(d: Any) -> Tensor:
    """All outcomes, or the counts 0, 1, … far beyond those drawn, along a new first dimension."""
    if d.has_enumerate_support:
        outcomes: Tensor = d.enumerate_support()
        return outcomes
    draws = d.sample(torch.Size([1000]))
    top = 3 * int(draws.max()) + 100
    if top > 100_000 or draws.min() < 0:
        raise ValueError(f"counts up to {top} are too many to sum: choose inputs of smaller means")
    counts = torch.arange(top + 1, dtype=draws.dtype, device=draws.device)
    return counts.reshape(-1, *[1] * len(d.batch_shape)).expand(-1, *d.batch_shape)


def quadrature(
    where: Any, draws: Tensor, n: int = 4001, reach: float = 20.0
) -> tuple[Tensor, Tensor]:
    """Points and weights (n, *shape) on a line, a half-line or an interval, from draws of it.

    A line is covered by the substitution z = m + s sinh(t), so that heavy tails are seen too, and
    an interval by the sigmoid of t, which crowds points at the ends.
    """
    t = torch.linspace(-reach, reach, n, dtype=draws.dtype, device=draws.device)
    t = t.reshape(-1, *[1] * (draws.dim() - 1))
    dt = 2 * reach / (n - 1)
    centre = draws.median(0).values
    lower, upper = getattr(where, "lower_bound", None), getattr(where, "upper_bound", None)
    if lower is not None and upper is not None:
        u, width = torch.sigmoid(t), upper - lower
        points, weights = lower + width * u, width * u * (1 - u) * dt
    elif lower is not None:
        points = lower + (centre - lower) * t.exp()
        weights = (points - lower) * dt
    else:
        spread = (draws - centre).abs().median(0).values.clamp(min=1e-8)
        points, weights = centre + spread * t.sinh(), spread * t.cosh() * dt
    return points.expand(n, *centre.shape), weights.expand(n, *centre.shape)


def _of_scalars(d: Any) -> Tensor:
    """∫ or Σ of each scalar density, in the batch shape of d."""
    if d.support.is_discrete:
        return d.log_prob(support(d)).exp().sum(0)
    points, weights = quadrature(d.support, d.sample(torch.Size([1000])))
    return (d.log_prob(points).exp() * weights).sum(0)


def _over_grid(d: dist.TorchDistribution) -> Tensor:
    """∫ of the density of one or two numbers that are not independent."""
    draws = d.sample(torch.Size([1000])).reshape(1000, -1)
    size = draws.shape[-1]
    n, reach = (4001, 20.0) if size == 1 else (401, 8.0)
    axes = [quadrature(None, column, n, reach) for column in draws.unbind(-1)]
    points = torch.cartesian_prod(*(p for p, _ in axes)).reshape(-1, size)
    weights = torch.cartesian_prod(*(w for _, w in axes)).reshape(-1, size).prod(-1)
    shaped = points.reshape(-1, *[1] * len(d.batch_shape), *d.event_shape).split(20_000)
    return (torch.cat([d.log_prob(p).flatten() for p in shaped]).exp() * weights).sum()


def _critical() -> float:
    """The |z| that a right part exceeds with probability FAILURE_RATE."""
    return -torch.special.ndtri(torch.tensor(FAILURE_RATE / 2, dtype=torch.float64)).item()
