"""Constructor arguments (sizes, numbers, networks), checked where they come in.

What NumPy and torch call an integer becomes an `int`, and a shape a tuple of them, so that a
description of a part is the same wherever its sizes came from.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

__all__ = [
    "activation",
    "module",
    "number",
    "shape",
    "shape_first",
    "size",
    "size_first",
    "without_addresses",
]


def size(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises:
        TypeError: it is no integer.
        ValueError: it is smaller.

    Example:
        >>> import numpy
        >>> size("z_dim", numpy.int64(3))
        3
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or _is_bool(value):
        raise TypeError(f"{name} must be a whole number, such as {max(least, 2)}, got {value!r}")
    if whole < least:
        raise ValueError(f"{name} must be at least {least}, got {whole}")
    return whole


def shape(name: str, value: Any) -> tuple[int, ...]:
    """One or more sizes of at least 1.

    Raises:
        TypeError: it is no sequence of integers.
        ValueError: it is empty, or one is smaller.

    Example:
        >>> shape("hidden", [300, 300])
        (300, 300)
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        line = f"({value},)" if isinstance(value, int) else "(300, 300)"
        raise TypeError(f"{name} must be a sequence of sizes, such as {line}, got {value!r}")
    each = tuple(value)
    try:
        sizes = tuple(size(name, one) for one in each)
    except (TypeError, ValueError) as error:
        wrong = f"{name} must be one or more sizes of at least 1, got {value!r}"
        raise type(error)(wrong) from None
    if not sizes:
        raise ValueError(f"{name} must be one or more sizes of at least 1, got {value!r}")
    return sizes


def number(name: str, value: Any, *, least: float = -math.inf) -> float:
    """A finite number of at least `least`, as a `float`, or as an `int` where it is one.

    Raises:
        TypeError: it is no number.
        ValueError: it is smaller, NaN or infinite.

    Example:
        >>> number("beta", 4, least=0)
        4
    """
    wrong = f"{name} must be a number" + (f" of at least {least:g}" if least > -math.inf else "")
    if _is_bool(value) or isinstance(value, str):
        raise TypeError(f"{wrong}, got {value!r}")
    try:
        converted = value if isinstance(value, int) else float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # the last, of a tensor of several
        raise TypeError(f"{wrong}, got {value!r}") from error
    if not least <= converted < math.inf:
        raise ValueError(f"{wrong}, got {value}")
    return converted


def shape_first(
    kind: str, names: tuple[str, str], x_shape: Any, z_dim: Any
) -> tuple[tuple[int, ...], int]:
    """A shape and a size, in this order.

    Raises:
        TypeError: they came in the other one.

    Example:
        >>> shape_first("DiagonalNormal", ("x_shape", "z_dim"), 10, (1, 28, 28))
        Traceback (most recent call last):
        ...
        TypeError: DiagonalNormal takes x_shape first, then z_dim: DiagonalNormal((1, 28, 28), 10...
    """
    if _is_shape(z_dim) and not _is_shape(x_shape):
        raise TypeError(
            f"{kind} takes {names[0]} first, then {names[1]}: {kind}({tuple(z_dim)}, {x_shape}), "
            f"got {kind}({x_shape}, {tuple(z_dim)})"
        )
    return shape(names[0], x_shape), size(names[1], z_dim)


def size_first(
    kind: str, names: tuple[str, str], z_dim: Any, x_shape: Any
) -> tuple[int, tuple[int, ...]]:
    """A size and a shape, in this order.

    Raises:
        TypeError: they came in the other one.
    """
    if _is_shape(z_dim) and not _is_shape(x_shape):
        raise TypeError(
            f"{kind} takes {names[0]} first, then {names[1]}: {kind}({x_shape}, {tuple(z_dim)}), "
            f"got {kind}({tuple(z_dim)}, {x_shape})"
        )
    return size(names[0], z_dim), shape(names[1], x_shape)


def activation(value: Any) -> Callable[[], nn.Module]:
    """A class or function that makes a module.

    Raises:
        TypeError: it is a module already, or cannot be called.
    """
    if isinstance(value, nn.Module) or not callable(value):
        raise TypeError(
            f"activation must be a class of module, such as torch.nn.ELU, got {value!r}"
        )
    maker: Callable[[], nn.Module] = value
    return maker


def module(name: str, value: Any) -> Any:
    """A network: a torch module, or a function without parameters.

    Raises:
        TypeError: it is a class, or cannot be called.
    """
    if isinstance(value, type):
        raise TypeError(f"{name} must be a module, got the class {value.__name__}: make one of it")
    if not callable(value):
        raise TypeError(f"{name} must be a module, got {value!r}")
    return value


def _is_shape(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def without_addresses(text: str) -> str:
    """A repr without addresses in memory, which differ from one process to the next.

    Example:
        >>> without_addresses("<function f at 0x7f01>")
        '<function f>'
    """
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _is_bool(value: Any) -> bool:
    """Whether it is True or False, be it Python's, NumPy's or torch's."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
