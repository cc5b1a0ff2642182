"""A process's rows of batches that come from a loader, a list or any other iterable."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.data import Images
from vaezoo.data.batches import check_dense, columns_of
from vaezoo.data.positions import located
from vaezoo.data.shares import Rows
from vaezoo.scopes import Generators, OwnGenerator
from vaezoo.training.processes import World
from vaezoo.training.randomness import random_state, restore_random_state

__all__ = ["LoaderShare", "key_of", "key_of_images", "of_loaders"]


class LoaderShare:
    """Batches of which this process takes its rows, if all processes are given the same batches.

    The loader draws from a seed that all share, and a `DistributedSampler` is told the pass.

    Args:
        data: the batches, to iterate over as often as you like.
        world: this process's place.
        seed: of what the loader draws, the same in all processes.
        take: the first tensors of a batch, those that the model takes; the others are left alone.
        are_same: whether all processes call it with the same value.
        dtype: of the pixels of a stream.
        apart: whether tensors behind the first are of other images, those with labels.

    Raises:
        ValueError: while iterating: a tensor has no row for each image.

    Attributes:
        rows: of the columns of the last batch; none where the data are shares already.
        orders: none, as the loader draws from the global generators.
        passes: how many are over.

    Example:
        >>> batches = [(torch.arange(5), "five numbers")]
        >>> list(LoaderShare(batches, World(1, 2), 0, lambda batch: [batch[0]], lambda key: True))
        [(tensor([2, 3, 4]), 'five numbers')]
    """

    def __init__(
        self,
        data: Iterable[Any],
        world: World,
        seed: int,
        take: Callable[[Any], list[Tensor]],
        are_same: Callable[[Any], bool],
        *,
        dtype: torch.dtype | None = None,
        apart: bool = False,
    ) -> None:
        self.data, self.world, self.take = data, world, take
        self.dtype, self.apart = dtype, apart
        self.noise, self.rows, self.passes = OwnGenerator(seed), list[Rows](), 0
        self.orders: list[torch.Generator] = []
        self._are_same: Callable[[Any], bool] = are_same
        self._shared_out: bool | None = None
        self._taken, self._next = 0, (0, None)
        self._place: Callable[[int], Any] = lambda taken: None

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for sampler in _samplers(self.data):
            sampler.set_epoch(self.passes)
        (self._taken, at), self._next = self._next, (0, None)
        with self.noise.drawn():
            now = Generators()
            left, self._place, between = located(self.data, 1, at, dtype=self.dtype)
            if self._taken:  # in the middle of a pass, which drew when it began
                now.restore()
        while True:
            with self.noise.drawn():
                batch = next(left, None)
            columns = [] if batch is None else self.take(batch)
            for t in columns:
                check_dense(t)
            if self._shared_out is None:
                self._shared_out = self._are_same([key_of(t) for t in columns])
            if batch is None:
                break
            self._taken += 1
            yield *self._own(columns), *columns_of(batch)[len(columns) :]
        self._taken, self._place, self.passes = 0, lambda taken: between(), self.passes + 1

    def _own(self, columns: list[Tensor]) -> list[Tensor]:
        if not self._shared_out:
            return columns
        self._check_rows(columns)
        self.rows[:] = [Rows(*self.world) for _ in columns]
        return [t[r.of(len(t))] for t, r in zip(columns, self.rows, strict=True)]

    def _check_rows(self, columns: list[Tensor]) -> None:
        lengths = {tuple(t.shape[:1]) for t in columns[self.apart :]}
        if len(lengths) > 1 or () in lengths:
            shapes = ", ".join(str(tuple(t.shape)) for t in columns)
            raise ValueError(
                f"{self.world.size} processes share a batch out row by row, so that what the model "
                f"takes of it must have a row for each image, got {shapes}: repeat what is for all"
            )

    def state_dict(self) -> dict[str, Any]:
        """Where a pass is.

        Raises:
            TypeError: the data cannot say where they are.
        """
        return {"taken": self._taken, "at": self._place(self._taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on from there."""
        self._next = state["taken"], state["at"]

    def draws(self) -> dict[str, Any]:
        """What passes depend on besides: how many are over, and what the loader draws from."""
        with self.noise.drawn():
            return {"passes": self.passes, "random": random_state()}

    def load_draws(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.passes = state["passes"]
        with self.noise.drawn():
            restore_random_state(state["random"])


def _samplers(data: Any) -> list[Any]:
    """Those of a loader that are told the pass, also one that makes the rows of another's batches.

    Example:
        >>> from torch.utils.data import BatchSampler, DataLoader, DistributedSampler
        >>> rows = DistributedSampler([0] * 9, num_replicas=2, rank=0)
        >>> _samplers(DataLoader([0] * 9, batch_sampler=BatchSampler(rows, 3, False))) == [rows]
        True
    """
    rows = getattr(data, "batch_sampler", None)
    each = (getattr(data, "sampler", None), rows, getattr(rows, "sampler", None))
    return list({id(s): s for s in each if hasattr(s, "set_epoch")}.values())


def of_loaders(seed: int) -> int:
    """Of what loaders draw by a seed, or it would be the noise that a model draws by it.

    Example:
        >>> of_loaders(0) != 0
        True
    """
    return (seed + 0x2545F4914F6CDD1D) % 2**63


def key_of_images(images: Images) -> tuple[int, ...]:
    """What tells images from others: their number, labels, and a thousand of their pictures.

    Example:
        >>> from vaezoo.data import digits
        >>> key_of_images(digits("test")) == key_of_images(digits("test")[1:])
        False
    """
    few = images.pixels[:: max(1, len(images) // 1000)]
    return len(images), key_of(few), 0 if images.labels is None else key_of(images.labels)


def key_of(t: Tensor) -> int:
    """A checksum of a tensor's numbers.

    Example:
        >>> key_of(torch.zeros(3)) == key_of(torch.zeros(4))
        False
    """
    return zlib.crc32(t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
