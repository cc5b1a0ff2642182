"""The clause that the gradient of a draw is that of the density it has.

For every bounded f of a draw z the pathwise gradient and the score function estimate one number,

    ∂/∂θ E_q[f(z)] = E[∂f/∂z ∂z/∂θ] = E[(f(z) - b) ∂/∂θ log q(z)]

so that the mean of their difference over draws is 0. For numbers that are independent the second
estimate has less noise as E[∂f/∂z v], with v = -∂F(z)/∂θ / q(z) and F the distribution function.

The f are odd and even ones of each coordinate, for errors of location and of scale, and one of
pairs. θ moves in each parameter and in the input, where the density or the draws say that E f rises
most. Where autograd's ∂z/∂θ is the difference of draws of the same noise, one direction will do:
all that can be wrong is that draws and density move apart. Where it is not, as with the implicit
gradients of rejection samplers, an error of a tenth is seen.

References:
    Mohamed, Rosca, Figurnov, Mnih. Monte Carlo Gradient Estimation in Machine Learning. 2020.
    arXiv:1906.10652, sections 4 and 5.
    Figurnov, Mohamed, Mnih. Implicit Reparameterization Gradients. 2018. arXiv:1805.08498,
    equation 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaezoo.contract.case import FAILURE_RATE, Case, refuse
from vaezoo.contract.differences import along, follows_the_draw, leaves, moved
from vaezoo.contract.grids import domain, quadrature
from vaezoo.contract.integrals import scalars
from vaezoo.scopes import own_generator, validation

__all__ = ["pathwise"]

STEP = 1e-5  # of a direction of length 1, in float64
BLOCK = 1000  # draws
LOOKS = (20, 100)  # blocks: few show a large error, and will do where gradients follow the draw
PILOT = 2000  # draws for directions and baselines
PARALLEL = 0.9  # a cosine
APPROXIMATE = 0.02  # of a slope: torch's gradients of Gamma and Beta draws are approximations
NOISE = 6  # a seed: draws that are to be compared start from it


class Direction(NamedTuple):
    """Where θ moves: a parameter or input by its name, and a tensor of length 1."""

    name: str
    place: Tensor
    by: Tensor


def pathwise(case: Case) -> None:
    """The gradients of a posterior's draws are those of expectations."""
    smooth = follows_the_draw(case)
    at, places = leaves(_row(case, smooth=smooth))
    with validation(False):  # a step may leave the constraints of arguments
        for blocks in LOOKS[:1] if smooth else LOOKS:
            _check_means(at, places, blocks, smooth=smooth)


def _row(case: Case, *, smooth: bool) -> Case:
    """The first input or, unless `smooth`, the first whose gradient does not follow its draw."""
    rows = [
        Case(case.part, tuple(t[i : i + 1] for t in case.inputs), case.event)
        for i in range(case.batch[0])
    ]
    return next((r for r in rows if not smooth and not follows_the_draw(r)), rows[0])


def _check_means(at: Case, places: dict[str, Tensor], blocks: int, *, smooth: bool) -> None:
    draws = torch.cat([_draws(at, b).detach() for b in range(blocks)])
    f = Features(draws[:PILOT])
    directions = list(_directions(at, f, places, few=smooth))
    slopes = (_by_noise if smooth else _by_autograd)(at, f, directions, blocks)
    right = _by_transport if not smooth and scalars(at()) is not None else _by_score
    tests = [
        (*fit, each.name)
        for each, slope in zip(directions, slopes, strict=True)
        for fit in _fits(slope, right(at, f, draws, each))
    ]
    least, claimed, expected, name = min(tests, default=(1.0, 0.0, 0.0, ""))
    if not least > FAILURE_RATE / len(LOOKS) / max(len(tests), 1):
        wanted = f"rsample's gradient by {name} to agree with log_prob's, {expected:.3g} for a mean"
        got = f"{claimed:.3g}, p = {least:.1g} from {len(draws)} draws"
        mend = "let rsample be a differentiable function of its noise, with no gradient of its own"
        refuse("pathwise", wanted, got, mend)


class Features:
    """Bounded f of draws (n, size): odd and even ones of each coordinate, and one of pairs.

    Called on draws it gives (n, 2 size + 1).
    """

    def __init__(self, draws: Tensor) -> None:
        self.centre, self.spread = draws.mean(0), draws.std(0)
        self.pairs = torch.triu_indices(draws.shape[1], draws.shape[1], 1)
        self.baseline = self(draws).mean(0)

    def __call__(self, draws: Tensor) -> Tensor:
        white = (draws - self.centre) / self.spread
        odd, even = torch.tanh(white), torch.exp(-white.square() / 2)
        i, j = self.pairs
        return torch.cat([odd, even, (odd[:, i] * odd[:, j]).sum(-1, keepdim=True)], -1)

    def sums(self, values: Tensor) -> tuple[Tensor, ...]:
        """The sums of the odd f, of the even ones, and of that of pairs, each (n,)."""
        size = len(self.centre)
        return tuple(t.sum(-1) for t in values.split([size, size, 1], -1))


def _draws(at: Case, block: int) -> Tensor:
    """Draws (BLOCK, size), of the same noise for every distribution."""
    with own_generator(NOISE + block):
        return at().rsample(torch.Size([BLOCK])).reshape(BLOCK, -1)


