"""Learning rates in the forms that people have at hand, or refused by name.

    fit(vae, data, lr=0.002)                             a number
    fit(vae, data, lr=lambda step: 1e-3 * 0.999**step)   a function of the step
    fit(vae, data, steps=900, lr=one_cycle(2e-3, 900))   one of these
    fit(vae, data, scheduler=lambda optimizer: …)        made for the optimizer that `fit` makes

Torch schedules an optimizer, so that a function of the step becomes a `LambdaLR`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from vaezoo.data.counts import as_count, is_bool

__all__ = ["Rate", "Rates", "first_rate", "one_cycle", "type_name"]

Rate = float | Callable[[int], float]


def one_cycle(peak: float, steps: float, *, warm_up: float = 0.1) -> Callable[[int], float]:
    """A rate that rises to a peak in a line, and falls to nothing by a cosine.

    It ends where training ends, with weights that no longer jitter, and allows a higher rate on the
    way than a constant one. Behind its last step it is 0.

    Args:
        peak: the highest rate.
        steps: how many there will be.
        warm_up: the share of them, from 0 to 1, after which the peak is reached.

    Raises:
        ValueError: peak is not positive, steps is below 1, or warm_up is no such share.

    References:
        Smith, Topin. Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
        Rates. 2019. arXiv:1708.07120. Loshchilov, Hutter. SGDR. 2017. arXiv:1608.03983, equation 5.

    Example:
        >>> rate = one_cycle(1.0, 10, warm_up=0.2)
        >>> [round(rate(step), 3) for step in range(11)]
        [0.5, 1.0, 0.97, 0.883, 0.75, 0.587, 0.413, 0.25, 0.117, 0.03, 0.0]
    """
    total = as_count("steps", steps)
    if not _is_rate(peak) or peak == 0:
        raise ValueError(f"peak must be a number above 0, got {peak!r}")
    if not _is_rate(warm_up) or warm_up > 1:
        raise ValueError(f"warm_up must be a share from 0 to 1, got {warm_up!r}")
    peak, rising = float(peak), max(round(float(warm_up) * total), 1)

    def rate(step: int) -> float:
        done = step + 1
        if done <= rising:
            return peak * done / rising
        falling = min((done - rising) / (total - rising + 1), 1)
        return peak * 0.5 * (1 + math.cos(math.pi * falling))

    return rate


class Rates:
    """The learning rate over training: changed after each step, or at each record of the history.

    Args:
        scheduler: of this optimizer, or a function that makes one of it.
        optimizer: the one in use.
        lr: a function of the step, which is a schedule too; a number is left alone.

    Raises:
        TypeError: it is no scheduler.
        ValueError: it belongs to another optimizer, or there is a function `lr` beside it.

    Example:
        >>> import torch
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
            scheduler = _schedule(lr, optimizer)
        if scheduler is None:
            return
        scheduler = _scheduler_of(scheduler, optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            self.plateau = _of_a_loss(scheduler)
        else:
            self.stepped.append(scheduler)

    @property
    def scheduler(self) -> Any:
        """What changes the rate; None where nothing does."""
        return self.plateau or next(iter(self.stepped), None)

    def step(self) -> None:
        """Follow a step that was taken."""
        for scheduler in self.stepped:
            scheduler.step()

    def record(self, terms: Mapping[str, float] | None) -> None:
        """Tell a `ReduceLROnPlateau` of a record, if any: its validation loss, or else its loss."""
        if self.plateau is not None and terms is not None:
            self.plateau.step(terms.get("validation_loss", terms["loss"]))


def _schedule(lr: Callable[[int], float], optimizer: Optimizer) -> LambdaLR:
    """The scheduler of a rate that is a function of the step."""
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = 1.0  # which LambdaLR multiplies

    def rate(step: int) -> float:
        value = lr(step)
        if not _is_rate(value):
            raise ValueError(f"lr({step}) must be a number of at least 0, got {value!r}")
        return float(value)

    return LambdaLR(optimizer, rate)


def _scheduler_of(scheduler: Any, optimizer: Optimizer) -> Any:
    """A scheduler of this optimizer: as it is given, or made by a function or class."""
    if not hasattr(scheduler, "step") or isinstance(scheduler, type):
        if not callable(scheduler):
            raise TypeError(
                "scheduler must be one of torch.optim.lr_scheduler or a function of the optimizer "
                f"that returns one, got {type_name(scheduler)}"
            )
        try:
            scheduler = scheduler(optimizer)
        except TypeError as error:
            raise TypeError(f"scheduler, made of the optimizer: {error}") from error
        if not hasattr(scheduler, "step"):
            raise TypeError(f"scheduler must have a method step, got {type_name(scheduler)}")
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


def first_rate(lr: Rate | None) -> float | None:
    """The rate of the first step; None where there is none.

    Example:
        >>> first_rate(lambda step: 0.5**step)
        1.0
    """
    rate = lr(0) if callable(lr) else lr
    if rate is not None and not _is_rate(rate):
        said = "lr(0)" if callable(lr) else "lr"
        number = isinstance(rate, int | float) and not is_bool(rate)
        raise (ValueError if number else TypeError)(
            f"{said} must be a number of at least 0, or a function of the step, got {rate!r}"
        )
    return rate if rate is None or isinstance(rate, Tensor) else float(rate)


def _is_rate(rate: Any) -> bool:
    number = hasattr(rate, "__float__") and not isinstance(rate, str) and not is_bool(rate)
    return number and 0 <= float(rate) < math.inf


def type_name(value: Any) -> str:
    """What a value is, in words.

    Example:
        >>> type_name("Adam"), type_name(str)
        ('a str', 'the class str')
    """
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
