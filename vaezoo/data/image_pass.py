"""One pass over images, which can say where it is and go on from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor

__all__ = ["ImagePass"]

Rows = Callable[[Tensor, Generator | None], tuple[Tensor, ...]]


class ImagePass(Iterator[tuple[Tensor, ...]]):
    """The batches of one pass, of images in order or in an order that is drawn when it begins.

    Where it is takes a few kilobytes, however many images there are: the state of the generator
    from which the order was drawn, and how far it has come.

    Args:
        n: how many images there are.
        rows: makes a batch of their numbers; it may draw from the generator.
        batch_size: images at a time.
        device: where their numbers are to be.
        shuffle: whether the order is drawn.
        drop_last: leave out a last batch that is smaller.
        generator: to draw from; torch's global one by default.

    Example:
        >>> def rows(numbers, generator):
        ...     return (numbers,)
        >>> first = ImagePass(5, rows, 2, device=torch.device("cpu"), shuffle=True)
        >>> _, state, (left,) = next(first), first.state_dict(), next(first)
        >>> second = ImagePass(5, rows, 2, device=torch.device("cpu"), shuffle=True)
        >>> second.load_state_dict(state)
        >>> torch.equal(next(second)[0], left)
        True
    """

    def __init__(
        self,
        n: int,
        rows: Rows,
        batch_size: int,
        *,
        device: torch.device,
        shuffle: bool,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> None:
        self.n, self.rows, self.batch_size, self.device = n, rows, batch_size, device
        self.shuffle, self.generator = shuffle, generator
        self.stop = n - n % batch_size if drop_last else n
        self.taken = 0
        self._began: Tensor | None = None
        self._order: Tensor | None = None

    def __next__(self) -> tuple[Tensor, ...]:
        if self._order is None:
            self._began, self._order = self._source.get_state(), self._drawn()
        if self.taken >= self.stop:
            raise StopIteration
        end = min(self.taken + self.batch_size, self.stop)
        batch = self.rows(self._order[self.taken : end], self.generator)
        self.taken = end
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where it is: images taken so far, and the generator's state before the order was drawn.

        What is drawn for batches to come follows the generator as it is then.
        """
        return {"taken": self.taken, "began": self._began}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, leaving the generator as it is."""
        self.taken, self._began, self._order = state["taken"], state["began"], None
        if self._began is not None:
            now = self._source.get_state()
            self._source.set_state(self._began)
            self._order = self._drawn()
            self._source.set_state(now)

    @property
    def _source(self) -> Generator:
        return self.generator or torch.default_generator

    def _drawn(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.n, device=self.device)
        device = self.generator.device if self.generator else "cpu"
        order = torch.randperm(self.n, generator=self.generator, device=device)
        return order.to(self.device)
