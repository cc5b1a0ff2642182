"""The order of a pass over shards: blocks of neighbouring images, one after the other.

Each shard is cut into blocks of so many images. A pass has all blocks in one order; where it is
shuffled, the images of a window of that order are shuffled too. Places in the order count images,
from 0: what a process gets is a stretch of places, read from few files in large pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator

__all__ = ["Blocks", "Piece", "batch_end", "check_shares", "keyed"]


class Piece(NamedTuple):
    """Neighbouring images of one block.

    Attributes:
        shard: in which they are.
        block, until: the first image of their block there, and the one after its last.
        start, stop: the images.
    """

    shard: int
    block: int
    until: int
    start: int
    stop: int


class Blocks:
    """All blocks of shards, in an order.

    Args:
        sizes: how many images each shard has.
        block: images in a block; the last one of a shard may have fewer.
        generator: of the order; None for that of the shards.

    Example:
        >>> list(Blocks([5, 2], 3, None).pieces(2, 4))
        [Piece(shard=0, block=0, until=3, start=2, stop=3), \
Piece(shard=0, block=3, until=5, start=3, stop=4)]
    """

    def __init__(self, sizes: list[int], block: int, generator: Generator | None) -> None:
        counts = [-(-n // block) for n in sizes]
        shards = np.repeat(np.arange(len(sizes)), counts)
        starts = np.concatenate([np.arange(0, n, block) for n in sizes])
        lengths = np.minimum(np.asarray(sizes)[shards] - starts, block)
        if generator is not None:
            order = torch.randperm(len(starts), generator=generator, device="cpu").numpy()
            shards, starts, lengths = shards[order], starts[order], lengths[order]
        self.shards, self.starts, self.ends = shards, starts, np.cumsum(lengths)
        self.lengths = lengths

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The images at these places."""
        i = int(np.searchsorted(self.ends, start, side="right"))
        while start < stop:
            shard, block, end = int(self.shards[i]), int(self.starts[i]), int(self.ends[i])
            first = block + start - (end - int(self.lengths[i]))
            until, n = block + int(self.lengths[i]), min(end, stop) - start
            yield Piece(shard, block, until, first, first + n)
            start, i = start + n, i + 1


def batch_end(i: int, n: int, batch_size: int, batches: int) -> int:
    """Where the first i of so many batches of n images end: full ones, but for the last.

    Another process may have an image more, and for it a batch more: the last full one is then
    halved here.

    Example:
        >>> [batch_end(i, 201, 100, 3) for i in range(4)]
        [0, 100, 200, 201]
        >>> [batch_end(i, 200, 100, 3) for i in range(4)]
        [0, 100, 150, 200]
    """
    end = min(i * batch_size, n)
    return end - batch_size // 2 if end == n and i == batches - 1 else end


def check_shares(n: int, ranks: int, batch_size: int, *, drop_last: bool) -> None:
    """Refuse images that cannot be shared out in equally many batches, none of them empty.

    Raises:
        ValueError: they are too few, or come one at a time and in unequal numbers.

    Example:
        >>> check_shares(7, 2, 1, drop_last=False)
        Traceback (most recent call last):
        ...
        ValueError: 7 images make no equal numbers of batches of 1 for 2 ranks: make batch_size \
larger, or drop_last=True
    """
    if n < ranks:
        raise ValueError(f"{n} images are fewer than {ranks} ranks")
    if drop_last and n // ranks < batch_size:
        raise ValueError(
            f"drop_last=True leaves no batch: {n // ranks} images are fewer than "
            f"batch_size={batch_size}; make batch_size smaller"
        )
    if batch_size == 1 and not drop_last and n % ranks:
        raise ValueError(
            f"{n} images make no equal numbers of batches of 1 for {ranks} ranks: make "
            "batch_size larger, or drop_last=True"
        )


def keyed(*key: int) -> Generator:
    """A generator of its own for these integers.

    Example:
        >>> a, b = (torch.rand(1, generator=keyed(0, 1)) for _ in range(2))
        >>> bool(a == b), bool(a == torch.rand(1, generator=keyed(1, 0)))
        (True, False)
    """
    words = np.random.SeedSequence([part % 2**64 for part in key]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(words[0]) >> 1)
