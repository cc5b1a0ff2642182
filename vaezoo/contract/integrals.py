"""The clause that densities integrate to 1: by sums, quadrature, or importance sampling."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.contract.case import FAILURE_RATE, Case, refuse
from vaezoo.contract.proposal import importance_weights, log_density

__all__ = ["below", "masses", "normalises", "quadrature", "scalars", "support"]

TOLERANCE = 1e-3  # of an integral over a grid, or of a sum
CLOSE = 1e-4  # of a distribution function on two grids
LARGEST = 10_000_000  # numbers of a fine grid


@torch.no_grad()
def normalises(case: Case) -> None:
    """The density integrates (or sums) to 1."""
    d = case.first()
    mend = "add the log of the normaliser (and of a Jacobian) to log_prob"
    single = scalars(d)
    if single is None and d.support.is_discrete:
        refuse("normalises", "a discrete density that is Independent", d, "use to_event")
    if (total := _by_quadrature(d) if single is None else _of_scalars(single)) is None:
        _by_importance(d, mend)
        return
    worst = total.flatten()[(total - 1).abs().argmax()].item()
    if not abs(worst - 1) < TOLERANCE:
        refuse("normalises", f"an integral of 1 to {TOLERANCE:g}", f"{worst:.6g}", mend)


def _by_importance(d: dist.TorchDistribution, mend: str) -> None:
    w = importance_weights(d)[0].exp()
    error = w.std() / math.sqrt(len(w))
    got = f"{w.mean():.4f} ± {error:.4f} from {len(w)} importance samples"
    if (w.mean() - 1).abs() < _critical() * error and error < 0.1:
        return
    if error < 0.1 * w.mean():
        refuse("normalises", "an integral of 1", got, mend)
    mend = "check it in fewer dimensions or with less spread, and log_prob against sample"
    refuse("normalises", "an integral that is known to a tenth", got, mend)


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


def masses(log_prob: Any, where: Any, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Points (n, *shape) and how much of a density lies at each, on a grid that is fine enough.

    It is where every second point gives the same distribution function, or memory ends.
    """
    for n in (4001, 32_001, 512_001):
        if n > 4001 and n * draws[0].numel() > LARGEST:
            break
        points, weights = quadrature(where, draws, n)
        mass = log_prob(points).exp() * weights
        if ((below(mass)[::2] - 2 * below(mass[::2])).abs() < CLOSE).all():
            break
    return points, mass


def below(mass: Tensor) -> Tensor:
    """How much lies below each of some points (n, *shape), by the trapezoidal rule.

    Example:
        >>> below(torch.tensor([1.0, 1.0, 3.0])).tolist()
        [0.0, 1.0, 3.0]
    """
    steps = 0.5 * (mass[1:] + mass[:-1])
    return torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(0)])


def _of_scalars(d: Any) -> Tensor:
    """∫ or Σ of each scalar density, in the batch shape of d."""
    if d.support.is_discrete:
        return d.log_prob(support(d)).exp().sum(0)
    return masses(d.log_prob, d.support, d.sample(torch.Size([1000])))[1].sum(0)


def _by_quadrature(d: dist.TorchDistribution) -> Tensor | None:
    """∫ of a density of one or two numbers; None of more, or where a grid is too coarse."""
    size = math.prod(d.event_shape)
    return _over_line(d) if size == 1 else _over_plane(d) if size == 2 else None


def _over_line(d: dist.TorchDistribution) -> Tensor:
    """∫ of the density of one number."""
    draws = d.sample(torch.Size([1000])).flatten()
    return masses(lambda z: log_density(d, z[:, None]), None, draws)[1].sum()


def _over_plane(d: dist.TorchDistribution) -> Tensor | None:
    """∫ of the density of two numbers; None where they lie in clusters too small for the grid."""
    draws = d.sample(torch.Size([1000])).reshape(1000, 2)
    axes = [quadrature(None, column, 401, 8.0) for column in draws.unbind(-1)]
    points = torch.cartesian_prod(*(p for p, _ in axes))
    weights = torch.cartesian_prod(*(w for _, w in axes)).prod(-1)
    mass = (log_density(d, points).exp() * weights).reshape(401, 401)
    total = mass.sum()
    return total if (total - 4 * mass[::2, ::2].sum()).abs() < TOLERANCE else None


def _critical() -> float:
    """The |z| that a right part exceeds with probability FAILURE_RATE."""
    return -torch.special.ndtri(torch.tensor(FAILURE_RATE / 2, dtype=torch.float64)).item()
