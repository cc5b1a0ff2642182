"""What `fit` calls at each record of the history: functions of yours, or those in `stopping`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

    # one that may stand beside others of its class tells their states from its own by a method
    # `fits_state(state: dict[str, Any]) -> bool | None`; None, or no such method: by their order


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
        """Each callback with its part of a state: one that fits it, or else the next of its class.

        Args:
            state: as `state_dict` has returned it.
            all_of_it: refuse a state that has a part of no callback.

        Raises:
            ResumeError: it has one.
        """
        parts = [(name.partition(" ")[2], own) for name, own in state.items()]
        found = dict[int, tuple[Any, Any]]()
        with_state = [(i, c) for i, c in enumerate(self.each) if isinstance(c, WithState)]
        for answer in (True, None):  # what is somebody's for sure goes first
            for i, callback in with_state:
                fits = getattr(callback, "fits_state", lambda own: None)
                of_kind = (p for p in parts if p[0] == type(callback).__name__)
                part = next((p for p in of_kind if fits(p[1]) is answer), None)
                if part is not None and i not in found:
                    parts = [p for p in parts if p is not part]
                    found[i] = callback, part[1]
        if parts and all_of_it:
            raise ResumeError(
                f"this is a run with the callback {', '.join(kind for kind, _ in parts)}, whose "
                f"state would be lost{_told_apart(parts)}: to go on with it give it too (others "
                "may come); for another run give another folder"
            )
        return [found[i] for i in sorted(found)]


def _told_apart(parts: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """What tells each from others of its class, where its state says that."""
    names = ("term", "higher", "file")
    found = [f"{n}={own[n]!r}" for _, own in parts for n in names if n in own]
    return f" ({', '.join(found)})" if found else ""


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
