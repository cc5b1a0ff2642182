"""What a member is given to draw from: numbers of images, labels and codes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from vaezoo import arguments

__all__ = ["as_codes", "drawing", "how_many", "is_drawing"]

_drawing: ContextVar[bool] = ContextVar("drawing", default=False)


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Within it images are to be drawn: those a program is called with only say how many."""
    token = _drawing.set(True)
    try:
        yield
    finally:
        _drawing.reset(token)


def is_drawing() -> bool:
    """Whether we are within `drawing`."""
    return _drawing.get()


def as_codes(name: str, value: Any, size: int, like: Tensor) -> Tensor:
    """Codes (n, size) as a tensor; numbers that are no tensor take on the model's dtype."""
    if isinstance(value, Tensor) and value.dtype != like.dtype:
        raise ValueError(
            f"expected codes {name} of dtype {like.dtype} like the model's parameters, got "
            f"{value.dtype}: convert with {name}.to({like.dtype})"
        )
    try:
        codes = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"codes {name} must be numbers (n, {size}), got {value!r}") from error
    if codes.dim() != 2 or codes.shape[1] != size or not len(codes):
        one = f": one code is {name}[None]" if codes.shape == (size,) else ""
        raise ValueError(f"expected codes {name} (n, {size}), got {tuple(codes.shape)}{one}")
    return codes


def how_many(n: Any, codes: list[Tensor], labels: Tensor | None) -> int:
    """n, or the number of codes, or that of labels; one code is for all.

    Raises:
        ValueError: n and codes differ.
    """
    lengths = {len(t) for t in codes} - {1}
    if len(lengths) > 1:
        raise ValueError(f"codes must be as many, got {sorted(lengths)}")
    if n is None:
        many = lengths or {len(t) for t in (labels,) if t is not None and t.dim()}
        return many.pop() if many else 1
    n = arguments.size("n", n)
    if lengths and {n} != lengths:
        raise ValueError(f"n is {n}, and there are {lengths.pop()} codes: leave n out")
    return n
