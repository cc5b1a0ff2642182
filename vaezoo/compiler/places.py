"""Where Python code keeps things by name: `state` reads and writes these places, all in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from pyro.poutine.messenger import Messenger
from torch import nn

__all__ = [
    "Attributes",
    "ClassAttributes",
    "Entries",
    "Place",
    "differing",
    "hook_tables",
]

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
        if len(self._names) < len(self._owner):
            return {n: self._owner[n] for n in self._names if n in self._owner}
        return {n: v for n, v in self._owner.items() if n in self._names}

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
