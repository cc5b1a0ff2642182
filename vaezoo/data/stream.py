"""Images that do not fit in memory: shards in files, a window of them read at a time."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from torch import Generator, Tensor
from torch.utils.data import IterableDataset, get_worker_info

from vaezoo.data.binarising import check_binarisation, scaled
from vaezoo.data.blocks import Blocks, batch_end, check_shares, keyed
from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.places import Place, place_of
from vaezoo.data.shards import Source, image_shards, label_shards
from vaezoo.data.windows import Windows

__all__ = ["Stream"]

BLOCKS, PIXELS = 0, 2  # in keys of generators, with those of `windows`


class Stream(IterableDataset[tuple[Tensor, ...]]):
    """N pictures of one shape in files, with or without labels, as batches (x, y) or (x,).

    Each iteration is one pass, in which every image comes once: the blocks of all files in an order
    that depends on the seed and on the pass, and the images of a window of it, which is all that is
    in memory, in an order of their own. Binarisation follows the seed, the pass and the place in
    it, so that torch's global generator is left alone. `fit` and `evaluate` take a stream as they
    take `Images`; evaluation and validation go through the files in order. A `DataLoader` takes it
    with `batch_size=None`, and its workers share each pass.

    Args:
        shards: a folder of .npy files; or a list of such files or of mapped arrays (`np.memmap`);
            uint8, shape (N, C, H, W) or (N, H, W). `data.write_shards` makes them.
        labels: files of integers (N,), one for each shard, -1 where an image has no label; by
            default `name.labels.npy` beside each `name.npy`, where they are there.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see
            `vaezoo.data.binarising`. ``static`` is drawn once for each block, by the seed: not the
            draw of `Images`.
        batch_size: images in a batch, the last one may be smaller.
        shuffle: False keeps the order of the files.
        drop_last: leave out a last batch that is smaller.
        block: neighbouring images that are read together.
        window: images in memory, which are shuffled among themselves.
        seed: of the orders and of binarisation.
        name: what `repr` calls the stream.

    Attributes:
        n: the number of images in all files.

    Raises:
        ValueError: there is no shard, one is no .npy file, is cut, is not uint8, or has another
            shape than the others; labels are no integers or not as many. While iterating: a file
            has changed since.
        TypeError: a shard is neither a path nor mapped.
        OSError: a file is not there or cannot be read.

    Example:
        >>> import numpy as np, tempfile
        >>> from vaezoo.data import write_shards
        >>> folder = tempfile.TemporaryDirectory()
        >>> pixels = np.arange(12, dtype=np.uint8).reshape(6, 1, 1, 2)
        >>> shards = write_shards(folder.name + "/shards", [pixels], shard_size=4)
        >>> stream = Stream(shards, binarisation="none", batch_size=4)
        >>> stream
        Stream(stream, 6 × 1×1×2 in 2 shards, none, batches of 4, unlabelled)
        >>> [len(x) for (x,) in stream], len(stream)
        ([4, 2], 2)
        >>> folder.cleanup()
    """

    def __init__(
        self,
        shards: Source | Sequence[Source],
        labels: Source | Sequence[Source] | None = None,
        *,
        binarisation: str,
        batch_size: int = 100,
        shuffle: bool = True,
        drop_last: bool = False,
        block: int = 256,
        window: int = 8192,
        seed: int = 0,
        name: str = "stream",
    ) -> None:
        check_binarisation(binarisation)
        self.binarisation, self.name = binarisation, name
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, as_seed(seed)
        self.batch_size = as_count("batch_size", batch_size)
        self.block, self.window = as_count("block", block), as_count("window", window)
        self.images = image_shards(shards)
        self.labels = label_shards(self.images, labels)
        self.sizes = [len(shard) for shard in self.images]
        self.n, self.rank, self.ranks = sum(self.sizes), 0, 1
        self._next = self._now = Place()  # where the next pass begins, and what `state_dict` says
        check_shares(self.n, 1, self.batch_size, drop_last=drop_last)

    def __len__(self) -> int:
        """The number of batches in a pass; of a share, in its own."""
        least, most = self.n // self.ranks, -(-self.n // self.ranks)
        return least // self.batch_size if self.drop_last else -(-most // self.batch_size)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.x_shape))
        share = f", share {self.rank} of {self.ranks}" if self.ranks > 1 else ""
        unlabelled = ", unlabelled" if self.labels is None else ""
        return (
            f"{type(self).__name__}({self.name}, {self.n} × {shape} in {len(self.images)} shards, "
            f"{self.binarisation}, batches of {self.batch_size}{share}{unlabelled})"
        )

    @property
    def x_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one picture."""
        channels, height, width = self.images[0].shape[1:]
        return channels, height, width

    def shard(self, rank: int, size: int) -> Stream:
        """The share of one of several processes, which gets its part of each pass.

        The shares of all ranks are disjoint, hold every image (but for `drop_last`) and have
        equally many batches, of which the last two may be smaller. Within a share, the workers of
        a `DataLoader` share its batches.

        Raises:
            ValueError: rank is none of 0..size-1, there are too few images, or this is a share.

        Example:
            >>> from vaezoo import data
            >>> data.Stream("shards", binarisation="none").shard(0, 2)  # doctest: +SKIP
            Stream(stream, 60000 × 1×28×28 in 6 shards, none, batches of 100, share 0 of 2)
        """
        size, rank = as_count("size", size), as_count("rank", rank, least=0)
        if self.ranks > 1 or rank >= size:
            raise ValueError(
                f"rank must lie in 0..{size - 1}, of a whole stream, got {rank} of {self}"
            )
        share = copy(self)
        share.rank, share.ranks = rank, size
        check_shares(share.n, size, share.batch_size, drop_last=share.drop_last)
        return share

    def set_epoch(self, epoch: int) -> None:
        """Begin the next iteration with this pass, counted from 0.

        A stream counts its passes itself, except in workers of a `DataLoader`, which begin with a
        new copy. There a whole stream is shuffled by the loader's seed too; a share cannot be, as
        the order must be that of the other ranks: call this before each pass, or let the workers
        persist.

        Raises:
            ValueError, TypeError: it is no whole number of at least 0.
        """
        self._next = self._now = Place(as_count("epoch", epoch, least=0))

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is, in numbers and strings: the same on all ranks.

        A stream of the same files and settings goes on from there after `load_state_dict`: the
        next iteration gives the batches that are left of the pass, bitwise those that would have
        come, and then passes go on.
        """
        return {**self._now._asdict(), "of": self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` said.

        Raises:
            ValueError: it is no such state, or one of another stream.
        """
        self._next = self._now = place_of(state, self._settings(), len(self))

    @contextlib.contextmanager
    def begun_anew(self) -> Iterator[None]:
        """Within it passes begin with the first one; afterwards the stream is where it was."""
        before, self._next, self._now = (self._next, self._now), Place(), Place()
        try:
            yield
        finally:
            self._next, self._now = before

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        epoch, done, order, number, workers = self._begin()
        key, end = (self.seed, order, epoch), self._end
        first, last = (len(self) * w // workers for w in (number, number + 1))
        windows = self._windows(end(first), end(last), key if self.shuffle else None)
        for batch in range(first + done, last):
            pixels, labels = windows.take(end(batch), end(batch + 1))
            self._now = Place(epoch, batch + 1 - first, order, workers)
            generator = keyed(*key, PIXELS, end(batch))
            x = scaled(pixels, self.binarisation, generator, by_words=True)
            yield (x,) if labels is None else (x, labels)
        self._now = self._next

    def _begin(self) -> tuple[int, int, int, int, int]:
        """The pass to begin, the batches of it to leave out, the key of its order, the worker."""
        (epoch, done, order, of), worker = self._next, get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if done and of != workers:
            raise ValueError(f"a place in the middle of a pass of {of} workers, got {workers}")
        if worker and not done and self.ranks == 1:
            order = (worker.seed - worker.id) % 2**63  # drawn by the loader for each pass
        self._next = self._now = Place(epoch + 1)
        return epoch, done, order, number, workers

    def in_order(self, seed: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """One pass in the order of the files, binarised by the seed alone: for evaluation.

        The batches are those of `Images` of the same bytes (those of ``static`` keep the draw
        they have), and the passes of the stream are not changed.
        """
        start, stop = self._share()
        windows, generator = self._windows(start, stop, None), Generator().manual_seed(seed)
        for begin in range(start, stop, self.batch_size):
            pixels, labels = windows.take(begin, min(begin + self.batch_size, stop))
            x = scaled(pixels, self.binarisation, generator)
            yield (x,) if labels is None else (x, labels)

    def _share(self) -> tuple[int, int]:
        """The places of this rank."""
        return self.rank * self.n // self.ranks, (self.rank + 1) * self.n // self.ranks

    def _end(self, batches: int) -> int:
        """The place where so many batches of this rank end."""
        start, stop = self._share()
        return start + batch_end(batches, stop - start, self.batch_size, len(self))

    def _windows(self, start: int, stop: int, key: tuple[int, ...] | None) -> Windows:
        generator = None if key is None else keyed(*key, BLOCKS)
        static = (self.seed, 0, 0) if self.binarisation == "static" else None
        blocks = Blocks(self.sizes, self.block, generator)
        shards = (self.images, self.labels, blocks)
        return Windows(*shards, (start, stop), self.window, key=key, static=static)

    def _settings(self) -> dict[str, Any]:
        """What must be the same for a place to mean the same batches."""
        names = "batch_size binarisation block drop_last n ranks seed shuffle window"
        return {
            **{name: getattr(self, name) for name in names.split()},
            "x_shape": list(self.x_shape),
            "labels": self.labels is not None,
            "sizes": hashlib.sha256(repr(self.sizes).encode()).hexdigest(),
        }
