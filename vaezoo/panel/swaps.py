"""Swaps that can be taken back: what a model was before each of them."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch

from vaezoo.models import LatentVariableModel
from vaezoo.priors import Prior, StandardNormal

__all__ = ["Swap", "carry_over", "put_back", "remember"]


class Swap(NamedTuple):
    """What there was before a swap.

    Attributes:
        what: the swap in words.
        model: the member, which is still the same object unless it was the member that changed.
        parts: its parts by name.
        before: a copy, with the weights of that moment.
        objective: what it was trained with.
    """

    what: str
    model: LatentVariableModel
    parts: dict[str, Any]
    before: LatentVariableModel
    objective: Any


def remember(what: str, model: LatentVariableModel, objective: Any) -> Swap:
    """Note a model as it is, to the last weight."""
    parts = {name: getattr(model, name) for name in model.parts if hasattr(model, name)}
    return Swap(what, model, parts, copy.deepcopy(model), copy.deepcopy(objective))


def put_back(swap: Swap) -> None:
    """Make the model of a swap what it was: the same parts, with the weights of then."""
    # priors last, which may follow a posterior
    for name in sorted(swap.parts, key=lambda n: isinstance(swap.parts[n], Prior)):
        if getattr(swap.model, name) is not swap.parts[name]:
            setattr(swap.model, name, swap.parts[name])
    swap.model.load_state_dict(swap.before.state_dict())


@torch.no_grad()
def carry_over(old: LatentVariableModel, new: LatentVariableModel) -> list[str]:
    """Give a new member copies of the parts of another, where they fit it; returns their names.

    A prior that the new member brings of itself, as a GMVAE its mixture, stays.

    Example:
        >>> from vaezoo.models import GMVAE, IWAE, VAE
        >>> carry_over(VAE(), IWAE()), carry_over(VAE(), GMVAE(k=3))
        (['likelihood', 'posterior', 'prior'], ['likelihood', 'posterior'])
    """
    carried = []
    names = [n for n in new.parts if n != "prior"] + ["prior"]
    for name in names:
        part = getattr(old, name, None)
        if part is None or (name == "prior" and type(new.prior) is not StandardNormal):
            continue
        try:
            setattr(new, name, copy.deepcopy(part))
        except (TypeError, ValueError):
            continue
        carried.append(name)
    return carried
