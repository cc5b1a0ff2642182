"""What containers, arrays and random generators hold: places without names."""

from __future__ import annotations

import ctypes
import functools
import random
import types
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

__all__ = ["Contents", "generators"]

HUGE = 2**26  # bytes


class Contents:
    """What a container or a random generator holds, under one name.

    Example:
        >>> from vaezoo.compiler.places import differing
        >>> losses = [3.0]
        >>> place = Contents.of("losses", losses)
        >>> before = place.read()
        >>> losses.append(2.0)
        >>> differing(before, place.read())
        ['losses']
        >>> place.write(before)
        >>> losses
        [3.0]
    """

    def __init__(self, name: str, read: Callable[[], Any], write: Callable[[Any], Any]) -> None:
        self._name, self._read, self._write = name, read, write

    @classmethod
    def of(cls, name: str, owner: Any) -> Contents | None:
        """The contents of an object; None if its kind is not known, or it is a huge array."""
        if isinstance(owner, np.ndarray) and owner.nbytes > HUGE:
            return None
        known = ((read, write) for kind, read, write in _KINDS if isinstance(owner, kind))
        read, write = next(known, (None, None))
        if read is None or write is None:
            return None
        return cls(name, functools.partial(read, owner), functools.partial(write, owner))

    def read(self) -> dict[str, Any]:
        """What it holds now, copied."""
        return {self._name: self._read()}

    def write(self, values: dict[str, Any]) -> None:
        """Put these values back."""
        self._write(values[self._name])


def generators() -> list[Contents]:
    """The generators behind the functions of `random` and of `numpy.random`."""
    return [
        Contents("Python's random numbers", random.getstate, random.setstate),
        Contents("NumPy's random numbers", np.random.get_state, np.random.set_state),
    ]


def _refill(owner: Any, values: Any) -> None:
    owner.clear()
    owner.extend(values)


def _refill_array(owner: array[Any], values: bytes) -> None:
    del owner[:]
    owner.frombytes(values)


def _set_variable(owner: ContextVar[Any], value: Any) -> None:
    if owner.get(None) is not value:
        owner.set(value)


def _write_bytes(owner: Any, values: bytes) -> None:
    memoryview(owner).cast("B")[:] = values


def _renew(owner: set[Any], values: frozenset[Any]) -> None:
    owner.clear()
    owner.update(values)


def _flat(state: Any) -> Any:
    """A generator's state with tuples in the place of dictionaries."""
    return tuple((k, _flat(v)) for k, v in state.items()) if isinstance(state, dict) else state


def _deep(state: Any) -> Any:
    return {k: _deep(v) for k, v in state} if isinstance(state, tuple) else state


_KINDS: Sequence[tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any]]] = (
    ((list, deque, bytearray), tuple, _refill),
    (array, array.tobytes, _refill_array),
    (set, frozenset, _renew),
    (types.MappingProxyType, dict, lambda owner, value: None),  # of a dictionary that others hold
    (ContextVar, lambda owner: owner.get(None), _set_variable),
    (ctypes.c_int.__mro__[2], bytes, _write_bytes),
    (np.ndarray, np.copy, lambda owner, value: owner.__setitem__(..., value)),
    (random.Random, random.Random.getstate, random.Random.setstate),
    (
        np.random.RandomState,
        np.random.RandomState.get_state,
        np.random.RandomState.set_state,
    ),
    (
        np.random.BitGenerator,
        lambda owner: _flat(owner.state),
        lambda owner, value: setattr(owner, "state", _deep(value)),
    ),
    (
        torch.Generator,
        lambda owner: owner.get_state().numpy().tobytes(),
        lambda owner, value: owner.set_state(torch.frombuffer(bytearray(value), dtype=torch.uint8)),
    ),
)
