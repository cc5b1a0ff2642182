"""Quadrature of densities of single numbers: where to look, how finely, and how far."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import VonMises, constraints

__all__ = ["Grid", "below", "domain", "fit_grid", "quadrature"]

CLOSE = 1e-4  # of a distribution function on two grids
END = 1e-6  # that lies beyond a grid, at each end
LARGEST = 10_000_000  # numbers of a fine grid
REACHES = (20.0, 80.0, 320.0)  # of a half-line or an interval, on a scale of logarithms
SMALLEST = 1e-300


class Grid(NamedTuple):
    """Points (n, *shape), how much of a density lies at each, and whether the sum is well known."""

    points: Tensor
    mass: Tensor
    known: bool


def domain(d: Any) -> Any:
    """Where the numbers of a distribution lie: of an angle, one turn.

    Example:
        >>> domain(VonMises(torch.zeros(1), torch.ones(1)))
        Interval(lower_bound=-3.141592653589793, upper_bound=3.141592653589793)
    """
    return constraints.interval(-math.pi, math.pi) if isinstance(d, VonMises) else d.support


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
        width = upper - lower
        points, weights = lower + width * t.sigmoid(), width * t.sigmoid() * (-t).sigmoid() * dt
        points = _inside(points, lower, upper)
    elif lower is not None:
        step = (centre - lower).clamp(min=SMALLEST) * t.exp()
        points, weights = _inside(lower + step, lower, math.inf), step * dt
    else:
        spread = (draws - centre).abs().median(0).values.clamp(min=1e-8)
        points, weights = centre + spread * t.sinh(), spread * t.cosh() * dt
    return points.expand(n, *centre.shape), weights.expand(n, *centre.shape)


def _inside(points: Tensor, lower: Any, upper: Any) -> Tensor:
    """Points that rounding has put onto an end, where a density may be infinite, next to it."""
    low, high = (torch.as_tensor(end, dtype=points.dtype) for end in (lower, upper))
    return points.maximum(torch.nextafter(low, high)).minimum(torch.nextafter(high, low))


def fit_grid(log_prob: Any, where: Any, draws: Tensor) -> Grid:
    """A grid that is fine enough, and on a half-line or an interval reaches far enough.

    It is where every second point gives the same distribution function, and next to nothing lies at
    the ends; or where memory ends.
    """
    bounded = getattr(where, "lower_bound", None) is not None
    for reach in REACHES if bounded else REACHES[:1]:
        for n in (4001, 32_001, 512_001):
            if n > 4001 and n * draws[0].numel() > LARGEST:
                break
            points, weights = quadrature(where, draws, n, reach)
            mass = log_prob(points).exp() * weights
            off = (below(mass)[::2] - 2 * below(mass[::2])).abs()
            if (off < CLOSE).all():
                break
        # per unit of t, as of each point there is less the finer the grid is
        ends = torch.stack([mass[0], mass[-1]]) * (n - 1) / (2 * reach)
        if not bounded or (ends < END).all():
            break
    known = (off[-1] < CLOSE).all() and (not bounded or (ends < END).all())
    return Grid(points, mass, bool(known))


def below(mass: Tensor) -> Tensor:
    """How much lies below each of some points (n, *shape), by the trapezoidal rule.

    Example:
        >>> below(torch.tensor([1.0, 1.0, 3.0])).tolist()
        [0.0, 1.0, 3.0]
    """
    steps = 0.5 * (mass[1:] + mass[:-1])
    return torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(0)])
