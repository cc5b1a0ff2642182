"""Optimizers in the forms that people have at hand, or refused by name.

    fit(vae, data)                                           Adam at 1e-3
    fit(vae, data, optimizer=torch.optim.SGD, lr=0.1)        a class, or any function of parameters
    fit(vae, data, optimizer=partial(AdamW, amsgrad=True))   the same, of `functools`
    fit(vae, data, optimizer=Adam(vae.parameters(), 0.01))   one that is made already

Whatever it is, it has to train every parameter.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from vaezoo.training.rates import Rate, first_rate, type_name
from vaezoo.training.weights import parameters_of

__all__ = ["check_no_closure", "make_optimizer"]


def make_optimizer(
    optimizer: Optimizer | Callable[..., Optimizer] | None,
    lr: Rate | None,
    parameters: Mapping[str, Tensor],
) -> Optimizer:
    """The optimizer of all parameters; Adam by default.

    Args:
        optimizer: one over these parameters, a class of `torch.optim`, or a `functools.partial` of
            one, or a function that makes one of them.
        lr: the rate of Adam (1e-3 by default) or of a class (its own default), a number or a
            function of the step, counted from 0.
        parameters: to train, by name.

    Raises:
        TypeError: it is no optimizer.
        ValueError: there are no parameters, it does not train all of them, needs a closure, or has
            a rate of its own beside `lr`.

    Example:
        >>> p = torch.zeros(2, requires_grad=True)
        >>> make_optimizer(torch.optim.SGD, 0.1, {"p": p}).param_groups[0]["lr"]
        0.1
    """
    if optimizer is not None and lr is not None and not _takes_rate(optimizer):
        raise ValueError(
            "give lr or an optimizer with a rate of its own, not both; a class takes lr, "
            "optimizer=torch.optim.Adam, and so does functools.partial(torch.optim.Adam, eps=1e-6)"
        )
    if not parameters:
        raise ValueError("there is nothing to train: all is frozen, model.requires_grad_(True)")
    made = _make(optimizer, first_rate(lr), list(parameters.values()))
    check_no_closure(made)
    _check_all(made, parameters)
    return made


def check_no_closure(optimizer: Optimizer) -> None:
    """Refuse an optimizer that evaluates the loss itself, such as LBFGS.

    Raises:
        ValueError: its `step` needs a closure.

    Example:
        >>> check_no_closure(torch.optim.LBFGS([torch.zeros(1)]))
        Traceback (most recent call last):
        ...
        ValueError: LBFGS evaluates the loss itself, by a closure: call it in a loop of your own, \
optimizer.step(closure), where closure() zeroes the gradients, calls backward() on \
bound(x)["loss"] and returns that
    """
    # of the class: a scheduler puts a function of its own into the optimizer
    _, *given = inspect.signature(type(optimizer).step).parameters.values()
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in given):
        raise ValueError(
            f"{type(optimizer).__name__} evaluates the loss itself, by a closure: call it in a "
            "loop of your own, optimizer.step(closure), where closure() zeroes the gradients, "
            'calls backward() on bound(x)["loss"] and returns that'
        )


def _check_all(made: Optimizer, parameters: Mapping[str, Tensor]) -> None:
    known = {id(p) for p in parameters_of(made)}
    missing = [name for name, p in parameters.items() if id(p) not in known]
    if missing:
        outside = missing[0].endswith("of a program")
        why = (
            "it is no parameter of the model's; give a class, optimizer=torch.optim.Adam, or a "
            "function of all parameters, lambda parameters: Adam(parameters, lr=1e-3)"
            if outside
            else "it was made before a part was swapped, or for another model, or for some parts "
            "alone; make it again from model.parameters(), and freeze what is to stay, as by "
            f"model.{missing[0].split('.')[0]}.requires_grad_(False)"
        )
        raise ValueError(f"the optimizer does not train {', '.join(missing)}: {why}")


def _make(optimizer: Any, lr: float | None, parameters: list[Tensor]) -> Optimizer:
    if optimizer is None:
        # torch's fused one refuses complex numbers, and takes all others for dense ones
        fused = all(_is_dense(p) and not p.is_complex() for p in parameters)
        return torch.optim.Adam(parameters, lr=1e-3 if lr is None else lr, fused=fused)
    if isinstance(optimizer, str):
        near = _of_torch(optimizer)
        raise TypeError(f"optimizer must be no string, got {optimizer!r}: {near}")
    if _is_class(optimizer) or (lr is not None and _takes_rate(optimizer)):
        rate: dict[str, Any] = {} if lr is None else {"lr": lr}
        return optimizer(parameters, **rate)
    if isinstance(optimizer, Optimizer):
        return optimizer
    wanted = "optimizer must be one of torch.optim, its class, or a function of parameters that "
    if isinstance(optimizer, PyroOptim):
        raise TypeError(
            f"{wanted}returns one, got one of pyro.optim, which is for SVI: "
            f"{_of_torch(optimizer.pt_optim_constructor.__name__)}"
        )
    if not callable(optimizer) or isinstance(optimizer, type):
        raise TypeError(f"{wanted}returns one, got {type_name(optimizer)}")
    made = optimizer(parameters)
    if not isinstance(made, Optimizer):
        raise TypeError(f"{wanted}returns one, got a function that returns {type_name(made)}")
    return made


def _takes_rate(optimizer: Any) -> bool:
    """Whether it is a class, or a partial of one that has no rate yet."""
    if isinstance(optimizer, functools.partial):
        return _is_class(optimizer.func) and not optimizer.args and "lr" not in optimizer.keywords
    return isinstance(optimizer, type)


def _is_class(optimizer: Any) -> bool:
    return isinstance(optimizer, type) and issubclass(optimizer, Optimizer)


def _of_torch(name: str) -> str:
    """The line to write in place of an optimizer's name."""
    names = {
        n.lower(): n
        for n, v in vars(torch.optim).items()
        if isinstance(v, type) and issubclass(v, Optimizer)
    }
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"write optimizer=torch.optim.{names[near[0]] if near else 'Adam'}"


def _is_dense(t: Tensor) -> bool:
    """Whether its numbers lie in one piece of memory, each in a place of its own, in any order."""
    if t.layout != torch.strided:
        return False
    steps = [(stride, n) for stride, n in zip(t.stride(), t.shape, strict=True) if n > 1]
    place = 1
    for stride, n in sorted(steps):
        if stride != place:
            return False
        place *= n
    return True
