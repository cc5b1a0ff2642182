"""The clause that draws are distributed as the density says.

Numbers that are independent, or single, are put through their distribution function, by
quadrature, and counted in bins; outcomes of discrete ones are counted as they are. Vectors are
tested by bounded moments, each against the same moment by importance sampling.

The tests of `pyro.distributions.testing.gof` are not used, because a right sampler fails them too
often: nearest-neighbour distances are not independent, and 20,000 draws of a Normal in two
dimensions got p = 1.4e-6; its Pearson statistic of K cells is K / (K - 1) too large, twice for a
Bernoulli.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.contract.case import FAILURE_RATE, Case, refuse
from vaezoo.contract.grids import CLOSE, below, fit_grid
from vaezoo.contract.integrals import masses, scalars
from vaezoo.contract.proposal import DRAWS, importance_weights, log_density
from vaezoo.scopes import own_generator

__all__ = ["samples"]

BINS = 32
MANY = torch.Size([DRAWS])
SCALARS = 8  # of an observation, spread evenly, that are tested
RARE = 10  # draws expected of an outcome below which it is counted with others


@torch.no_grad()
def samples(case: Case) -> None:
    """Draws are distributed as the density says, those of `sample` and of `rsample`."""
    d = case.first()
    fits = {way: _fits(d, getattr(d, way)(MANY)) for way in _ways(d)}
    least, way = min((min(p_values), way) for way, p_values in fits.items())
    n = sum(map(len, fits.values()))
    if not least > (bound := FAILURE_RATE / n):
        got = f"{least:.2g}, the least of {n}, from {DRAWS} draws of {way}"
        mend = f"{way} and log_prob are of two distributions: mend the wrong one"
        refuse("samples", f"a p-value above {bound:.2g}", got, mend)


def _ways(d: Any) -> list[str]:
    """By which draws are made, unless one is made by the other."""
    if not d.has_rsample:
        return ["sample"]
    seed, few = int(torch.randint(2**31, ())), []
    for draw in (d.sample, d.rsample):
        with own_generator(seed):
            few.append(draw(torch.Size([100])))
    return ["rsample"] if torch.allclose(*few) else ["sample", "rsample"]


def _fits(d: Any, draws: Tensor) -> list[float]:
    if (single := scalars(d)) is not None:
        return _fits_of_scalars(single, draws)
    if math.prod(d.event_shape) == 1:
        flat = draws.flatten()
        points, mass, _ = fit_grid(lambda z: log_density(d, z[:, None]), None, flat)
        return [_fit_of_line(flat, points, mass)]
    return _fits_of_moments(d, draws.reshape(DRAWS, -1))


def _fits_of_scalars(d: Any, draws: Tensor) -> list[float]:
    """p-values of some numbers' distributions, and of the means of all."""
    points, mass, _ = masses(d, draws)
    columns = [t.reshape(len(t), -1) for t in (draws, points, mass)]
    size = columns[0].shape[1]
    chosen = torch.linspace(0, size - 1, min(SCALARS, size)).long().tolist()
    fit = _fit_of_counts if d.support.is_discrete else _fit_of_line
    return [*(fit(*(t[:, i] for t in columns)) for i in chosen), *_fits_of_means(*columns)]


def _fits_of_means(draws: Tensor, points: Tensor, mass: Tensor) -> list[float]:
    """Bounds on p-values of the mean of tanh of each number, by Bernstein's inequality."""
    found: list[float] = []
    share = mass / mass.sum(0)
    centre = (share * points).sum(0)
    spread = (share * (points - centre).square()).sum(0).sqrt().clamp(min=1e-12)
    for i in range(draws.shape[1]):
        ours, theirs = (((t[:, i] - centre[i]) / spread[i]).tanh() for t in (draws, points))
        mean = (share[:, i] * theirs).sum()
        variance = (share[:, i] * (theirs - mean).square()).sum()
        off = ((ours.mean() - mean).abs() - CLOSE).clamp(min=0)
        found.append(2 * math.exp(-DRAWS * (off**2 / (2 * variance + 4 / 3 * off + 1e-12)).item()))
    return found


def _fit_of_line(draws: Tensor, points: Tensor, mass: Tensor) -> float:
    """p-value of the uniformity of the distribution function at draws."""
    under = below(mass)
    i = torch.searchsorted(points.contiguous(), draws.contiguous()).clamp(1, len(points) - 1)
    part = (draws - points[i - 1]) / (points[i] - points[i - 1]).clamp(min=1e-300)
    level = under[i - 1] + part.clamp(0, 1) * (under[i] - under[i - 1])
    counts = torch.histc(level, BINS, min=0, max=1)
    return _pearson(torch.full_like(counts, 1 / BINS), counts) if counts.sum() == DRAWS else 0.0


def _fit_of_counts(draws: Tensor, outcomes: Tensor, mass: Tensor) -> float:
    """p-value of how often each outcome was drawn; rare ones share a cell."""
    counts = torch.stack([((draws - o).abs() < 1e-6).sum() for o in outcomes])
    if mass.max() > 1 - 1e-8:
        return float(counts[mass.argmax()] == DRAWS)
    often = mass * DRAWS >= RARE
    rest, others = 1 - mass[often].sum(), DRAWS - counts[often].sum()
    if rest * DRAWS < RARE:
        # so few that the tail of a Poisson law of mean RARE is used instead: P(> 40) = 2e-13
        return 0.0 if others > 4 * RARE else _pearson(mass[often], counts[often])
    return _pearson(torch.cat([mass[often], rest[None]]), torch.cat([counts[often], others[None]]))


def _pearson(mass: Tensor, counts: Tensor) -> float:
    """p-value of Σ (count - expected)² / expected, as a χ² of K - 1 degrees of freedom."""
    expected = mass / mass.sum() * counts.sum()
    statistic = ((counts - expected).square() / expected).sum()
    freedom = torch.full_like(statistic, len(mass) - 1)
    return torch.special.gammaincc(freedom / 2, statistic / 2).item() if len(mass) > 1 else 1.0


def _fits_of_moments(d: dist.TorchDistribution, draws: Tensor) -> list[float]:
    """p-values of the difference of each moment under draws and under importance sampling."""
    log_w, points, q = importance_weights(d)
    level = log_density(d, draws).mean()

    def moments(x: Tensor) -> Tensor:
        surprise = log_density(d, x) - level
        features = torch.tanh(torch.cat([q.whiten(x), surprise[:, None]], -1))
        i, j = torch.triu_indices(features.shape[1], features.shape[1])
        return torch.cat([features, features[:, i] * features[:, j]], -1)

    ours, theirs = moments(draws), moments(points) * log_w.exp()[:, None]
    error = ((ours.var(0) + theirs.var(0)) / DRAWS).sqrt()
    z = (ours.mean(0) - theirs.mean(0)) / error
    p_values: list[float] = torch.special.erfc(z.abs() / math.sqrt(2)).tolist()
    return p_values