def _directions(
    at: Case, f: Features, places: dict[str, Tensor], *, few: bool
) -> Iterator[Direction]:
    """Where means of f rise most, by the density; unless `few`, by the draws too, and of each f."""
    seen: dict[str, list[Tensor]] = {}
    draws = torch.cat([_draws(at, b) for b in range(PILOT // BLOCK)])
    values, log_q = f(draws), _log_q(at, draws.detach())
    gains = (values - f.baseline).detach() * log_q[:, None]
    totals = [gains.sum(-1)] if few else [*f.sums(gains), *f.sums(values)]
    for total in (t.mean() for t in totals if t.requires_grad):
        for (name, place), gradient in zip(
            places.items(), _gradients(total, list(places.values())), strict=True
        ):
            by, known = gradient / gradient.norm(), seen.setdefault(name, [])
            if gradient.any() and all(along(by, other).abs() < PARALLEL for other in known):
                known.append(by)
                yield Direction(name, place, by)


def _gradients(total: Tensor, places: list[Tensor]) -> list[Tensor]:
    each = torch.autograd.grad(total, places, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(each, places, strict=True)]


def _log_q(at: Case, draws: Tensor) -> Tensor:
    return at().log_prob(draws.reshape(len(draws), 1, *at.event)).flatten()


@torch.no_grad()
def _slope(direction: Direction, function: Callable[[], Tensor]) -> Tensor:
    """The central difference of a tensor."""
    sides = []
    for step in (-STEP, STEP):
        with moved(direction.place, step * direction.by):
            sides.append(function())
    return (sides[1] - sides[0]) / (2 * STEP)


def _in_blocks(values: Tensor) -> Tensor:
    return values.unflatten(0, (-1, BLOCK)).mean(1)


def _by_noise(at: Case, f: Features, directions: list[Direction], blocks: int) -> Iterator[Tensor]:
    """∂f/∂θ, its mean over each block of draws, (blocks, f), for each direction."""
    for each in directions:
        yield _slope(each, lambda: torch.stack([f(_draws(at, b)).mean(0) for b in range(blocks)]))


def _by_autograd(at: Case, f: Features, directions: list[Direction], blocks: int) -> list[Tensor]:
    """The same means by autograd."""
    places, slopes = [each.place for each in directions], []
    for b in range(blocks):
        of_f = [_gradients(mean, places) for mean in f(_draws(at, b)).mean(0)]
        dots = [[along(g, d.by) for g, d in zip(gs, directions, strict=True)] for gs in of_f]
        slopes.append(torch.stack([torch.stack(each) for each in dots], -1))
    return list(torch.stack(slopes, 1))


class Expected(NamedTuple):
    """What slopes are held against: in each block of draws (blocks, f), and how closely (f,).

    `noise` (blocks,) has mean 0: what of a difference goes with it is taken out.
    """

    slopes: Tensor
    noise: Tensor
    allowed: Tensor


def _by_score(at: Case, f: Features, draws: Tensor, direction: Direction) -> Expected:
    score = _slope(direction, lambda: _log_q(at, draws))
    slopes = _in_blocks((f(draws) - f.baseline) * score[:, None])
    return Expected(slopes, _in_blocks(score), torch.full_like(slopes[0], 1e-9))


def _by_transport(at: Case, f: Features, draws: Tensor, direction: Direction) -> Expected:
    points, weights = quadrature(domain(scalars(at())), draws)

    def density(z: Tensor) -> Tensor:
        each: Tensor = scalars(at()).log_prob(z.reshape(len(z), 1, *at.event)).exp()
        return each.reshape(z.shape)

    rise = _slope(direction, lambda: density(points) * weights)
    v = -_below(draws, points, rise) / density(draws)
    slopes = (f(draws + STEP * v) - f(draws - STEP * v)) / (2 * STEP)
    blocks = _in_blocks(slopes)
    return Expected(blocks, torch.zeros_like(blocks[:, 0]), APPROXIMATE * slopes.abs().mean(0))


def _below(draws: Tensor, points: Tensor, mass: Tensor) -> Tensor:
    """The sum of the mass at points below each draw, between them on a straight line."""
    steps = (mass[1:] + mass[:-1]) / 2
    sums = torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(0)])
    i = torch.searchsorted(points.T.contiguous(), draws.T.contiguous()).T.clamp(1, len(points) - 1)
    (left, right), (low, high) = ((t.gather(0, i - 1), t.gather(0, i)) for t in (points, sums))
    return low + (high - low) * (draws - left) / (right - left)


def _fits(slopes: Tensor, expected: Expected) -> Iterator[tuple[float, float, float]]:
    """For each f: the p-value of its slope being the one expected, and the two of them."""
    noise = expected.noise
    for k, (ours, theirs) in enumerate(zip(slopes.T, expected.slopes.T, strict=True)):
        difference = ours - theirs
        if noise.any():
            difference = difference - (difference @ noise) / (noise @ noise) * noise
        error = difference.std() / math.sqrt(len(difference)) + 1e-12
        excess = (difference.mean().abs() - expected.allowed[k]).clamp(min=0)
        p_value = _p_value((excess / error).item(), len(difference) - 1)
        yield p_value, ours.mean().item(), theirs.mean().item()


def _p_value(t: float, freedom: int) -> float:
    """Two-sided, of Student's t, by Wallace's approximation (1959, Annals of Math. Stat. 30)."""
    z = math.sqrt(freedom * math.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return math.erfc(z / math.sqrt(2))
