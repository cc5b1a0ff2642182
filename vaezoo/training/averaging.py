"""Averages of a model's weights over the steps of its training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["Averages"]

T = TypeVar("T")


class Averages:
    """Exponential averages of all trained weights, as training goes on with the weights themselves.

    Each step, average ← d · average + (1 - d) · weight, where d is the decay, and less at first:
    at step t at most (1 + t) / (10 + t), so that the random start is soon forgotten.
    Buffers, such as those of a batch norm, stay the model's.

    Args:
        weights: all that is trained, parameters of a program included.
        decay: above 0 and below 1; 0.999 averages over about a thousand steps.

    Attributes:
        weights: of which there are averages, in their order.

    Raises:
        ValueError: the decay is no such number.

    References:
        Polyak, Juditsky. Acceleration of Stochastic Approximation by Averaging. 1992.

    Example:
        >>> weight = torch.tensor(0.0)
        >>> averages = Averages([weight], 0.9)
        >>> averages.update() if weight.fill_(11.0) else None
        >>> with averages.in_place():
        ...     round(weight.item(), 4)
        9.0
        >>> weight.item()
        11.0
    """

    def __init__(self, weights: Iterable[Tensor], decay: float) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 < decay < 1:
            raise ValueError(f"average must be a decay above 0 and below 1, got {decay!r}")
        self.decay, self.steps = decay, 0
        self.weights = list(weights)
        self._averages = [p.detach().clone() for p in self.weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._averages, self.weights, share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model has the averages for its weights; what is written there is kept."""
        weights = [p.detach().clone() for p in self.weights]
        self.give()
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, before, average in zip(
                    self.weights, weights, self._averages, strict=True
                ):
                    if torch.equal(weight, average):
                        weight.copy_(before)
                    else:
                        average.copy_(weight)
            torch.clear_autocast_cache()  # which has weights from before, inside an outer autocast

    def seen_by(self, function: Callable[[], T]) -> Callable[[], T]:
        """The same function, called while the model has the averages for its weights."""

        def called() -> T:
            with self.in_place():
                return function()

        return called

    @torch.no_grad()
    def give(self) -> None:
        """Write the averages into the model, for good."""
        torch._foreach_copy_(self.weights, self._averages)
        torch.clear_autocast_cache()  # which has weights from before, inside an outer autocast

    def state_dict(self) -> dict[str, Any]:
        """The averages, and the steps so far."""
        return {"steps": self.steps, "averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, with weights that are in place already."""
        self.steps, known = state["steps"], state["averages"]
        # older checkpoints have none of a program's parameters, which come last
        values = [*known, *self.weights[len(known) :]]
        with torch.no_grad():
            torch._foreach_copy_(self._averages, values)
