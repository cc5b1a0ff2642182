"""An optimizer's state by the names of what it trains, in whatever order it was given that."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from vaezoo.programs.outside import outside
from vaezoo.training.errors import ResumeError
from vaezoo.training.weights import parameters_of

__all__ = ["names_of", "names_of_each", "reordered"]


def names_of(optimizer: Optimizer, model: nn.Module) -> list[list[str]]:
    """The names of the parameters of each group of an optimizer, in its order.

    Example:
        >>> from torch.optim import SGD
        >>> linear = nn.Linear(2, 1)
        >>> names_of(SGD([linear.bias, linear.weight]), linear)
        [['bias', 'weight']]
    """
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    names = iter(names_of_each(parameters_of(optimizer), model))
    return [[next(names) for _ in range(n)] for n in sizes]


def names_of_each(tensors: Sequence[Tensor], model: nn.Module) -> list[str]:
    """The names of tensors: a model's parameters, buffers that are trained, and what is outside it.

    Example:
        >>> linear = nn.Linear(2, 1)
        >>> names_of_each([linear.bias, linear.weight], linear)
        ['bias', 'weight']
    """
    own = *model.named_buffers(), *model.named_parameters()
    named = {id(p): name for name, p in (*own, *outside(model, tensors).items())}
    return [named[id(t)] for t in tensors]


def reordered(
    state: dict[str, Any], before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """An optimizer's state for one that has the same parameters in another order.

    Args:
        state: its `state_dict()`.
        before: the names of its parameters by group, as `names_of` gives them.
        now: those of the optimizer that is to have it.

    Raises:
        ResumeError: a group has other parameters, or the state is not as torch's optimizers'.

    Example:
        >>> state = {"state": {0: "of a", 1: "of b"}, "param_groups": [{"params": [0, 1]}]}
        >>> reordered(state, [["a", "b"]], [["b", "a"]])["state"]
        {1: 'of a', 0: 'of b'}
    """
    if before == now:
        return state  # in whatever form an optimizer of one's own has it
    _check(before, now)
    if state.keys() != {"state", "param_groups"}:
        raise ResumeError(
            "the optimizer has its parameters in another order than in this run, and a state of "
            "its own kind: give it them in the order of its start"
        )
    groups, numbers = [], itertools.count()
    for group, names in zip(state["param_groups"], now, strict=True):
        groups.append(group | {"params": [next(numbers) for _ in names]})
    return {"state": _in_places(state["state"], before, now), "param_groups": groups}


def _check(before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> None:
    """Refuse groups that do not have the same parameters."""
    if len(before) != len(now):
        came = _except([n for names in before for n in names], [n for names in now for n in names])
        raise ResumeError(
            f"the optimizer of this run had {len(before)} groups of parameters, got {len(now)}: "
            f"without {came}; what comes to it on the way cannot go on from a checkpoint: make "
            "such changes between two calls of fit, each with a folder of its own"
        )
    for i, (names, given) in enumerate(zip(before, now, strict=True)):
        if sorted(names) != sorted(given):
            raise ResumeError(
                f"in this run group {i} of the optimizer trained {_except(names, given)}, got "
                f"{_except(given, names)} in its place: give the optimizer the groups of its start"
            )


def _in_places(state: dict[Any, Any], before: Sequence[Any], now: Sequence[Any]) -> dict[Any, Any]:
    """States by the numbers of parameters, under those that they have now; others as they are."""
    numbers = itertools.count()
    places = {name: next(numbers) for names in now for name in names}
    every = [name for names in before for name in names]
    return {places[every[i]] if isinstance(i, int) else i: v for i, v in state.items()}


def _except(names: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(sorted({*names} - {*others})) or "nothing"
