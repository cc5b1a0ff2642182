"""An optimizer's state by the names of what it trains, in whatever order it was given that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from vaezoo.training.errors import ResumeError
from vaezoo.training.weights import outside

__all__ = ["names_of", "reordered"]


def names_of(optimizer: Optimizer, model: nn.Module) -> list[list[str]]:
    """The names of the parameters of each group of an optimizer, in its order.

    Example:
        >>> from torch.optim import SGD
        >>> linear = nn.Linear(2, 1)
        >>> names_of(SGD([linear.bias, linear.weight]), linear)
        [['bias', 'weight']]
    """
    groups: list[list[Tensor]] = [group["params"] for group in optimizer.param_groups]
    others = outside(model, (p for group in groups for p in group))
    own = *model.named_buffers(), *model.named_parameters()
    named = {id(p): name for name, p in (*own, *others.items())}
    return [[named[id(p)] for p in group] for group in groups]


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
    for i, (names, given) in enumerate(zip(before, now, strict=True)):
        if sorted(names) != sorted(given):
            raise ResumeError(
                f"in this run group {i} of the optimizer trained {_except(names, given)}, got "
                f"{_except(given, names)} in its place: give the optimizer the groups of its start"
            )
    if state.keys() != {"state", "param_groups"}:
        raise ResumeError(
            "the optimizer has its parameters in another order than in this run, and a state of "
            "its own kind: give it them in the order of its start"
        )
    numbers = iter(range(sum(map(len, now))))
    places = {name: next(numbers) for names in now for name in names}
    every = [name for names in before for name in names]
    groups = zip(state["param_groups"], now, strict=True)
    return {
        "state": {places[every[i]]: value for i, value in state["state"].items()},
        "param_groups": [g | {"params": [places[n] for n in names]} for g, names in groups],
    }


def _except(names: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(sorted({*names} - {*others})) or "nothing"
