"""What is not finite: which parameter or buffer, which log-density of which site, which gradient.

It is asked for once a step has been given up, and costs a few runs of the pair.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from vaezoo.bound import PRECISIONS, Bound
from vaezoo.components import outside_param_store
from vaezoo.networks.precision import networks_lowered_to
from vaezoo.programs.outside import besides
from vaezoo.programs.pair import Program
from vaezoo.programs.sites import is_factor, log_prob
from vaezoo.scopes import own_generator, unchecked
from vaezoo.training.untrained import Untrained
from vaezoo.training.weights import parameters_of

__all__ = ["broken_gradients", "broken_sites", "broken_tensors", "tensors_of"]

TRIES = 10  # runs of the pair, each with other noise


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Parameters and buffers by name, those of an optimizer that are not the model's as well.

    Example:
        >>> list(tensors_of(nn.BatchNorm1d(2)))[:3]
        ['parameter weight', 'parameter bias', 'buffer running_mean']
    """
    named: dict[str, Any] = {f"parameter {name}": p for name, p in model.named_parameters()}
    named |= {f"buffer {name}": b for name, b in model.named_buffers()}
    return named | besides(model, [] if optimizer is None else parameters_of(optimizer))


@torch.no_grad()
def broken_tensors(named: Mapping[str, Tensor], infinite: Sequence[str] = ()) -> list[str]:
    """The names of those that hold NaN, or ±∞ where that is not allowed.

    Args:
        named: tensors by name.
        infinite: names of those that may hold ±∞, as a mask of −∞ does.

    Example:
        >>> broken_tensors({"a": torch.tensor([1.0, torch.inf]), "b": torch.zeros(2)})
        ['a']
        >>> broken_tensors({"a": torch.tensor([1.0, torch.inf])}, ["a"])
        []
    """
    floats = {n: t for n, t in named.items() if t.is_floating_point() or t.is_complex()}
    # summed first, because most are finite and a sum is one number to wait for
    sums = {n: (t._values() if t.is_sparse else t).detach().abs().sum() for n, t in floats.items()}
    by_device: dict[torch.device, list[str]] = {}
    for name, total in sums.items():
        by_device.setdefault(total.device, []).append(name)
    suspects = [
        name
        for names in by_device.values()
        for name, fine in zip(names, _finite([sums[n] for n in names]), strict=True)
        if not fine
    ]
    return [n for n in suspects if not _is_fine(floats[n], n in infinite)]


def _finite(sums: list[Tensor]) -> list[bool]:
    fine: list[bool] = torch.stack([s.double() for s in sums]).isfinite().tolist()
    return fine


def _is_fine(tensor: Tensor, may_be_infinite: bool) -> bool:
    values = tensor._values() if tensor.is_sparse else tensor
    return not bool(values.isnan().any() if may_be_infinite else (~values.isfinite()).any())


def broken_sites(bound: Bound, batch: Sequence[Tensor]) -> list[str]:
    """The log-densities of a batch that are not finite, in the order they are computed.

    The pair is run with other noise than the step had, some times if need be.

    Example:
        >>> from vaezoo.models import VAE
        >>> bound = Bound(VAE(hidden=(8, 8)))
        >>> broken_sites(bound, [torch.full((7, 1, 28, 28), torch.nan)])[0]
        "log q(z) of site 'z' in the guide, as loc and scale of its DiagonalNormal are not finite"
    """
    untrained = Untrained(bound)
    with torch.no_grad(), own_generator(), unchecked(), outside_param_store():
        untrained.keep()
        for _ in range(TRIES):
            broken: dict[str, None] = {}
            # whatever a program does with numbers that are not finite
            with contextlib.suppress(Exception), _lowered(bound):
                programs = (bound.model.model, "p", broken), (bound.model.guide, "q", broken)
                bound.objective.loss(*(_watched(*each) for each in programs), *batch)
            untrained.put_back()
            if broken:
                return list(broken)
    return []


def _lowered(bound: Bound) -> contextlib.AbstractContextManager[None]:
    return networks_lowered_to(bound.model, PRECISIONS[bound.precision])


def _watched(program: Program, letter: str, broken: dict[str, None]) -> Callable[..., Any]:
    @functools.wraps(program.forward if isinstance(program, nn.Module) else program)
    def run(*batch: Any, **named: Any) -> Any:
        with _Sites(letter, broken):
            return program(*batch, **named)

    return run


class _Sites(Messenger):
    """Notes the sites of a program whose log-density is not finite."""

    def __init__(self, letter: str, broken: dict[str, None]) -> None:
        super().__init__()
        self.letter, self.broken = letter, broken

    def _pyro_post_sample(self, msg: Any) -> None:
        if site_is_subsample(msg) or is_factor(msg):
            return
        value = msg["value"]
        if not isinstance(value, Tensor) or bool(log_prob(msg).isfinite().all()):
            return
        program = {"p": "model", "q": "guide"}[self.letter]
        where = f"log {self.letter}({msg['name']}) of site {msg['name']!r} in the {program}"
        self.broken.setdefault(f"{where}{_because(msg['fn'], value)}")


def _because(distribution: Any, value: Tensor) -> str:
    """Which of a distribution's parameters is not finite, or else that the value is not."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    held = ((name, getattr(distribution, name, None)) for name in distribution.arg_constraints)
    names = [n for n, t in held if isinstance(t, Tensor) and not bool(t.isfinite().all())]
    if names:
        are = "is" if len(names) == 1 else "are"
        return f", as {' and '.join(names)} of its {type(distribution).__name__} {are} not finite"
    return "" if bool(value.isfinite().all()) else ", as its value is not finite"


def broken_gradients(
    bound: Bound, batch: Sequence[Tensor], optimizer: torch.optim.Optimizer
) -> list[str]:
    """The parameters whose gradient is not finite, as a step left it, or for other noise."""
    named = {n: t for n, t in tensors_of(bound.model, optimizer).items() if t.requires_grad}
    left = {n: t.grad for n, t in named.items() if t.grad is not None}
    if broken := broken_tensors(left):
        return broken
    with Untrained(bound).kept(), own_generator(), unchecked(), contextlib.suppress(Exception):
        loss = bound.eager(*batch)["loss"]
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        pairs: Iterator[tuple[str, Any]] = zip(named, gradients, strict=True)
        broken = broken_tensors({n: g for n, g in pairs if g is not None})
    return broken
