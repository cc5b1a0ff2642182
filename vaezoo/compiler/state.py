"""What Python code keeps from one call to the next: attributes, containers, closures, globals.

    state = State({"pair": pair})
    ...              # run its programs
    state.changes()  # the names of what they have changed
    state.restore()

It is looked for from the roots on: in attributes of objects, elements of containers, closures and
defaults of functions, attributes of user classes, and the globals that user functions name; and so
is the code of these functions, which a reload renews in place. What libraries keep for themselves
is left out. Not seen are the places of iterators and generators,
what extensions keep, and writes into tensors (see `writes`).
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import types
from collections import ChainMap, UserDict, UserList, UserString, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from multiprocessing.sharedctypes import SynchronizedBase
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from vaezoo.compiler.containers import Contents, generators
from vaezoo.compiler.libraries import is_in_a_library
from vaezoo.compiler.names import LISTING, imported_by, names_in
from vaezoo.compiler.places import Attributes, ClassAttributes, Entries, Place, differing

__all__ = ["State"]

T = TypeVar("T")
MOST = 20_000  # places, lest it walk through all that a process holds
LONG = 1_000  # elements of a container that are looked into
# what may be set anew on a function, by a reload above all
_RENEWED = "__code__", "__defaults__", "__kwdefaults__"
_CODE = operator.attrgetter(*_RENEWED)

# standard modules whose objects hold what others put in
_NAMESPACES = {"argparse", "types", "_thread"}
_LEAVES = (bool, int, float, complex, str, bytes, type(None), np.generic, Tensor)
# where containers of the standard library keep what is in them
_INSIDE = {UserDict: "data", UserList: "data", UserString: "data", ChainMap: "maps"}
_WRAPPERS: dict[type, Callable[[Any], Iterable[Any]]] = {
    types.MethodType: lambda m: (m.__func__, m.__self__),
    functools.partial: lambda p: (p.func, p.args, p.keywords),
    staticmethod: lambda f: (f.__func__,),
    classmethod: lambda f: (f.__func__,),
    property: lambda p: (p.fget,),
    functools.cached_property: lambda p: (p.func,),
    type(functools.cache(len)): lambda f: (f.__wrapped__,),
    np.random.Generator: lambda g: (g.bit_generator,),
    SynchronizedBase: lambda shared: (shared.get_obj(),),
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
        self._whole = only is not None and LISTING in only
        others, self._known = list(without), list[Any]()  # alive, so that no identity is given away
        self._seen = {id(o) for o in others}
        self._places: list[tuple[Place, dict[Any, Any]]] = []
        self._objects = list[Any]()  # whose class may be set to another
        self._functions = list[types.FunctionType]()
        self._labels = list[str]()
        waiting = deque(roots.items())
        while waiting and len(self._places) < MOST:
            name, value = waiting.popleft()
            if not isinstance(value, _LEAVES) and id(value) not in self._seen:
                self._seen.add(id(value))
                self._known.append(value)
                waiting.extend(self._look(name, value))
        self._classes, self._code = self._kinds(), [*self._codes()]
        if only is None:
            self._places += ((place, place.read()) for place in generators())

    def changes(self) -> list[str]:
        """The names of what differs from when the state was taken."""
        changed = (differing(before, place.read()) for place, before in self._places)
        labels = [f"the class of {name}" for name in self._labels]
        labels += [f"{name} of {f.__qualname__}" for f in self._functions for name in _RENEWED]
        now, before = [*self._kinds(), *self._codes()], [*self._classes, *self._code]
        other = map(operator.is_not, now, before)
        return sorted({*itertools.chain(*changed, itertools.compress(labels, other))})

    def is_current(self) -> bool:
        """Whether nothing differs."""
        same = self._kinds() == self._classes and all(map(operator.is_, self._codes(), self._code))
        return same and not any(differing(before, place.read()) for place, before in self._places)

    def restore(self) -> None:
        """Put back what differs from when the state was taken."""
        for o, cls in zip(self._objects, self._classes, strict=True):
            if type(o) is not cls:
                o.__class__ = cls
        renewed = itertools.product(self._functions, _RENEWED)
        for (function, name), before in zip(renewed, self._code, strict=True):
            if getattr(function, name) is not before:
                setattr(function, name, before)
        for place, before in self._places:
            if differing(before, place.read()):
                place.write(before)

    def modules(self) -> list[nn.Module]:
        """The modules that the roots lead to."""
        return [inner for m in self.of_kind(nn.Module) for inner in m.modules()]

    def of_kind(self, kind: type[T]) -> list[T]:
        """The objects of a class that the roots lead to."""
        return [o for o in self._known if isinstance(o, kind)]

    def _kinds(self) -> list[type]:
        return [*map(type, self._objects)]

    def _codes(self) -> Iterator[Any]:
        """What functions are made of, one after the other."""
        return itertools.chain.from_iterable(map(_CODE, self._functions))

    def _hold(self, place: Place) -> dict[Any, Any]:
        before = place.read()
        if self._only != frozenset():
            self._places.append((place, before))
        return before

    def _look(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Note what a value holds now, and yield what it leads to."""
        wrapped = next((of(value) for kind, of in _WRAPPERS.items() if isinstance(value, kind)), ())
        yield from ((name, w) for w in wrapped)
        if isinstance(value, types.ModuleType):
            if self._only is not None and not is_in_a_library(value):
                yield from self._hold(Entries(vars(value), self._only)).items()
            return
        if isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, dict):
            held = self._hold(Entries(value))
            if len(held) <= LONG:
                yield from ((k if isinstance(k, str) else name, v) for k, v in held.items())
        elif place := Contents.of(name, value):
            held = self._hold(place)[name]
            if isinstance(value, list | deque) and len(held) <= LONG:
                yield from ((name, v) for v in held)
            elif isinstance(value, types.MappingProxyType | ContextVar):
                yield name, held
        if not isinstance(value, type):
            yield from self._object(name, value)

    def _class(self, value: type) -> Iterator[tuple[str, Any]]:
        if not is_in_a_library(value):
            named = None if self._whole else self._only
            yield from self._hold(ClassAttributes(value, named)).items()
            yield from ((c.__name__, c) for c in (type(value), *value.__mro__[1:]))

    def _object(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        for kind, inside in _INSIDE.items():
            if isinstance(value, kind):
                yield from self._hold(Entries(vars(value), frozenset({inside}))).items()
        cls = type(value)
        own = not is_in_a_library(cls)
        standard = cls.__module__.partition(".")[0] in sys.stdlib_module_names - _NAMESPACES
        if standard and not own:
            return
        only = None if self._whole and (own or cls.__module__ in _NAMESPACES) else self._only
        if own or isinstance(value, nn.Module):
            self._objects.append(value)
            self._labels.append(name)
        if isinstance(value, nn.Module) and self._only is not None:
            yield from Entries(vars(value), self._only).read().items()
        elif hasattr(value, "__dict__"):
            yield from self._hold(Entries(vars(value), only)).items()
        for base in cls.__mro__:
            if not is_in_a_library(base):
                yield from self._hold(Attributes(value, _slots(base, only))).items()
                yield base.__name__, base

    def _function(self, value: types.FunctionType) -> Iterator[tuple[str, Any]]:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield from self._hold(Attributes(cell, {"cell_contents": name})).items()
        yield from ((value.__name__, d) for d in (value.__defaults__, value.__kwdefaults__))
        yield from self._hold(Entries(vars(value))).items()
        if not is_in_a_library(value):
            self._functions.append(value)
            names = names_in(value.__code__)
            named = self._hold(Entries(value.__globals__, names))
            yield from named.items()
            yield from self._in_modules([*named.values(), *imported_by(value, names)], names)

    def _in_modules(self, found: list[Any], names: frozenset[str]) -> Iterator[tuple[str, Any]]:
        """What these names are in modules of one's own, and in those that are found there."""
        if self._only is not None:  # each is looked into, by all names
            yield from ((m.__name__, m) for m in found if isinstance(m, types.ModuleType))
            return
        known: set[int] = set()
        for module in found:
            is_module = isinstance(module, types.ModuleType) and id(module) not in known
            if is_module and not is_in_a_library(module):
                known.add(id(module))
                held = self._hold(Entries(vars(module), names))
                yield from held.items()
                found += held.values()


def _slots(cls: type, only: frozenset[str] | None) -> dict[str, str]:
    slots = cls.__dict__.get("__slots__", ())
    names = {slots} if isinstance(slots, str) else {*slots}
    names -= {"__dict__", "__weakref__"}
    return {n: n for n in (names if only is None else names & only)}
