"""Batches of which the first one may be looked at before it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vaezoo.data.positions import Passes
from vaezoo.scopes import in_turn
from vaezoo.training.randomness import random_state, restore_random_state

__all__ = ["Opened"]


class Opened(Iterator[Any]):
    """All batches of a training, the first of them made already, and their place in the data.

    Args:
        passes: that make the batches, threads taking turns.

    Attributes:
        first: the first batch.

    Raises:
        Exception: whatever the data raise for the first batch.

    Example:
        >>> from vaezoo.data.passes import passes
        >>> batches = Opened(passes(["a", "b"], 1, steps=3, epochs=None)[0])
        >>> batches.first, list(batches)
        ('a', ['a', 'b', 'a'])
    """

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._before: tuple[Any, Any] | None = (passes.state_dict(), random_state())
        self._batches = in_turn(passes)
        self.first = next(self._batches)

    def __next__(self) -> Any:
        if self._before is not None:
            self._before = None
            return self.first
        return next(self._batches)

    def state_dict(self) -> dict[str, Any]:
        """Where they are in the data, and the random numbers that the batches to come draw.

        Raises:
            TypeError: the data cannot say where they are.
        """
        place = self._passes.state_dict()
        if self._before is not None:  # as if the first one had not been looked at
            place, random = self._before
        else:
            random = random_state()
        return {"place": place, "random": random}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, with random numbers from there."""
        self._before = None
        restore_random_state(state["random"])
        self._passes.load_state_dict(state["place"])
        self._batches = in_turn(self._passes)
