"""The clause that gradients are the central differences of what they are gradients of.

One random direction in each parameter, input and continuous value. Three steps are tried, since a
sharp density needs a small one and a flat density a large one; and where a network has a kink, any
slope between those of its two sides is right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from vaezoo.contract.case import Case, refuse
from vaezoo.likelihoods import Likelihood
from vaezoo.scopes import own_generator, validation

__all__ = ["along", "differences", "follows_the_draw", "leaves", "moved"]

STEPS = (1e-5, 1e-6, 1e-7)  # of a direction of length 1, in float64
TOLERANCE = 1e-4  # of a derivative
JITTER = 0.01  # of inputs, off the kink that an image of zeros may lie on
NOISE = 5  # a seed: draws that are to be compared start from it
VALUE = "its value"


def differences(case: Case) -> None:
    """The gradient of the density is the derivative of its value."""
    with own_generator():  # later clauses draw what they would without this one
        _densities(*leaves(case))


def _densities(at: Case, places: dict[str, Tensor]) -> None:
    value = at().sample(torch.Size([4]))
    weights = torch.randn_like(at().log_prob(value))
    if not _is_discrete(at()):
        places[VALUE] = value.requires_grad_()

    def total() -> Tensor:
        return (weights * at().log_prob(value)).sum()

    with validation(False):  # a step may leave the support
        for name, (claimed, slope) in _mismatches(total, places).items():
            if name == VALUE and isinstance(at.part, Likelihood) and not claimed:
                continue  # a likelihood need not have a gradient by its data
            expected = f"the gradient of the density by {name} to be that of its value, {slope:.6g}"
            mend = "let log_prob compute with no detach, no no_grad and no gradient of its own"
            refuse("differences", expected, f"{claimed:.6g}", mend)


def follows_the_draw(case: Case) -> bool:
    """Whether the gradient of a draw is its derivative with the noise held fixed."""
    at, places = leaves(case)
    weights = torch.randn_like(at().rsample())

    def total() -> Tensor:
        with own_generator(NOISE):
            return (weights * at().rsample()).sum()

    with validation(False):
        return not _mismatches(total, places)


def leaves(case: Case) -> tuple[Case, dict[str, Tensor]]:
    """The case at jittered inputs, and what can be moved: these and the parameters, by name."""
    inputs = tuple(_jittered(t) if t.is_floating_point() else t for t in case.inputs)
    places = dict(zip(["its input"], (t for t in inputs if t.is_floating_point()), strict=False))
    for module in (*case.part.follows(), case.part):
        places |= {n: p for n, p in module.named_parameters() if p.requires_grad}
    return Case(case.part, inputs, case.event), places


def _jittered(t: Tensor) -> Tensor:
    return (t + JITTER * torch.rand_like(t)).detach().requires_grad_()


@contextlib.contextmanager
def moved(place: Tensor, by: Tensor) -> Iterator[None]:
    """Within it a tensor is moved by another."""
    kept = place.detach().clone()
    with torch.no_grad():
        place.add_(by)
    try:
        yield
    finally:
        with torch.no_grad():
            place.copy_(kept)


def _mismatches(
    function: Callable[[], Tensor], places: dict[str, Tensor]
) -> dict[str, tuple[float, float]]:
    """The derivatives claimed that differ from the slope of the function, and that slope."""
    total, wrong = function(), {}
    claims: list[Tensor | None] = [None] * len(places)
    if total.requires_grad:
        claims = list(torch.autograd.grad(total, list(places.values()), allow_unused=True))
    for (name, place), gradient in zip(places.items(), claims, strict=True):
        direction = torch.randn_like(place)
        direction = direction / direction.norm()
        claimed = 0.0 if gradient is None else along(gradient, direction).item()
        slope = _other_slope(claimed, function, place, direction)
        if slope is not None:
            wrong[name] = (claimed, slope)
    return wrong


def along(gradient: Tensor, direction: Tensor) -> Tensor:
    """The derivative in a direction, of a function of real or of complex numbers.

    Example:
        >>> z = torch.tensor([3.0 + 4.0j], requires_grad=True)
        >>> (gradient,) = torch.autograd.grad(z.abs().sum(), [z])
        >>> round(along(gradient, torch.tensor([1.0j])).item(), 4)
        0.8
    """
    return (gradient.conj() * direction).sum().real


@torch.no_grad()
def _other_slope(
    claimed: float, function: Callable[[], Tensor], place: Tensor, direction: Tensor
) -> float | None:
    """The central difference, unless the derivative claimed agrees with it at some step."""
    here, central = function().item(), 0.0
    for step in STEPS:
        sides = []
        for sign in (-1, 1):
            with moved(place, sign * step * direction):
                sides.append(function().item())
        below, above = (here - sides[0]) / step, (sides[1] - here) / step
        central = (below + above) / 2
        allowed = TOLERANCE * abs(central) + 1e-7 + 1e-15 * abs(here) / step
        if min(below, above) - allowed <= claimed <= max(below, above) + allowed:
            return None
        if central != central:
            return None  # at the edge of the support
    return central


def _is_discrete(d: TorchDistribution) -> bool:
    try:
        discrete: bool = d.support.is_discrete
    except NotImplementedError:
        discrete = False
    return discrete
