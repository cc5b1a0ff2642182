"""Optimizers and learning rates in the forms that people have at hand, or refused by name.

fit(vae, data)                                          Adam at 1e-3
fit(vae, data, lr=lambda step: 1e-3 * 0.999**step)      Adam, the rate a function of the step
fit(vae, data, optimizer=torch.optim.SGD, lr=0.1)       a class, or any function of parameters
fit(vae, data, scheduler=lambda optimizer: …)           made for the optimizer that `fit` makes
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

__all__ = ["Rate", "Rates", "make_optimizer"]

Rate = float | Callable[[int], float]


def make_optimizer(
    optimizer: Optimizer | Callable[..., Optimizer] | None,
    lr: Rate | None,
    parameters: Mapping[str, Tensor],
) -> Optimizer:
    """The optimizer of all parameters; Adam by default.

    Args:
        optimizer: one over these parameters, a class of `torch.optim`, or a function that makes
            one of them.
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
    made = optimizer is not None and not isinstance(optimizer, type)
    if made and lr is not None:
        raise ValueError(
            "give lr or an optimizer with a rate of its own, not both; a class takes lr, "
            "optimizer=torch.optim.Adam"
        )
    if not parameters:
        raise ValueError("there is nothing to train: all is frozen, model.requires_grad_(True)")
    found = _make(optimizer, _first(lr), list(parameters.values()))
    if isinstance(found, torch.optim.LBFGS):
        raise ValueError("LBFGS evaluates the loss several times a step: write a loop of your own")
    known = {id(p) for group in found.param_groups for p in group["params"]}
    missing = [name for name, p in parameters.items() if id(p) not in known]
    if missing:
        raise ValueError(
            f"the optimizer does not train {', '.join(missing)}: it was made before a part was "
            "swapped, or for another model; make it again from model.parameters()"
        )
    return found


def _make(optimizer: Any, lr: float | None, parameters: list[Tensor]) -> Optimizer:
    if optimizer is None:
        return torch.optim.Adam(parameters, lr=1e-3 if lr is None else lr, fused=True)
    if isinstance(optimizer, str):
        near = _of_torch(optimizer)
        raise TypeError(f"optimizer must be no string, got {optimizer!r}: {near}")
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        rate: dict[str, Any] = {} if lr is None else {"lr": lr}
        return optimizer(parameters, **rate)
    found = optimizer
    if not isinstance(found, Optimizer) and callable(found) and not isinstance(found, type):
        found = found(parameters)
    if not isinstance(found, Optimizer):
        raise TypeError(
            "optimizer must be one of torch.optim, its class, or a function of parameters that "
            f"returns one, got {_name(found)}"
        )
    return found


def _of_torch(name: str) -> str:
    """The line to write for an optimizer that was named."""
    names = {
        n.lower(): n
        for n, v in vars(torch.optim).items()
        if isinstance(v, type) and issubclass(v, Optimizer)
    }
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"write optimizer=torch.optim.{names[near[0]] if near else 'Adam'}"


def _first(lr: Rate | None) -> float | None:
    """The rate of the first step."""
    rate = lr(0) if callable(lr) else lr
    if rate is not None and not _is_rate(rate):
        said = "lr(0)" if callable(lr) else "lr"
        raise (ValueError if isinstance(rate, int | float) else TypeError)(
            f"{said} must be a number of at least 0, or a function of the step, got {rate!r}"
        )
    return rate


def _is_rate(rate: Any) -> bool:
    number = hasattr(rate, "__float__") and not isinstance(rate, str)
    return number and 0 <= float(rate) < math.inf


class Rates:
    """What changes the learning rate: after each step, or at each record of the history.

    Args:
        scheduler: of this optimizer, or a function that makes one of it.
        optimizer: the one in use.
        lr: a rate that is a function of the step is a schedule too.

    Raises:
        TypeError: it is no scheduler.
        ValueError: it belongs to another optimizer, or there is a function `lr` beside it.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=1.0)
        >>> rates = Rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5), optimizer)
        >>> optimizer.step()
        >>> rates.step()
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """

    def __init__(self, scheduler: Any, optimizer: Optimizer, lr: Rate | None = None) -> None:
        self.plateau: ReduceLROnPlateau | None = None
        self.stepped: list[Any] = []
        if callable(lr):
            if scheduler is not None:
                raise ValueError("give a function lr or a scheduler, not both")
            scheduler = _following(lr, optimizer)
        if scheduler is None:
            return
        scheduler = _made(scheduler, optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            self.plateau = _of_a_loss(scheduler)
        else:
            self.stepped.append(scheduler)

    def step(self) -> None:
        """A step was taken."""
        for scheduler in self.stepped:
            scheduler.step()

    def record(self, terms: Mapping[str, float] | None) -> None:
        """A record was made, if any: its validation loss, or else its loss, is what plateaus."""
        if self.plateau is not None and terms is not None:
            self.plateau.step(terms.get("validation_loss", terms["loss"]))


def _following(lr: Callable[[int], float], optimizer: Optimizer) -> LambdaLR:
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = 1.0  # which LambdaLR multiplies

    def rate(step: int) -> float:
        found = lr(step)
        if not _is_rate(found):
            raise ValueError(f"lr({step}) must be a number of at least 0, got {found!r}")
        return float(found)

    return LambdaLR(optimizer, rate)


def _made(scheduler: Any, optimizer: Optimizer) -> Any:
    if not hasattr(scheduler, "step") or isinstance(scheduler, type):
        if not callable(scheduler):
            raise TypeError(
                "scheduler must be one of torch.optim.lr_scheduler or a function of the optimizer "
                f"that returns one, got {_name(scheduler)}"
            )
        try:
            scheduler = scheduler(optimizer)
        except TypeError as error:
            raise TypeError(f"scheduler, made of the optimizer: {error}") from error
        if not hasattr(scheduler, "step"):
            raise TypeError(f"scheduler must have a method step, got {_name(scheduler)}")
    of = getattr(scheduler, "optimizer", optimizer)
    if of is not optimizer:
        raise ValueError(
            f"the {type(scheduler).__name__} is of another optimizer than the one in use: pass "
            "optimizer=scheduler.optimizer too, or scheduler=lambda optimizer: …"
        )
    return scheduler


def _of_a_loss(plateau: ReduceLROnPlateau) -> ReduceLROnPlateau:
    if plateau.mode != "min":
        raise ValueError("ReduceLROnPlateau is told a loss: mode must be 'min', got 'max'")
    return plateau


def _name(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
