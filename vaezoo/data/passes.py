"""Passes over data: images or any iterable of batches, again and again until there were enough."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from vaezoo.data.images import Images

__all__ = ["one_pass", "passes"]


def passes(
    data: Images | Iterable[Any], batch_size: int, steps: int | None, epochs: int | None
) -> tuple[Iterator[Any], int | None]:
    """The batches of as many passes as it takes, and their number where it is known.

    Raises:
        ValueError: both steps and epochs are given, or one is below 1; while iterating, when the
            data hold no batch, or cannot be iterated over again.

    >>> batches, total = passes(["a", "b"], 100, steps=3, epochs=None)
    >>> list(batches), total
    (['a', 'b', 'a'], 3)
    """
    if steps is not None and epochs is not None:
        raise ValueError("give steps or epochs, not both")
    if min(1 if steps is None else steps, 1 if epochs is None else epochs) < 1:
        raise ValueError(f"steps and epochs must be at least 1, got {steps or epochs or 0}")
    if steps is not None:
        return itertools.islice(_cycle(data, batch_size, None), steps), steps
    epochs = epochs or 10
    once = one_pass(data, batch_size)
    length = -(-len(data) // batch_size) if isinstance(data, Images) else _length(once)
    return _cycle(data, batch_size, epochs), None if length is None else epochs * length


def _cycle(data: Images | Iterable[Any], batch_size: int, epochs: int | None) -> Iterator[Any]:
    for epoch in itertools.count() if epochs is None else range(epochs):
        empty = True
        for batch in one_pass(data, batch_size):
            empty = False
            yield batch
        if empty:
            raise ValueError(
                "data hold no batch"
                if epoch == 0
                else f"data ran out after {epoch} pass(es): give something that can be iterated "
                "again, such as a list or a DataLoader, not a generator"
            )


def one_pass(data: Images | Iterable[Any], batch_size: int) -> Iterable[Any]:
    """The batches of one pass; `batch_size` is for `Images` only.

    >>> one_pass(["a", "b"], 100)
    ['a', 'b']
    """
    if isinstance(data, Tensor):
        raise ValueError(
            "a tensor is not an iterable of batches: wrap it in data.Images, or in a list"
        )
    return data.batches(batch_size) if isinstance(data, Images) else data


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except TypeError:
        return None
