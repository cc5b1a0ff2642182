"""A window of a pass over shards in memory, from which batches are taken."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaezoo.data.binarising import bernoulli
from vaezoo.data.blocks import Blocks, Piece, keyed
from vaezoo.data.shards import Shard

__all__ = ["Windows"]

WITHIN, STATIC = 1, 3  # in keys of generators; see `stream`


class Windows:
    """The images of a stretch of an order, so many in memory at a time.

    Args:
        images, labels: the shards.
        blocks: their order.
        stretch: the first place and the one after the last.
        window: how many images are in memory; they are allocated once.
        key: of the order within a window; None for that of the blocks.
        static: the key by which each block is binarised once and for all, or None.
    """

    def __init__(
        self,
        images: list[Shard],
        labels: list[Shard] | None,
        blocks: Blocks,
        stretch: tuple[int, int],
        window: int,
        *,
        key: tuple[int, ...] | None,
        static: tuple[int, ...] | None = None,
    ) -> None:
        self.images, self.label_shards, self.blocks = images, labels, blocks
        self.stretch, self.key, self.static = stretch, key, static
        self.size = min(window, stretch[1] - stretch[0])
        shape = (self.size, *images[0].shape[1:])
        self.pixels = torch.empty(shape, dtype=torch.uint8, device="cpu")
        self.labels = torch.empty(self.size if labels else 0, dtype=torch.long, device="cpu")
        self.rows = torch.empty(0, dtype=torch.long, device="cpu")
        self.first = self.stop = 0  # places that are in memory

    def take(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Pixels (n, C, H, W) and labels (n,) of places in the stretch, copied."""
        pixels, labels = [], []
        while start < stop:
            if not self.first <= start < self.stop:
                self._read(start - (start - self.stretch[0]) % self.size)
            end = min(stop, self.stop)
            rows = self.rows[start - self.first : end - self.first]
            pixels.append(self.pixels.index_select(0, rows))
            if self.label_shards:
                labels.append(self.labels.index_select(0, rows))
            start = end
        return _joined(pixels), _joined(labels) if labels else None

    def _read(self, first: int) -> None:
        """Read the window that begins at this place."""
        stop = min(first + self.size, self.stretch[1])
        self.first = self.stop = 0  # nothing, if a file turns out to have changed
        at = 0
        for piece in self.blocks.pieces(first, stop):
            n = piece.stop - piece.start
            self._read_piece(piece, slice(at, at + n))
            at += n
        if self.key is None:
            self.rows = torch.arange(at, device="cpu")
        else:
            generator = keyed(*self.key, WITHIN, first)
            self.rows = torch.randperm(at, generator=generator, device="cpu")
        self.first, self.stop = first, stop

    def _read_piece(self, piece: Piece, rows: slice) -> None:
        pixels = self.pixels[rows]
        self.images[piece.shard].read(piece.start, pixels.numpy())
        if self.static is not None:
            pixels.copy_(self._drawn(pixels, piece))
        if self.label_shards:
            self.labels[rows] = _labels(self.label_shards[piece.shard], piece)

    def _drawn(self, pixels: Tensor, piece: Piece) -> Tensor:
        """The draw of a piece, part of the one of its block."""
        block = pixels.new_zeros(piece.until - piece.block, *pixels.shape[1:])
        rows = slice(piece.start - piece.block, piece.stop - piece.block)
        block[rows] = pixels
        generator = keyed(*(self.static or ()), STATIC, piece.shard, piece.block)
        return bernoulli(block, generator, dtype=torch.uint8, by_words=True)[rows].mul_(255)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _labels(shard: Shard, piece: Piece) -> Tensor:
    values = np.empty(piece.stop - piece.start, shard.dtype)
    shard.read(piece.start, values)
    labels = values.astype(np.int64)
    if (low := int(labels.min())) < -1:
        raise ValueError(
            f"{shard.path} must hold classes from 0, or -1 for no label, got {low} in images "
            f"{piece.start} to {piece.stop - 1}"
        )
    return torch.from_numpy(labels)
