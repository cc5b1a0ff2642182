"""What a pair of programs is, and what it takes."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["required_arguments"]


def required_arguments(program: Callable[..., Any]) -> int:
    """How many arguments a program cannot do without; a label that it can infer is none of them.

    Example:
        >>> from vaezoo.models import FSVAE, SSVAE
        >>> required_arguments(SSVAE().model), required_arguments(FSVAE().model)
        (1, 2)
    """
    program = program.forward if isinstance(program, nn.Module) else program
    function = getattr(program, "__func__", program)
    if not inspect.isfunction(function):
        return _required(program)
    if function not in _counts:  # a signature takes tens of microseconds
        _counts[function] = _required(function)
    return max(0, _counts[function] - (function is not program))


_counts: weakref.WeakKeyDictionary[Callable[..., Any], int] = weakref.WeakKeyDictionary()


def _required(program: Callable[..., Any]) -> int:
    parameters = inspect.signature(program).parameters.values()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in named for p in parameters)
