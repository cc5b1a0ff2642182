"""One pass over batches of each kind: in a dtype, and from the beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from vaezoo.data.positions import cast
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.data.stream import Stream

__all__ = ["CastPass", "FirstPass", "SemiSupervisedPass", "StreamPass"]


class SemiSupervisedPass:
    """Semi-supervised batches in a dtype, without a smaller last one if need be."""

    def __init__(
        self, batches: SemiSupervisedBatches, dtype: torch.dtype | None, *, drop_last: bool
    ) -> None:
        self.batches, self.dtype = batches, dtype
        self.least = batches.batch_size if drop_last else 1

    def __iter__(self) -> Iterator[Any]:
        size_of = self.batches.size_of
        return cast((b for b in self.batches if size_of(b) >= self.least), self.dtype)


class StreamPass:
    """A pass over a stream in a dtype, in the order of its files where there is a seed."""

    def __init__(self, stream: Stream, dtype: torch.dtype | None, seed: int | None) -> None:
        self.stream, self.dtype, self.seed = stream, dtype, seed

    def __iter__(self) -> Iterator[Any]:
        batches = self.stream if self.seed is None else self.stream.in_order(self.seed)
        return cast(batches, self.dtype)


class CastPass:
    """A pass over batches in a dtype."""

    def __init__(self, batches: Iterable[Any], dtype: torch.dtype | None) -> None:
        self.batches, self.dtype = batches, dtype

    def __iter__(self) -> Iterator[Any]:
        return cast(self.batches, self.dtype)


class FirstPass:
    """The first pass over a stream's batches; it is left where it was: training may be in it."""

    def __init__(self, batches: Iterable[Any], stream: Stream | SemiSupervisedStream) -> None:
        self.batches, self.stream = batches, stream

    def __iter__(self) -> Iterator[Any]:
        with self.stream.begun_anew():
            yield from self.batches
