"""Passes over data: `Images`, a `Stream` or any iterable of batches, until it is enough."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, IterableDataset

from vaezoo.data.counts import as_count
from vaezoo.data.images import Images
from vaezoo.data.positions import Passes, cast, located, makes_pixels
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.data.single_passes import (
    CastPass,
    FirstPass,
    SemiSupervisedPass,
    StreamPass,
)
from vaezoo.data.stream import Stream

__all__ = ["Data", "check_data", "length_of", "one_pass", "passes"]

Data = Images | Iterable[Any]


def passes(
    data: Data,
    batch_size: int,
    steps: float | None,
    epochs: float | None,
    *,
    drop_last: bool = False,
    dtype: torch.dtype | None = None,
) -> tuple[Passes, int | None]:
    """The batches of as many passes as it takes, and how many batches that is, where known.

    Args:
        data: `Images`, or any iterable of batches.
        batch_size: for `Images` only.
        steps, epochs: how many batches, or how many passes; 10 passes by default.
        drop_last: leave out a last batch that is smaller, of `Images` or semi-supervised ones.
        dtype: of the pixels of `Images` and of a `Stream`; torch's default one by default.

    Raises:
        TypeError, ValueError: data are no iterable of batches; both steps and epochs are given, or
            one is no whole number of at least 1; while iterating, the data hold no batch, or
            cannot be iterated over again.

    Example:
        >>> batches, total = passes(["a", "b"], 100, steps=3, epochs=None)
        >>> list(batches), total
        (['a', 'b', 'a'], 3)
    """
    if steps is not None and epochs is not None:
        raise ValueError("give steps or epochs, not both")

    options: dict[str, Any] = {"drop_last": drop_last, "dtype": dtype}
    one_pass(data, batch_size, **options)  # refuses what cannot be passed over
    begin = functools.partial(located, data, batch_size, **options)
    if steps is not None:
        steps = as_count("steps", steps)
        return Passes(begin, steps=steps), steps
    epochs = 10 if epochs is None else as_count("epochs", epochs)
    length = length_of(data, batch_size, drop_last=drop_last)
    total = None if length is None else epochs * length
    return Passes(begin, epochs=epochs), total


def one_pass(
    data: Data,
    batch_size: int,
    *,
    drop_last: bool = False,
    dtype: torch.dtype | None = None,
    seed: int | None = None,
) -> Iterable[Any]:
    """The batches of one pass.

    Args:
        data: `Images`, or any iterable of batches.
        batch_size: for `Images` only.
        drop_last: leave out a last batch that is smaller, of `Images` or semi-supervised ones.
        dtype: of the pixels of `Images` and of a `Stream`; torch's default one by default.
        seed: keep `Images` and a `Stream` in order, and draw their pixels by it, as
            `Images.tensors` does; the stream of a loader, and one with labelled images beside it,
            begin with their first pass.

    Raises:
        TypeError, ValueError: data are no iterable of batches.

    Example:
        >>> one_pass(["a", "b"], 100)
        ['a', 'b']
    """
    check_data(data)
    if isinstance(data, Images):
        generator = None if seed is None else Generator().manual_seed(seed)
        size, shuffle = as_count("batch_size", batch_size), seed is None
        batches = data.batches(size, shuffle=shuffle, drop_last=drop_last, generator=generator)
        return cast(batches, dtype)
    if isinstance(data, SemiSupervisedBatches):
        return SemiSupervisedPass(data, dtype, drop_last=drop_last)
    if drop_last:
        raise ValueError(
            "drop_last is for data.Images; other loaders have their own, "
            "DataLoader(…, drop_last=True)"
        )
    return StreamPass(data, dtype, seed) if isinstance(data, Stream) else _loaded(data, dtype, seed)


def _loaded(data: Any, dtype: torch.dtype | None, seed: int | None) -> Iterable[Any]:
    """A loader's batches, from its first pass where there is a seed and it has a stream."""
    whole: Iterable[Any] = data
    stream = getattr(data, "dataset", None)
    if makes_pixels(data):
        whole = CastPass(data, dtype)
    if isinstance(data, SemiSupervisedStream):
        stream = data
    if seed is None or not isinstance(stream, Stream | SemiSupervisedStream):
        return whole
    return FirstPass(whole, stream)


def check_data(data: Any) -> None:
    """Refuse what is no iterable of batches, though Python would iterate over it.

    Raises:
        ValueError, TypeError: it is one batch, a data set of single images, or no iterable.

    Example:
        >>> check_data(torch.zeros(7, 1, 28, 28))
        Traceback (most recent call last):
        ...
        ValueError: a tensor is not an iterable of batches: wrap it in data.Images, or in a list
    """
    if isinstance(data, Images):
        return
    _refuse_one_batch(data)
    kind = type(data).__name__
    if isinstance(data, Mapping | str | bytes):
        raise ValueError(
            f"data must be data.Images or an iterable of batches, got a {kind}: put batches in a "
            "list, [(x, y)]"
        )
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise ValueError(
            f"a {kind} yields single images: give batches, "
            "torch.utils.data.DataLoader(dataset, batch_size=100, shuffle=True)"
        )
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(f"data must be data.Images or an iterable of batches, got a {kind}")


def _refuse_one_batch(data: Any) -> None:
    if isinstance(data, Tensor):
        raise ValueError(
            "a tensor is not an iterable of batches: wrap it in data.Images, or in a list"
        )
    if hasattr(data, "__array__"):  # of NumPy, or a table of pandas
        raise ValueError(
            f"a {type(data).__name__} is not an iterable of batches: put arrays of images "
            "(N, *x_shape) in a list"
        )
    if isinstance(data, tuple) and len(data) > 1 and getattr(data[-1], "ndim", None) == 1:
        raise ValueError("a tuple (x, y) is one batch: put it in a list, [(x, y)]")


def length_of(data: Data, batch_size: int, *, drop_last: bool = False) -> int | None:
    """The number of batches in one pass, where it is known.

    Example:
        >>> length_of(["a", "b"], 100), length_of(iter("ab"), 100)
        (2, None)
    """
    if isinstance(data, Images):
        return _batches_of(len(data), as_count("batch_size", batch_size), drop_last)
    if isinstance(data, SemiSupervisedBatches):
        return _batches_of(len(data.unlabelled), data.batch_size, drop_last)
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def _batches_of(n: int, size: int, drop_last: bool) -> int:
    return n // size if drop_last else -(-n // size)
