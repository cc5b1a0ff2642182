"""What code may look up by name: attributes, globals, and modules that it imports as it runs."""

from __future__ import annotations

import dis
import functools
import itertools
import operator
import sys
import types
from collections.abc import Iterable, Iterator

from vaezoo.compiler.libraries import is_in_a_library

__all__ = ["LISTING", "asked_by", "imported_by", "names_in"]

LISTING = "vars()"  # among names: code looks up attributes that it does not name
_LISTS = {"vars", "dir", "asdict", "astuple", "fields", "getmembers", "getmembers_static"}
_INSIDE = {"__dict__", "__slots__"}
_MODULES = {"dataclasses", "inspect"}
_GETTERS = {"getattr", "hasattr", "attrgetter", "methodcaller", "__getattribute__"}
_WITH_NAMES = {"CALL_KW", "BUILD_CONST_KEY_MAP"}  # of the tuple before: of arguments, or keys


@functools.lru_cache(4096)
def names_in(code: types.CodeType) -> frozenset[str]:
    """The names of globals and attributes that code may look up, and that of functions inside it.

    Strings in tuples are names where the code looks something up by a string; the names of
    arguments and keys are none.

    Example:
        >>> sorted(names_in((lambda x: getattr(x, "scale") + x.shift).__code__))
        ['getattr', 'scale', 'shift']
        >>> sorted(names_in((lambda x: [getattr(x, n) for n in ("a.b", "c")]).__code__))
        ['a', 'a.b', 'b', 'c', 'getattr']
        >>> sorted(names_in((lambda x: x.sample(obs=x, dim=1)).__code__))
        ['sample']
    """
    steps, plain = [*dis.get_instructions(code)], [c for c in code.co_consts if type(c) is str]
    inner = frozenset[str]().union(
        *(names_in(c) for c in code.co_consts if isinstance(c, types.CodeType))
    )
    names = inner.union(code.co_names, _strings(plain))
    matches = [i for i in steps if i.opname == "MATCH_CLASS"]
    if matches or not _GETTERS.isdisjoint(names):
        names = names.union(_strings(_tuples(code, steps)))
    lists = any(i.arg for i in matches) or _lists(code, steps)
    return names | {LISTING} if lists else names


def _tuples(code: types.CodeType, steps: list[dis.Instruction]) -> list[object]:
    """Constants of several, but for names of arguments and keys."""
    named = {i.arg for i in steps if i.opname == "KW_NAMES"}
    before = itertools.pairwise(steps)
    named |= {a.arg for a, b in before if a.opname == "LOAD_CONST" and b.opname in _WITH_NAMES}
    held = enumerate(code.co_consts)
    return [c for i, c in held if isinstance(c, tuple | frozenset) and i not in named]


def _lists(code: types.CodeType, steps: list[dis.Instruction]) -> bool:
    """Whether code calls what lists attributes, or asks for the dictionary of an object."""
    of_modules = not _MODULES.isdisjoint(code.co_names)
    for step in steps:
        by_name = "GLOBAL" in step.opname or "NAME" in step.opname
        if step.argval in _LISTS and (of_modules or by_name):
            return True
        if step.argval in _INSIDE and "ATTR" in step.opname:
            return True
    return False


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
