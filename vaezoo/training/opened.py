"""Batches of which the first one may be looked at before it is taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from vaezoo.data.positions import Passes
from vaezoo.scopes import OwnGenerator, one_thread
from vaezoo.training.alone import Alone
from vaezoo.training.randomness import random_state, restore_random_state

__all__ = ["Opened", "in_turn"]

T = TypeVar("T")


class Opened(Iterator[Any]):
    """All batches of a training, the first of them made already, and their place in the data.

    Args:
        passes: that make the batches, threads taking turns.
        here: the processes that share the data out, if there are several.

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

    def __init__(self, passes: Passes, here: Alone | None = None) -> None:
        self._passes, self._here = passes, Alone() if here is None else here
        self._before: dict[str, Any] | None = self._state()
        self._batches = in_turn(passes)
        self.first = next(self._batches)

    def __next__(self) -> Any:
        if self._before is not None:
            self._before = None
            return self.first
        return next(self._batches)

    def close(self) -> None:
        """Let go of what makes them; there are no more."""
        self._passes.close()

    def state_dict(self) -> dict[str, Any]:
        """Where they are in the data, and the random numbers that the batches to come draw.

        Raises:
            TypeError: the data cannot say where they are.
        """
        now = self._state()
        return now if self._before is None else self._before  # as if the first had not been made

    def _state(self) -> dict[str, Any]:
        place, share = self._passes.state_dict(), self._here.state_dict()
        return {"place": place, "random": random_state(), "share": share}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, with random numbers from there."""
        self._before = None
        restore_random_state(state["random"])
        self._here.load_state_dict(state.get("share", {}))
        self._passes.load_state_dict(state["place"])
        # once more: a loader whose pass is begun again draws what it drew when the pass began
        restore_random_state(state["random"])
        self._batches = in_turn(self._passes)


def in_turn(items: Iterable[T], seed: int | None = None) -> Iterator[T]:
    """The same items, each made within `one_thread`, as loaders draw from global generators.

    Args:
        items: such as the batches of a loader.
        seed: of what making them draws, which leaves the global generators alone then.

    Example:
        >>> list(in_turn("ab"))
        ['a', 'b']
    """
    apart = contextlib.nullcontext if seed is None else OwnGenerator(seed).drawn
    with one_thread(), apart():
        left = iter(items)
    while True:
        with one_thread(), apart():
            try:
                item = next(left)
            except StopIteration:
                return
        yield item
