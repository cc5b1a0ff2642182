"""The clause that densities integrate to 1: by sums, quadrature, or importance sampling."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.contract.case import FAILURE_RATE, Case, refuse
from vaezoo.contract.grids import Grid, domain, fit_grid, quadrature
from vaezoo.contract.proposal import importance_weights, log_density

__all__ = ["masses", "normalises", "scalars"]

TOLERANCE = 1e-3  # of an integral over a grid, or of a sum
UNKNOWN = "it cannot be judged here: check the part in fewer numbers, or where they are less spread"


@torch.no_grad()
def normalises(case: Case) -> None:
    """The density integrates (or sums) to 1."""
    d = case.first()
    mend = "add the log of the normaliser (and of a Jacobian) to log_prob"
    single = scalars(d)
    if single is None and d.support.is_discrete:
        got = f"{type(d).__name__}, of outcomes that are vectors: it cannot be judged"
        mend = "use to_event for numbers that are independent, and a Categorical for one of several"
        refuse("normalises", "a discrete density of numbers", got, mend)
    if single is None:
        _check_spread(d)
    total, known = _by_quadrature(d) if single is None else _of_scalars(single)
    if total is None:
        _by_importance(d, mend)
        return
    worst = total.flatten()[(total - 1).abs().argmax()].item()
    if not abs(worst - 1) < TOLERANCE:
        if not known:
            refuse("normalises", "an integral that a grid can tell", f"{worst:.6g}", UNKNOWN)
        refuse("normalises", f"an integral of 1 to {TOLERANCE:g}", f"{worst:.6g}", mend)


def _check_spread(d: dist.TorchDistribution) -> None:
    """Refuse what has no density over all vectors of its size, such as that of shares."""
    draws = d.sample(torch.Size([1000])).reshape(1000, -1)
    if torch.linalg.cholesky_ex(draws.T.cov().reshape(draws.shape[1], -1)).info.any():
        got = f"draws of {type(d).__name__} in a plane, as on a simplex: it cannot be judged"
        mend = "let the part have the numbers that these are made of"
        refuse("normalises", "a density over all vectors of a size", got, mend)


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


def masses(d: Any, draws: Tensor | None = None) -> Grid:
    """All outcomes of single numbers, or a grid made from draws of them, and what lies at each."""
    if d.support.is_discrete:
        return Grid(points := support(d), d.log_prob(points).exp(), True)
    draws = d.sample(torch.Size([1000])) if draws is None else draws
    return fit_grid(d.log_prob, domain(d), draws)


def _of_scalars(d: Any) -> tuple[Tensor, bool]:
    """∫ or Σ of each scalar density, in the batch shape of d, and whether that is well known."""
    grid = masses(d)
    return grid.mass.sum(0), grid.known


def _by_quadrature(d: dist.TorchDistribution) -> tuple[Tensor | None, bool]:
    """∫ of a density of one or two numbers; None of more, or where a grid is too coarse."""
    size = math.prod(d.event_shape)
    return _over_line(d) if size == 1 else (_over_plane(d) if size == 2 else None, True)


def _over_line(d: dist.TorchDistribution) -> tuple[Tensor, bool]:
    """∫ of the density of one number."""
    draws = d.sample(torch.Size([1000])).flatten()
    grid = fit_grid(lambda z: log_density(d, z[:, None]), None, draws)
    return grid.mass.sum(), grid.known


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
