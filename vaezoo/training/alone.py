"""What training and evaluation ask of the processes that they run in, where there is one.

`vaezoo.training.together` answers for several.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torch import Tensor

from vaezoo.bound import Bound
from vaezoo.data.passes import Data
from vaezoo.estimates import Values
from vaezoo.training.interrupts import StopButton
from vaezoo.training.means import Mean
from vaezoo.training.processes import World
from vaezoo.training.step import Step

__all__ = ["Alone", "EndOfShares"]

T = TypeVar("T")


class EndOfShares(Exception):
    """Another process has no batch left, which ends the training of all."""


class Alone:
    """One process: everything is as it is given."""

    world = World()
    has_share = False  # whether the data of an evaluation are shares, after the first batch

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return here

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    def first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, in all processes."""
        return make()

    def noise(self) -> contextlib.AbstractContextManager[None]:
        """Within it the process draws numbers of its own."""
        return contextlib.nullcontext()

    def share(self, data: Data, bound: Bound) -> Data:
        """The process's share of data to train on."""
        return data

    def state_dict(self) -> dict[str, Any]:
        """What the batches of a share depend on, besides their place and the global generators."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""

    def compiles(self, given: bool | None) -> bool | None:
        """An argument `compile`: None lets one process choose by its clock; several never do."""
        if isinstance(given, str) or (given is not None and given not in (True, False)):
            raise TypeError(
                f"compile must be True, False, or None for where it pays, got {given!r}"
            )
        return None if given is None and self.world.size == 1 else bool(given)

    def step(self, bound: Bound, optimizer: Any, max_grad_norm: float | None) -> Step:
        """A step that all take together."""
        return Step(bound, optimizer, max_grad_norm=max_grad_norm)

    def until(self, batches: Iterable[Any], stop: StopButton) -> Iterator[Any]:
        """The batches until somebody presses the stop button."""
        return stop.until(batches)

    def parts(
        self,
        batches: Iterable[Any],
        take: Callable[[Any], list[Tensor]],
        seed: int,
        values: Values | None = None,
        *,
        apart: bool = False,
    ) -> Iterable[Any]:
        """The process's share of the batches of an evaluation, whose values are to be joined."""
        return batches

    def counted(self, rows: int, column: int) -> int:
        """How many rows of a part's column count: where it has none, another's is in place."""
        return rows

    def seed(self, seed: int) -> int:
        """A seed of the process's own noise."""
        return seed

    def means(self, mean: Mean) -> dict[str, float]:
        """The means over what all processes have added."""
        return mean.take()

    def values(self, values: Values) -> Values:
        """The values of all images, in the order of the batches."""
        return values
