"""Whole numbers as people write them: 5, `np.int64(5)`, 1e4."""

from __future__ import annotations

import contextlib
import operator
from typing import Any

__all__ = ["as_count", "as_seed", "is_bool"]


def as_count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least `least`, as an int.

    Args:
        name: what the message calls it.
        value: an int, a number of NumPy or torch, or a float without a fraction.

    Raises:
        TypeError: it is no number.
        ValueError: it has a fraction, or is below `least`.

    Example:
        >>> as_count("steps", 1e4)
        10000
        >>> as_count("steps", 0)
        Traceback (most recent call last):
        ...
        ValueError: steps must be at least 1, got 0
    """
    count = _whole(value)
    if count is None:
        none = not hasattr(value, "__float__") or isinstance(value, str) or is_bool(value)
        kind = TypeError if none else ValueError
        raise kind(f"{name} must be a whole number, got {value!r}")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}")
    return count


def as_seed(value: Any) -> int:
    """A whole number that torch's generators are seeded by, from -2^63 to 2^64 - 1.

    Raises:
        TypeError, ValueError: it is no such number.
    """
    seed = as_count("seed", value, least=-(2**63))
    if seed >= 2**64:
        raise ValueError(f"seed must be below 2**64, got {seed}")
    return seed


def is_bool(value: Any) -> bool:
    """Whether it is True or False, be it Python's, NumPy's or torch's.

    Example:
        >>> import numpy
        >>> is_bool(numpy.True_), is_bool(1)
        (True, False)
    """
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def _whole(value: Any) -> int | None:
    if is_bool(value):
        return None
    with contextlib.suppress(TypeError, ValueError):
        return operator.index(value)
    with contextlib.suppress(TypeError, ValueError, AttributeError, RuntimeError):
        return int(value) if float(value).is_integer() and not isinstance(value, str) else None
    return None
