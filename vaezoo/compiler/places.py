"""Where Python code keeps things: the places that `state` reads and writes, all in one way."""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import nn

__all__ = [
    "Attributes",
    "ClassAttributes",
    "Contents",
    "Entries",
    "Place",
    "differing",
    "generators",
    "hook_tables",
]

HUGE = 2**26  # bytes

_COMPARED = (bool, int, float, complex, str, bytes, frozenset, np.generic)
_ABSENT = object()


class Place(Protocol):
    """Something that holds values by name."""

    def read(self) -> dict[Any, Any]:
        """What it holds now, copied."""

    def write(self, values: dict[Any, Any]) -> None:
        """Put these values back."""


class Entries:
    """A dictionary, or some of its entries.

    Example:
        >>> d = {"a": 1, "b": 2}
        >>> place = Entries(d, frozenset("a"))
        >>> before = place.read()
        >>> d.update(a=3, b=4)
        >>> place.write(before)
        >>> before, d
        ({'a': 1}, {'a': 1, 'b': 4})
    """

    def __init__(self, owner: dict[Any, Any], names: frozenset[str] | None = None) -> None:
        self._owner, self._names = owner, names

    def read(self) -> dict[Any, Any]:
        """What it holds now, copied."""
        if self._names is None:
            return dict(self._owner)
        return {n: self._owner[n] for n in self._names if n in self._owner}

    def write(self, values: dict[Any, Any]) -> None:
        """Put these values back."""
        for name in self.read().keys() - values.keys():
            del self._owner[name]
        self._owner.update(values)


class Attributes:
    """What an object holds in its slots, or a cell as its contents."""

    def __init__(self, owner: Any, labels: Mapping[str, str]) -> None:
        self._owner, self._labels = owner, labels

    def read(self) -> dict[str, Any]:
        """What it holds now, by label."""
        values = {}
        for name, label in self._labels.items():
            try:
                values[label] = getattr(self._owner, name)
            except (AttributeError, ValueError):  # an empty slot, an empty cell
                continue
        return values

    def write(self, values: dict[str, Any]) -> None:
        """Put these values back."""
        for name, label in self._labels.items():
            if label in values:
                setattr(self._owner, name, values[label])
            elif hasattr(self._owner, name):
                delattr(self._owner, name)


class ClassAttributes:
    """The attributes of a class: of these names, or all but those that Python itself sets."""

    def __init__(self, owner: type, names: frozenset[str] | None = None) -> None:
        self._owner, self._names = owner, names

    def read(self) -> dict[str, Any]:
        """What it holds now, copied."""
        own = vars(self._owner)
        if self._names is not None:
            return {n: own[n] for n in self._names if n in own}
        return {n: v for n, v in own.items() if not n.startswith(("__", "_abc_"))}

    def write(self, values: dict[str, Any]) -> None:
        """Put these values back."""
        now = self.read()
        for name in now.keys() - values.keys():
            delattr(self._owner, name)
        for name, value in values.items():
            if now.get(name, _ABSENT) is not value:
                setattr(self._owner, name, value)


class Contents:
    """What a container or a random generator holds, under one name.

    Example:
        >>> losses = [3.0]
        >>> place = Contents.of("losses", losses)
        >>> before = place.read()
        >>> losses.append(2.0)
        >>> differing(before, place.read())
        ['losses']
        >>> place.write(before)
        >>> losses
        [3.0]
    """

    def __init__(self, name: str, read: Callable[[], Any], write: Callable[[Any], Any]) -> None:
        self._name, self._read, self._write = name, read, write

    @classmethod
    def of(cls, name: str, owner: Any) -> Contents | None:
        """The contents of an object; None if its kind is not known, or it is a huge array."""
        if isinstance(owner, np.ndarray) and owner.nbytes > HUGE:
            return None
        known = ((read, write) for kind, read, write in _KINDS if isinstance(owner, kind))
        read, write = next(known, (None, None))
        if read is None or write is None:
            return None
        return cls(name, functools.partial(read, owner), functools.partial(write, owner))

    def read(self) -> dict[str, Any]:
        """What it holds now, copied."""
        return {self._name: self._read()}

    def write(self, values: dict[str, Any]) -> None:
        """Put these values back."""
        self._write(values[self._name])


def generators() -> list[Contents]:
    """The generators behind the functions of `random` and of `numpy.random`."""
    return [
        Contents("Python's random numbers", random.getstate, random.setstate),
        Contents("NumPy's random numbers", np.random.get_state, np.random.set_state),
    ]


def hook_tables(modules: Iterable[nn.Module]) -> list[dict[Any, Any]]:
    """Where torch keeps the hooks that run with these modules, and those that run with any."""
    everywhere = nn.modules.module
    tables = [
        everywhere._global_forward_hooks,
        everywhere._global_forward_pre_hooks,
        everywhere._global_backward_hooks,
        everywhere._global_backward_pre_hooks,
    ]
    for m in modules:
        tables += [m._forward_hooks, m._forward_pre_hooks]
        tables += [m._backward_hooks, m._backward_pre_hooks]
    return tables


def differing(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[str]:
    """The names whose values are neither the same object nor equal numbers, strings or arrays.

    Example:
        >>> differing({"a": 1.5, "b": [], "c": 0}, {"a": 1.5, "b": [2]})
        ['b', 'c']
    """
    names = before if before.keys() == after.keys() else {**before, **after}
    return [str(n) for n in names if not _same(before.get(n, _ABSENT), after.get(n, _ABSENT))]


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, _COMPARED):
        return bool(a == b or (a != a and b != b))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return isinstance(a, Messenger)  # equal ones may be rebuilt at each call: an autoguide's plates


def _refill(owner: Any, values: Any) -> None:
    owner.clear()
    owner.extend(values)


def _renew(owner: set[Any], values: frozenset[Any]) -> None:
    owner.clear()
    owner.update(values)


def _flat(state: Any) -> Any:
    """A generator's state with tuples in the place of dictionaries."""
    return tuple((k, _flat(v)) for k, v in state.items()) if isinstance(state, dict) else state


def _deep(state: Any) -> Any:
    return {k: _deep(v) for k, v in state} if isinstance(state, tuple) else state


_KINDS: Sequence[tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any]]] = (
    ((list, deque, bytearray), tuple, _refill),
    (set, frozenset, _renew),
    (np.ndarray, np.copy, lambda owner, value: owner.__setitem__(..., value)),
    (random.Random, random.Random.getstate, random.Random.setstate),
    (
        np.random.RandomState,
        np.random.RandomState.get_state,
        np.random.RandomState.set_state,
    ),
    (
        np.random.BitGenerator,
        lambda owner: _flat(owner.state),
        lambda owner, value: setattr(owner, "state", _deep(value)),
    ),
    (
        torch.Generator,
        lambda owner: owner.get_state().numpy().tobytes(),
        lambda owner, value: owner.set_state(torch.frombuffer(bytearray(value), dtype=torch.uint8)),
    ),
)
