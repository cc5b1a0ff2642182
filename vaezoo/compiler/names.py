"""What code may look up by name: attributes, globals, and modules that it imports as it runs."""

from __future__ import annotations

import dis
import itertools
import operator
import sys
import types
from collections.abc import Iterable, Iterator

from vaezoo.compiler.libraries import is_in_a_library

__all__ = ["LISTING", "asked_by", "imported_by", "names_in"]

# with which code looks up attributes that it does not name
LISTING = {"vars", "dir", "asdict", "astuple", "fields", "getmembers", "getmembers_static"}
LISTING |= {"__dict__", "__slots__", "__match_args__"}


def names_in(code: types.CodeType) -> frozenset[str]:
    """The names of globals and attributes that code may look up, and that of functions inside it.

    Example:
        >>> sorted(names_in((lambda x: getattr(x, "scale") + x.shift).__code__))
        ['getattr', 'scale', 'shift']
        >>> sorted(names_in((lambda x: [getattr(x, n) for n in ("a.b", "c")]).__code__))
        ['a', 'a.b', 'b', 'c', 'getattr']
    """
    inner = (names_in(c) for c in code.co_consts if isinstance(c, types.CodeType))
    by_place = (i.arg for i in dis.get_instructions(code) if i.opname == "MATCH_CLASS")
    more = {"__match_args__"} if any(by_place) else set()
    return frozenset(code.co_names).union(_strings(code.co_consts), more, *inner)


def _strings(constants: Iterable[object]) -> Iterator[str]:
    """Those that may be names, dotted ones and each of their parts."""
    for c in constants:
        if isinstance(c, tuple | frozenset):
            yield from _strings(c)
        elif isinstance(c, str) and all(map(str.isidentifier, parts := c.split("."))):
            yield from {c, *parts}


def asked_by(getters: Iterable[operator.attrgetter[object]]) -> frozenset[str]:
    """The names that `operator.attrgetter`s look up.

    Example:
        >>> sorted(asked_by([operator.attrgetter("scale.raw")]))
        ['raw', 'scale', 'scale.raw']
    """
    return frozenset(_strings(getter.__reduce__()[1] for getter in getters))


def imported_by(function: types.FunctionType, names: frozenset[str]) -> list[types.ModuleType]:
    """Modules of one's own among names that a function looks up, by itself or in its packages.

    Example:
        >>> imported_by(imported_by, frozenset({"dis", "names"}))
        []
    """
    packages = str(function.__globals__.get("__package__") or "").split(".")
    folders = ["", *(f"{p}." for p in itertools.accumulate(packages, "{}.{}".format))]
    found = (sys.modules.get(folder + name) for folder in folders for name in names)
    return [m for m in found if isinstance(m, types.ModuleType) and not is_in_a_library(m)]
