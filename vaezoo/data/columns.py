"""Columns of numbers, of which there may be more than memory is to hold."""

from __future__ import annotations

import math
import mmap
import tempfile
from array import array
from collections.abc import Iterable
from typing import IO

import torch
from torch import Tensor

__all__ = ["Column"]

FEW = 2**16  # numbers of a column that are kept in memory


class Column:
    """Numbers in float64, one after the other: few of them in memory, many in a file.

    Where no file can be written they stay in memory.

    Example:
        >>> column = Column()
        >>> column.extend([1.0, 2.0])
        >>> column.tensor().tolist(), len(column)
        ([1.0, 2.0], 2)
    """

    def __init__(self) -> None:
        # an array grows in place: many small tensors would split the memory that large ones need
        self.kept = array("d")
        self.file: IO[bytes] | None = None
        self.written, self.limit = 0, float(FEW)

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()

    def __len__(self) -> int:
        return self.written + len(self.kept)

    def extend(self, numbers: Iterable[float]) -> None:
        """Take in more."""
        self.kept.extend(numbers)
        if len(self.kept) > self.limit:
            self._write()

    def tensor(self) -> Tensor:
        """All of them (n,); those of a file are read where they are used."""
        if self.written and self.kept:
            self._write()
        kept = torch.tensor(self.kept, dtype=torch.float64, device="cpu")
        if self.file is None or not self.written:
            return kept
        pages = mmap.mmap(self.file.fileno(), 8 * self.written, access=mmap.ACCESS_COPY)
        written = torch.frombuffer(pages, dtype=torch.float64)
        return torch.cat([written, kept]) if self.kept else written

    def _write(self) -> None:
        try:
            self.file = self.file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            self.file.seek(8 * self.written)
            if self.file.write(self.kept) < 8 * len(self.kept):
                raise OSError("the disk is full")
        except OSError:
            self.limit = math.inf
            return
        self.written += len(self.kept)
        self.kept = array("d")
