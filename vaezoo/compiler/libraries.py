"""Which code is one's own, and which comes with Python or is installed."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
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
        file = _file_of(sys.modules.get(name))
    return file is None or file.startswith(("<frozen ", *_FOLDERS))


def _file_of(module: types.ModuleType | None) -> str | None:
    """Where a module is; where its folder is, if that is all it has."""
    file = getattr(module, "__file__", None)
    return file or next((folder + os.sep for folder in getattr(module, "__path__", ())), None)


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
