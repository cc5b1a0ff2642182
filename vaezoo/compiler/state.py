"""What Python code keeps from one call to the next: attributes, containers, closures, globals.

    state = State({"pair": pair})
    ...              # run its programs
    state.changes()  # the names of what they have changed
    state.restore()

It is looked for from the roots on: in attributes of objects, elements of containers, closures and
defaults of functions, attributes of user classes, and the globals that user functions name. What
libraries keep for themselves is left out. Not seen are the places of iterators and generators,
what extensions keep, and writes into tensors (see `writes`).
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaezoo.compiler.places import (
    Attributes,
    ClassAttributes,
    Contents,
    Entries,
    Place,
    differing,
    generators,
)

__all__ = ["State", "is_in_a_library", "names_in", "users_level"]

MOST = 20_000  # places, lest it walk through all that a process holds
LONG = 1_000  # elements of a container that are looked into

_FOLDERS = tuple(
    folder + os.sep
    for folder in {
        *(sysconfig.get_paths()[n] for n in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(str(Path(m.__file__ or "/").parents[1]) for m in (torch, np)),
        str(Path(__file__).parents[1]),
    }
)
_NAMESPACES = {"argparse", "types"}  # standard modules whose objects hold what others put in
_LEAVES = (bool, int, float, complex, str, bytes, type(None), np.generic, Tensor, types.ModuleType)
_WRAPPERS: dict[type, Callable[[Any], Iterable[Any]]] = {
    types.MethodType: lambda m: (m.__func__, m.__self__),
    functools.partial: lambda p: (p.func, p.args, p.keywords),
    staticmethod: lambda f: (f.__func__,),
    classmethod: lambda f: (f.__func__,),
    property: lambda p: (p.fget,),
    functools.cached_property: lambda p: (p.func,),
    np.random.Generator: lambda g: (g.bit_generator,),
    tuple: lambda t: t,
    frozenset: lambda s: s,
}


class State:
    """All that some objects lead to, as it is now.

    Args:
        roots: objects by name.
        without: objects that are not looked into.
        only: names of the attributes and globals that are looked into; all by default. The
            attributes of modules are then not held, but what they lead to is.

    Example:
        >>> calls = [0]
        >>> state = State({"calls": calls})
        >>> calls[0] += 1
        >>> state.changes()
        ['calls']
        >>> state.restore()
        >>> calls
        [0]
    """

    def __init__(
        self,
        roots: Mapping[str, Any],
        *,
        without: Iterable[Any] = (),
        only: frozenset[str] | None = None,
    ) -> None:
        self._only = only
        self._known = list(without)  # alive, so that no identity is given away
        self._seen = {id(o) for o in self._known}
        self._places: list[tuple[Place, dict[Any, Any]]] = []
        waiting = deque(roots.items())
        while waiting and len(self._places) < MOST:
            name, value = waiting.popleft()
            if not isinstance(value, _LEAVES) and id(value) not in self._seen:
                self._seen.add(id(value))
                self._known.append(value)
                waiting.extend(self._look(name, value))
        if only is None:
            self._places += ((place, place.read()) for place in generators())

    def changes(self) -> list[str]:
        """The names of what differs from when the state was taken."""
        changed = (differing(before, place.read()) for place, before in self._places)
        return sorted({name for names in changed for name in names})

    def is_current(self) -> bool:
        """Whether nothing differs."""
        return not any(differing(before, place.read()) for place, before in self._places)

    def restore(self) -> None:
        """Put back what differs from when the state was taken."""
        for place, before in self._places:
            if differing(before, place.read()):
                place.write(before)

    def modules(self) -> list[nn.Module]:
        """The modules that the roots lead to."""
        return [m for o in self._known if isinstance(o, nn.Module) for m in o.modules()]

    def _hold(self, place: Place) -> dict[Any, Any]:
        before = place.read()
        if self._only != frozenset():
            self._places.append((place, before))
        return before

    def _look(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Note what a value holds now, and yield what it leads to."""
        wrapped = next((of(value) for kind, of in _WRAPPERS.items() if isinstance(value, kind)), ())
        yield from ((name, w) for w in wrapped)
        if isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            if not is_in_a_library(value):
                yield from self._hold(ClassAttributes(value, self._only)).items()
        elif isinstance(value, dict):
            held = self._hold(Entries(value))
            if len(held) <= LONG:
                yield from ((k if isinstance(k, str) else name, v) for k, v in held.items())
        elif place := Contents.of(name, value):
            held = self._hold(place)[name]
            if isinstance(value, list | deque) and len(held) <= LONG:
                yield from ((name, v) for v in held)
        if not isinstance(value, type):
            yield from self._object(value)

    def _object(self, value: Any) -> Iterator[tuple[str, Any]]:
        cls = type(value)
        if cls.__module__.partition(".")[0] in sys.stdlib_module_names - _NAMESPACES:
            return
        if isinstance(value, nn.Module) and self._only is not None:
            yield from Entries(vars(value), self._only).read().items()
        elif hasattr(value, "__dict__"):
            yield from self._hold(Entries(vars(value), self._only)).items()
        for base in cls.__mro__:
            if not is_in_a_library(base):
                slots = base.__dict__.get("__slots__", ())
                names = {slots} if isinstance(slots, str) else {*slots}
                names -= {"__dict__", "__weakref__"}
                chosen = names if self._only is None else names & self._only
                yield from self._hold(Attributes(value, {n: n for n in chosen})).items()
                yield base.__name__, base

    def _function(self, value: types.FunctionType) -> Iterator[tuple[str, Any]]:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield from self._hold(Attributes(cell, {"cell_contents": name})).items()
        yield from ((value.__name__, d) for d in (value.__defaults__, value.__kwdefaults__))
        yield from self._hold(Entries(vars(value))).items()
        if not is_in_a_library(value):
            names = names_in(value.__code__)
            named = self._hold(Entries(value.__globals__, names))
            yield from named.items()
            for module in named.values():
                if isinstance(module, types.ModuleType) and not is_in_a_library(module):
                    yield from self._hold(Entries(vars(module), names)).items()


def names_in(code: types.CodeType) -> frozenset[str]:
    """The names of globals and attributes that code may look up, and that of functions inside it.

    Example:
        >>> sorted(names_in((lambda x: getattr(x, "scale") + x.shift).__code__))
        ['getattr', 'scale', 'shift']
    """
    strings = (c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
    inner = (names_in(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return frozenset(code.co_names).union(strings, *inner)


def is_in_a_library(value: Any) -> bool:
    """Whether a module, class, function or code comes with Python, or is an installed package.

    Example:
        >>> is_in_a_library(torch), is_in_a_library(int), is_in_a_library(lambda: 0)
        (True, True, False)
    """
    if isinstance(value, types.CodeType):
        file: str | None = value.co_filename
    elif isinstance(value, types.FunctionType):
        file = value.__code__.co_filename
    else:
        name = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
        if name == "__main__":
            return False
        file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or file.startswith(("<frozen ", *_FOLDERS))


def users_level() -> int:
    """The stack level, for a warning, of the nearest line of code outside of libraries.

    Example:
        >>> eval("users_level()", {"users_level": users_level})
        1
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and is_in_a_library(frame.f_code):
        frame, level = frame.f_back, level + 1
    return level
