"""What is no pair and no member, and the words that refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vaezoo.programs.pair import PROGRAMS, Member

__all__ = [
    "check_evaluable",
    "check_member",
    "check_pair",
    "check_run",
    "check_tensors",
    "described",
]

METHODS = ("sample", "encode")


def check_pair(model: Any) -> None:
    """Refuse what is no module with programs `model` and `guide`.

    Raises:
        TypeError: it is none.

    Example:
        >>> from vaezoo.models import VAE
        >>> check_pair(VAE)
        Traceback (most recent call last):
        ...
        TypeError: model must be a member of the zoo or another module, got the class VAE: make an \
instance, VAE(…)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a member of the zoo or another module, got {described(model)}"
        )
    if isinstance(inside := getattr(model, "_orig_mod", None), Member):
        kind = type(inside).__name__
        raise TypeError(
            f"model must be the {kind} itself, got torch.compile({kind}(…)), whose programs would "
            "run as before: compile steps by fit(…, compile=True), or Bound(model).compile()"
        )
    if missing := _missing(model):
        if _is_pair(getattr(model, "model", model)):
            raise TypeError(f"model must be a pair of programs, got {described(model)}")
        raise TypeError(
            f"a {type(model).__name__} has no program {' and no '.join(missing)}: a pair is a "
            "module with Pyro programs model and guide"
        )


def check_evaluable(model: Any) -> None:
    """Refuse what is no pair, and a pair with lazy layers that have not run.

    Raises:
        TypeError: it is none.
        ValueError: it has such layers.
    """
    check_pair(model)
    check_run(model)


def check_run(model: nn.Module) -> None:
    """Refuse a module with lazy layers that have not run, whose weights are not drawn yet.

    Raises:
        ValueError: it has one.

    Example:
        >>> check_run(nn.Sequential(nn.LazyLinear(3)))
        Traceback (most recent call last):
        ...
        ValueError: 0.weight of this Sequential is of a lazy layer, and has no numbers yet: run \
the model once, as Bound(model)(x) does, or load it
    """
    held = [*model.named_parameters(), *model.named_buffers()]
    if names := [name for name, t in held if is_lazy(t)]:
        raise ValueError(
            f"{names[0]} of this {type(model).__name__} is of a lazy layer, and has no numbers "
            "yet: run the model once, as Bound(model)(x) does, or load it"
        )


def check_member(model: Any, caller: str, *, alike: bool = True) -> None:
    """Refuse what is no member of the zoo, in the name of who asks more than two programs of it.

    Args:
        model: what was given.
        caller: who asks.
        alike: whether a module with a member's methods, such as one around it, is as good.

    Raises:
        TypeError: it is none.

    Example:
        >>> check_member(nn.Linear(2, 2), "plots.samples")
        Traceback (most recent call last):
        ...
        TypeError: plots.samples takes a member of vaezoo.models, got a Linear
    """
    is_alike = isinstance(model, nn.Module) and any(hasattr(model, name) for name in METHODS)
    if not isinstance(model, Member) and not (alike and is_alike):
        raise TypeError(f"{caller} takes a member of vaezoo.models, got {described(model)}")


def check_tensors(batch: Sequence[Any]) -> None:
    """Refuse a batch whose images are no tensor, which `fit` and `evaluate` make of arrays.

    Raises:
        TypeError: they are none.

    Example:
        >>> check_tensors(([[0.5]],))
        Traceback (most recent call last):
        ...
        TypeError: programs take tensors, got a list: torch.as_tensor(…), or bound.arguments(batch)
    """
    if batch and not isinstance(batch[0], Tensor):
        raise TypeError(
            f"programs take tensors, got {described(batch[0])}: torch.as_tensor(…), or "
            "bound.arguments(batch)"
        )


def described(value: Any) -> str:
    """What was given in place of something else, for an error.

    Example:
        >>> described(3), described(int)
        ('a int', 'the class int: make an instance, int(…)')
        >>> from vaezoo import Bound, models
        >>> described(Bound(models.VAE()))
        'a Bound: give its .model'
    """
    if isinstance(value, type):
        return f"the class {value.__name__}: make an instance, {value.__name__}(…)"
    inside = getattr(value, "model", None)
    more = ": give its .model" if _is_pair(inside) else ""
    return f"a {type(value).__name__}{more}"


def _is_pair(module: Any) -> bool:
    return isinstance(module, nn.Module) and not _missing(module)


def _missing(module: nn.Module) -> list[str]:
    return [name for name in PROGRAMS if not callable(getattr(module, name, None))]
