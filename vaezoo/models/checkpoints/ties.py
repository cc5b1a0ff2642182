"""Ties: modules, parameters and buffers that a model holds in several places.

A file has the weights of each place, and the header says which places hold the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo.models.checkpoints.errors import CheckpointError

__all__ = ["check_ties", "tie", "ties"]


def ties(model: nn.Module) -> list[list[str]]:
    """The places of each object that has several, what lies within such an object left out.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> ties(nn.Sequential(layer, nn.ELU(), layer))
        [['0', '2']]
        >>> other = nn.Linear(2, 2)
        >>> other.weight = layer.weight
        >>> ties(nn.Sequential(layer, other))
        [['0.weight', '1.weight']]
    """
    names: dict[int, list[str]] = {}
    for name, value in _places(model):
        names.setdefault(id(value), []).append(name)
    return [same for same in names.values() if len(same) > 1]


def _places(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Every name under which a module holds something, that of a tied module by its first name."""
    for prefix, module in model.named_modules():
        for held in (module._modules, module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None:
                    yield f"{prefix}.{name}".removeprefix("."), value


def tie(model: nn.Module, groups: Any) -> None:
    """Have a model hold, in all places of each group, what it holds in the first.

    Raises:
        CheckpointError: these are no lists of places of the model, or what they hold differs in
            more than its numbers.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ELU(), nn.Linear(2, 2))
        >>> tie(model, [["0", "2"]])
        >>> model[2] is model[0], len(list(model.parameters()))
        (True, 2)
    """
    for group in _checked(groups):
        held = dict(_places(model))
        if unknown := [name for name in group if name not in held]:
            raise CheckpointError(f"ties what the model does not have: {', '.join(unknown[:5])}")
        first, *others = group
        for name in others:
            if _kind(held[name]) != _kind(held[first]):
                raise CheckpointError(f"ties {first} and {name}, which differ")
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, held[first])


def check_ties(model: nn.Module, groups: Any, weight: Callable[[str], Tensor]) -> None:
    """Refuse weights for a model that ties other places than the one that they are of.

    Args:
        model: to be filled.
        groups: places that are tied in the file.
        weight: that of the file, by its name.

    Raises:
        CheckpointError: one ties what has its own weights in the other.
    """
    held: dict[str, Any] = dict(model.named_modules(remove_duplicate=False))
    held |= dict(model.named_parameters(remove_duplicate=False))
    held |= dict(model.named_buffers(remove_duplicate=False))
    for first, *others in _checked(groups):
        for name in others:
            if held.get(name) is not held.get(first):
                raise CheckpointError(
                    f"holds a model in which {name} is {first}, and in this one it is "
                    "not: tie them before, or load it without a model"
                )
    first_names: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        first = first_names.setdefault(id(value), name)
        if name != first and not _bytes(weight(name)).equal(_bytes(weight(first))):
            raise CheckpointError(
                f"has other weights in {name} than in {first}, which are one here"
            )


def _bytes(t: Tensor) -> Tensor:
    return t.reshape(-1).view(torch.uint8)  # so that a NaN is itself


def _checked(groups: Any) -> list[list[str]]:
    if not isinstance(groups, list) or not all(
        isinstance(g, list) and len(g) > 1 and all(isinstance(n, str) for n in g) for g in groups
    ):
        raise CheckpointError("is damaged: its ties are no lists of names")
    return groups


def _kind(value: nn.Module | Tensor) -> Any:
    """All but the numbers: what a module consists of, from which no part of it is left out."""
    if isinstance(value, Tensor):
        return type(value), value.shape, value.dtype
    modules = [(n, type(m)) for n, m in value.named_modules(remove_duplicate=False)]
    return modules, {n: _kind(t) for n, t in value.state_dict(keep_vars=True).items()}
