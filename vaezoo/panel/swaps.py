"""Swaps that can be taken back: what a model was before each of them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.models.swapping import claim
from vaezoo.objectives.schedules import schedules_in
from vaezoo.panel.standing import members_own
from vaezoo.priors import StandardNormal
from vaezoo.scopes import own_generator

__all__ = ["Swap", "as_before", "carry_over", "placed", "put_back", "remember"]


class Swap(NamedTuple):
    """What there was before a swap.

    Attributes:
        what: the swap in words.
        model: the member, which is still the same object unless it was the member that changed.
        before: a copy, with the weights of that moment.
        held: the tables of its modules, parameters and buffers, with what stood in each.
        programs: those of the user's own, by name.
        objective: what it was trained with.
        taken: its schedules, with the steps that were over.
    """

    what: str
    model: LatentVariableModel
    before: LatentVariableModel
    held: list[tuple[dict[str, Any], dict[str, Any]]]
    programs: dict[str, Any]
    objective: Any
    taken: list[tuple[Any, int]]


def remember(what: str, model: LatentVariableModel, objective: Any) -> Swap:
    """Note a model as it is, to the last weight."""
    tables = [t for m in model.modules() for t in (m._modules, m._parameters, m._buffers)]
    programs = {name: vars(model)[name] for name in model.replaced_programs}
    schedules = [getattr(owner, name) for owner, name in schedules_in(objective)]
    return Swap(
        *(what, model, copy.deepcopy(model), [(table, dict(table)) for table in tables], programs),
        *(objective, [(schedule, schedule.taken) for schedule in schedules]),
    )


@contextlib.contextmanager
def as_before(swap: Swap) -> Iterator[LatentVariableModel]:
    """The model of a swap as it was before, within this: a copy, if that is enough.

    A program of one's own may reach parts from outside, which no copy takes along. Then it is the
    model itself, which is what it is now again afterwards.
    """
    if not swap.programs:
        yield swap.before
        return
    now = remember("", swap.model, swap.objective)
    put_back(swap)
    try:
        yield swap.model
    finally:
        put_back(now)


@torch.no_grad()
def put_back(swap: Swap) -> None:
    """Make the model of a swap what it was: the same modules, with the weights of then.

    What was assigned in a cell since, to whatever module of it, goes.
    """
    for table, stood in swap.held:
        table.clear()
        table.update(stood)
    for name in swap.model.replaced_programs:
        del vars(swap.model)[name]
    vars(swap.model).update(swap.programs)
    claim(swap.model)
    for tensor, then in zip(_tensors(swap.model), _tensors(swap.before), strict=True):
        if (tensor.shape, tensor.dtype, tensor.device) == (then.shape, then.dtype, then.device):
            tensor.copy_(then)
        else:
            tensor.data = then.detach().clone()
        tensor.requires_grad_(then.requires_grad)
    torch.clear_autocast_cache()  # which has weights from before, inside an outer autocast
    for schedule, taken in swap.taken:
        schedule.taken = taken


def _tensors(model: LatentVariableModel) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def placed(
    swap: Swap, place: str, new: Any, data: Any, *, made: bool
) -> tuple[LatentVariableModel, Any]:
    """The model and the objective with something else in a place.

    Args:
        swap: what there was before.
        place, new: what is put where.
        data: what is trained on.
        made: whether it is new; a member of the user's own is taken as it is, parts and all.

    Raises:
        ValueError, TypeError: it does not fit the rest.
    """
    if place == "objective":
        return swap.model, new
    if place == "member":
        with own_generator():
            if made:
                carry_over(swap.model, new.to(tensor_like(swap.model)))
        return new, members_own(new, data)
    setattr(swap.model, place, new)
    return swap.model, swap.objective


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
