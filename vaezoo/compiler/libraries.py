"""Which code is one's own, and which comes with Python or is installed."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["is_in_a_library", "users_level"]

_FOLDERS = tuple(
    folder + os.sep
    for folder in {
        *(sysconfig.get_paths()[n] for n in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(str(Path(m.__file__ or "/").parents[1]) for m in (torch, np)),
        str(Path(__file__).parents[1]),
    }
)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that was made at run time


def is_in_a_library(value: Any) -> bool:
    r"""Whether a module, class, function or code comes with Python, or is an installed package.

    What is known of neither its file nor its name is one's own: a module may be made by hand, and
    `sys.modules` may know nothing of it, or another one of its name.

    Example:
        >>> is_in_a_library(torch), is_in_a_library(int), is_in_a_library(lambda: 0)
        (True, True, False)
        >>> exec("class Own:\n    gain = 1.0", scope := {"__name__": "made_by_hand"})
        >>> is_in_a_library(scope["Own"])
        False
    """
    if isinstance(value, types.FunctionType):
        value = value.__code__
    if isinstance(value, types.CodeType):
        return _is_installed(value.co_filename)
    if isinstance(value, types.ModuleType):
        name = value.__name__
        file = None if name == "__main__" else _file_of(name, value)
        return _is_standard(name) if file is None else _is_installed(file)
    return _is_class_of_a_library(value)


def _is_installed(file: str) -> bool:
    return file.startswith(("<frozen ", *_FOLDERS))


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def _is_class_of_a_library(cls: type) -> bool:
    name = cls.__module__
    if not isinstance(name, str):  # some of Cython's have a descriptor there
        return True
    if name == "__main__":
        return False
    module = sys.modules.get(name)
    file, known = _file_of(name, module), _is_found_in(module, cls)
    if not known and (file is None or _is_installed(file)):
        files = [f for f in _files_of_methods(cls) if os.path.isabs(f)]
        if files:
            return all(map(_is_installed, files))
    if file is not None:
        return _is_installed(file)
    return _is_made_by_c(cls) or (known and _is_standard(name))


def _is_found_in(module: Any, cls: type) -> bool:
    """Whether it is the class that a module has by its name: no local one, or of a namesake."""
    found = module
    for part in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found is cls


def _files_of_methods(cls: type) -> Iterator[str]:
    for value in vars(cls).values():
        method = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        method = method.fget if isinstance(method, property) else method
        if isinstance(method, types.FunctionType):
            yield method.__code__.co_filename


def _is_made_by_c(cls: type) -> bool:
    c_methods = types.MethodDescriptorType, types.WrapperDescriptorType
    made_by_python = cls.__flags__ & _HEAP_TYPE
    return not made_by_python or any(isinstance(v, c_methods) for v in vars(cls).values())


def _file_of(name: str, module: Any) -> str | None:
    """Where a module is, or its folder, or else the package that it is in by its name."""
    held = getattr(module, "__dict__", {})  # other attributes may be anything
    folders = (folder + os.sep for folder in held.get("__path__", ()))
    for place in (str(held.get("__file__")), *folders):
        if place.startswith("<frozen ") or os.path.isabs(place):
            return place
    package = name.rpartition(".")[0]
    return _file_of(package, sys.modules.get(package)) if package else None


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
