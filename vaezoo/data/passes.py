"""Passes over data: `Images`, a `Stream` or any iterable of batches, until it is enough."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, IterableDataset

from vaezoo.data.counts import as_count
from vaezoo.data.images import Images
from vaezoo.data.positions import Passes, cast, located
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches
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
        return _SemiSupervised(data, dtype, drop_last=drop_last)
    if drop_last:
        raise ValueError(
            "drop_last is for data.Images; other loaders have their own, "
            "DataLoader(…, drop_last=True)"
        )
    return _Streamed(data, dtype, seed) if isinstance(data, Stream) else _loaded(data, dtype, seed)


def _loaded(data: Any, dtype: torch.dtype | None, seed: int | None) -> Iterable[Any]:
    """A loader's batches, from its first pass where there is a seed and it has a stream."""
    whole: Iterable[Any] = data
    stream = getattr(data, "dataset", None)
    if isinstance(data, SemiSupervisedStream):
        whole, stream = _Cast(data, dtype), data
    if seed is None or not isinstance(stream, Stream | SemiSupervisedStream):
        return whole
    return _First(whole, stream)


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


class _SemiSupervised:
    """Semi-supervised batches in a dtype, without a smaller last one if need be."""

    def __init__(
        self, batches: SemiSupervisedBatches, dtype: torch.dtype | None, *, drop_last: bool
    ) -> None:
        self.batches, self.dtype = batches, dtype
        self.least = batches.batch_size if drop_last else 1

    def __iter__(self) -> Iterator[Any]:
        size_of = self.batches.size_of
        return cast((b for b in self.batches if size_of(b) >= self.least), self.dtype)


class _Streamed:
    """A pass over a stream in a dtype, in the order of its files where there is a seed."""

    def __init__(self, stream: Stream, dtype: torch.dtype | None, seed: int | None) -> None:
        self.stream, self.dtype, self.seed = stream, dtype, seed

    def __iter__(self) -> Iterator[Any]:
        batches = self.stream if self.seed is None else self.stream.in_order(self.seed)
        return cast(batches, self.dtype)


class _Cast:
    """A pass over batches in a dtype."""

    def __init__(self, batches: Iterable[Any], dtype: torch.dtype | None) -> None:
        self.batches, self.dtype = batches, dtype

    def __iter__(self) -> Iterator[Any]:
        return cast(self.batches, self.dtype)


class _First:
    """The first pass over a stream's batches; it is left where it was: training may be in it."""

    def __init__(self, batches: Iterable[Any], stream: Stream | SemiSupervisedStream) -> None:
        self.batches, self.stream = batches, stream

    def __iter__(self) -> Iterator[Any]:
        with self.stream.begun_anew():
            yield from self.batches


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
