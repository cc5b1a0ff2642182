"""The history of training: one record every so many steps, as lists by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vaezoo.training.processes import World

__all__ = ["History"]


class History(dict[str, list[float]]):
    """Lists of equal length by name, one entry for each record: `pandas.DataFrame(history)`.

    Where a term was not reported it is NaN. Terms are nats per image, rec being E_q[log p(x|z)] as
    in `evaluate`, so that bound = rec - kl; log_qy is the mean log q(y|x) of labelled images.

    Attributes:
        stopped: whether the stop button was pressed, and training may have ended early.
        world: rank and number of the processes that trained.
        compiled: how steps ran: "eager"; "compiled" under `compile=True`; where it was left to
            `fit`, "from step 40" or "eager", with a reason if it could not be otherwise.

    Example:
        >>> history = History({"step": [100], "loss": [9.0]})
        >>> history.append({"step": 200, "loss": 8.0, "validation_loss": 8.5})
        >>> history
        {'step': [100, 200], 'loss': [9.0, 8.0], 'validation_loss': [nan, 8.5]}
    """

    stopped: bool = False
    world: World = World()
    compiled: str = "eager"

    def append(self, record: Mapping[str, float]) -> None:
        """Add a record, its terms in the order they come."""
        n = len(next(iter(self.values()), []))
        for name in record:
            self.setdefault(name, [math.nan] * n)
        for name, values in self.items():
            values.append(record.get(name, math.nan))

    @classmethod
    def continuing(cls, before: Mapping[str, Sequence[float]] | None) -> History:
        """A history to go on with, from a copy of an earlier one; an empty one from None.

        Raises:
            ValueError, TypeError: `before` is no history of training.

        Example:
            >>> History.continuing({"loss": [9.0]})
            Traceback (most recent call last):
            ...
            ValueError: history must hold step and seconds, and lists of equal length, as fit \
returns it, got 1 of loss
        """
        if not isinstance(before, Mapping | None):
            raise TypeError(f"history must be a dict of lists, got a {type(before).__name__}")
        lists = {name: _numbers(name, values) for name, values in (before or {}).items()}
        lengths = {name: len(values) for name, values in lists.items()}
        known = not lists or {"step", "seconds"} <= lists.keys()
        if not known or len(set(lengths.values())) > 1:
            raise ValueError(
                "history must hold step and seconds, and lists of equal length, as fit returns "
                f"it, got {', '.join(f'{n} of {name}' for name, n in lengths.items())}"
            )
        return cls(lists) if any(lists.values()) else cls()


def _numbers(name: str, values: Any) -> list[float]:
    """The numbers of a column: of a list, an array or a tensor."""
    try:
        numbers = [v.item() if hasattr(v, "item") else v for v in values]
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"history[{name!r}] must be a list of numbers, got {values!r}") from error
    needed = name in ("step", "seconds")  # the others are missing where they were not reported
    for number in numbers:
        known = isinstance(number, int | float) and not (needed and not math.isfinite(number))
        if not known and (needed or number is not None):
            raise TypeError(f"history[{name!r}] must be a list of numbers, got {number!r} in it")
    return [math.nan if number is None else number for number in numbers]
