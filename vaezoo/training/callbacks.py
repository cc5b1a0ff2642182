"""What `fit` calls at each record of the history: functions of yours, or those in `stopping`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vaezoo.training.errors import ResumeError
from vaezoo.training.rates import type_name

__all__ = ["Callback", "Callbacks", "WithState", "term_of"]

Record = dict[str, float]
Callback = Callable[[Record], object]


@runtime_checkable
class WithState(Protocol):
    """What goes on where it was when a run is resumed."""

    def state_dict(self) -> dict[str, Any]:
        """What there is to go on from, in tensors, numbers, texts, lists and dictionaries."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Go on from what `state_dict` has returned."""


class Callbacks:
    """Several callbacks as one, with the state of those that have one.

    Args:
        given: one, several in a list, or none.

    Raises:
        TypeError: one of them cannot be called.

    Example:
        >>> seen = []
        >>> callbacks = Callbacks([lambda r: r["loss"] < 2, seen.append])
        >>> callbacks({"loss": 1.0}), seen
        (True, [{'loss': 1.0}])
    """

    def __init__(self, given: Callback | Sequence[Callback] | None) -> None:
        single = given is None or callable(given) or not isinstance(given, Sequence)
        self.each: list[Any] = [c for c in ([given] if single else given) if c is not None]  # type: ignore[union-attr]
        for callback in self.each:
            if not callable(callback) or isinstance(callback, type):
                raise TypeError(
                    "callback must be a function of the record, or a list of such, got "
                    f"{type_name(callback)}"
                )

    def __call__(self, record: Record) -> bool:
        """Call each, whatever the others say; returns whether one has returned True."""
        answers = [callback(record) for callback in self.each]
        return any(map(_is_true, answers))

    def begin_anew(self) -> None:
        """Let those that count records begin anew."""
        for callback in self.each:
            if hasattr(callback, "begin_anew"):
                callback.begin_anew()

    def state_dict(self) -> dict[str, Any]:
        """The state of each that has one, by its place in the list and its class."""
        with_state = ((i, c) for i, c in enumerate(self.each) if isinstance(c, WithState))
        return {f"{i} {type(c).__name__}": c.state_dict() for i, c in with_state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state of each back, wherever in the list it is now (see `matched`)."""
        for callback, own in self.matched(state):
            callback.load_state_dict(own)

    def matched(self, state: Mapping[str, Any], *, all_of_it: bool = True) -> list[tuple[Any, Any]]:
        """Each callback with its part of a state: the first of a class with the first, and so on.

        Args:
            state: as `state_dict` has returned it.
            all_of_it: refuse a state that has a part of no callback.

        Raises:
            ResumeError: it has one.
        """
        parts = [(name.partition(" ")[2], own) for name, own in state.items()]
        found = []
        for callback in self.each:
            kind = type(callback).__name__
            place = next((i for i, (name, _) in enumerate(parts) if name == kind), None)
            if place is not None and isinstance(callback, WithState):
                found.append((callback, parts.pop(place)[1]))
        if parts and all_of_it:
            raise ResumeError(
                f"this is a run with the callback {', '.join(name for name, _ in parts)}, whose "
                "state would be lost: to go on with it give it too (others may come); for another "
                "run give another folder"
            )
        return found


def _is_true(answer: object) -> bool:
    """True of Python, NumPy or torch; what else a function may return is no answer."""
    if isinstance(answer, Tensor) and answer.dtype == torch.bool and answer.numel() == 1:
        return bool(answer)
    return isinstance(answer, bool | np.bool_) and bool(answer)


def term_of(record: Mapping[str, float], name: str) -> float:
    """A term of a record, or an error that names those it has.

    Example:
        >>> term_of({"step": 100, "loss": 9.0}, "validation_loss")
        Traceback (most recent call last):
        ...
        ValueError: a record has the terms loss, got 'validation_loss': give fit validation \
data, or name another term
    """
    if name not in record:
        terms = ", ".join(n for n in record if n not in ("step", "seconds"))
        raise ValueError(
            f"a record has the terms {terms}, got {name!r}: give fit validation data, or name "
            "another term"
        )
    return record[name]
