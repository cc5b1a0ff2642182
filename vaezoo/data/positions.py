"""Where training is in its data: a pass that can say so, and go on from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, default_convert

from vaezoo.data.images import Images
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.data.stream import Stream

__all__ = ["Located", "Passes", "cast", "located", "makes_pixels"]

_END = object()


class Located(NamedTuple):
    """One pass over data that knows where it is.

    Attributes:
        batches: those that are left.
        state: where it is, given how many batches have come; a TypeError where nobody can say.
        between: where the data are when it is over, if they do not begin every pass alike.
    """

    batches: Iterator[Any]
    state: Callable[[int], Any]
    between: Callable[[], Any] = lambda: None


def located(
    data: Any,
    batch_size: int,
    at: Any = None,
    *,
    drop_last: bool = False,
    dtype: torch.dtype | None = None,
) -> Located:
    """One pass over data, from the beginning, or from where an earlier one was.

    `Images`, semi-supervised batches, lists and tuples know where a pass is. Other data can say so
    by `state_dict` and go on by `load_state_dict`, as torchdata's `StatefulDataLoader` does.

    Args:
        data: `Images`, or any iterable of batches.
        batch_size: for `Images` only.
        at: what the state of an earlier pass was.
        drop_last: leave out a last batch that is smaller, of `Images` or semi-supervised ones.
        dtype: of the pixels of `Images`; torch's default one by default.

    Example:
        >>> first = located(["a", "b", "c"], 100)
        >>> next(first.batches), first.state(1)
        ('a', 1)
        >>> list(located(["a", "b", "c"], 100, 1).batches)
        ['b', 'c']
    """
    if isinstance(data, Images):
        return _pixels(data.batches(batch_size, drop_last=drop_last), at, dtype)
    if isinstance(data, SemiSupervisedBatches):
        least = data.batch_size if drop_last else 1
        return _pixels(iter(data), at, dtype, lambda batch: data.size_of(batch) >= least)
    if isinstance(data, list | tuple):
        batches = iter(data)
        for _ in range(at or 0):  # at once: one that makes its batches may draw random numbers
            next(batches, None)
        return Located(batches, lambda n: n)
    knows = hasattr(data, "state_dict") and hasattr(data, "load_state_dict")
    if knows and at is not None:
        data.load_state_dict(at)
    batches = cast(data, dtype) if makes_pixels(data) else iter(data)
    if knows:
        return Located(batches, lambda n: data.state_dict(), data.state_dict)
    return Located(batches, lambda n: _refuse(data))


def _pixels(
    source: Any, at: Any, dtype: torch.dtype | None, fits: Callable[[Any], bool] | None = None
) -> Located:
    """A pass over pixels in memory, of those batches that fit."""
    if at is not None:
        source.load_state_dict(at)
    return Located(cast(filter(fits, source), dtype), lambda n: source.state_dict())


def makes_pixels(data: Any) -> bool:
    """Whether it is a stream, or a loader of one that passes its batches on."""
    passes_on = isinstance(data, DataLoader) and data.collate_fn is default_convert
    source = data.dataset if passes_on else data
    return isinstance(source, Stream | SemiSupervisedStream)


def cast(batches: Iterable[Any], dtype: torch.dtype | None) -> Iterator[Any]:
    """The batches of tensors, their floats in a dtype; it begins the pass over them at once."""
    left = iter(batches)
    return (
        tuple(t.to(dtype or t.dtype) if t.is_floating_point() else t for t in batch)
        for batch in left
    )


def _refuse(data: Any) -> None:
    kind, cure = type(data).__name__, "data.Images or a list of batches"
    if isinstance(data, DataLoader):
        cure += ", or torchdata's StatefulDataLoader in its place"
    raise TypeError(
        f"a {kind} cannot say where it is, so that training could not go on at the same batch: "
        f"give {cure}, or let it have state_dict() and load_state_dict(state)"
    )


class Passes(Iterator[Any]):
    """Pass after pass over data, which can say where it is and go on from there.

    Args:
        begin: begins a pass, in the middle if it is told where.
        steps: batches in all; as many as come by default.
        epochs: passes in all.

    Raises:
        ValueError: while iterating: the data hold no batch, or cannot be iterated over again.
    """

    def __init__(
        self,
        begin: Callable[[Any], Located],
        *,
        steps: int | None = None,
        epochs: int | None = None,
    ) -> None:
        self._begin, self._steps, self._epochs = begin, steps, epochs
        self._taken = self._epoch = self._in_pass = 0
        self._current: Located | None = None
        self._at: Any = None  # where the next pass begins
        self._between: Callable[[], Any] = lambda: None

    def __next__(self) -> Any:
        while not self._over():
            if self._current is None:
                self._current, self._at = self._begin(self._at), None
            # not by `for`, which begins an iterator anew that is its own iterable
            if (batch := next(self._current.batches, _END)) is not _END:
                self._taken, self._in_pass = self._taken + 1, self._in_pass + 1
                return batch
            self._end_pass()
        raise StopIteration

    def close(self) -> None:
        """End here, and let go of the pass, so of what makes its batches; its place is still known.

        A loader's processes end with its iterator, but hang for seconds where the garbage collector
        finds that.
        """
        self._steps = self._taken
        if self._current is not None:
            self._current = self._current._replace(batches=iter(()))

    def _over(self) -> bool:
        """Whether there were enough; more, where a run goes on that is to be shorter by now."""
        steps, epochs = self._steps, self._epochs
        enough = steps is not None and self._taken >= steps
        return enough or (epochs is not None and self._epoch >= epochs)

    def _end_pass(self) -> None:
        if self._in_pass == 0:
            raise ValueError(
                "data hold no batch"
                if self._epoch == 0
                else f"data ran out after {self._epoch} pass(es): give something that can be "
                "iterated again, such as a list or a DataLoader, not a generator"
            )
        if self._current is not None:
            self._between = self._current.between
        self._current, self._in_pass, self._epoch = None, 0, self._epoch + 1

    def state_dict(self) -> dict[str, Any]:
        """Where it is: batches so far, passes, batches in this pass, and where the data are.

        Raises:
            TypeError: the data cannot say where they are.
        """
        counts = {"taken": self._taken, "epoch": self._epoch, "in_pass": self._in_pass}
        at = self._between() if self._current is None else self._current.state(self._in_pass)
        return counts | {"at": at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._taken, self._epoch = state["taken"], state["epoch"]
        self._in_pass, at = state["in_pass"], state["at"]
        self._current, self._at, self._between = None, at, lambda: at
        if self._in_pass and at is not None:  # one that has not begun draws when its turn comes
            self._current, self._at = self._begin(at), None
