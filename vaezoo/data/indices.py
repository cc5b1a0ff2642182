"""Indices of images as people write them: a number, a list, an array, a mask."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaezoo.data.counts import is_bool

__all__ = ["as_number", "as_rows"]


def as_number(index: Any) -> int | None:
    """The index as an int if it is one number, else None.

    Example:
        >>> as_number(np.int64(3)), as_number([3]), as_number(True)
        (3, None, None)
    """
    single = not isinstance(index, Tensor | np.ndarray) or index.ndim == 0
    if is_bool(index) or not single:
        return None
    try:
        return operator.index(index)
    except TypeError:
        return None


def as_rows(index: Any, n: int) -> Tensor:
    """Indices (m,) or a mask (n,) as a tensor, in which a negative index counts from the end.

    Raises:
        IndexError: there are only n images.
        TypeError: it is no list, array or tensor of integers or booleans in one dimension.
        ValueError: a mask has another length.

    Example:
        >>> as_rows([0, -1], 9)
        tensor([ 0, -1])
    """
    listed = isinstance(index, list | range | np.ndarray)
    try:
        # a copy, because torch warns of arrays that may not be written
        copied: Any = np.array(index) if listed and len(index) else index
        # not on the default device, where the images may not be
        is_made = isinstance(copied, Tensor)
        rows: Tensor = copied if is_made else torch.as_tensor(copied, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        rows = torch.empty(0, 0)
    numbers = not (rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.uint8)
    if rows.ndim != 1 or not (numbers or rows.numel() == 0) or isinstance(index, tuple):
        raise TypeError(
            "index images with a number, a slice, or one-dimensional indices or a mask in a "
            f"tensor, an array or a list, got {index!r}"
        )
    if rows.dtype == torch.bool:
        if len(rows) != n:
            raise ValueError(f"a mask must be as long as the {n} images, got {len(rows)}")
        return rows
    rows = rows.long()
    if rows.numel() and not (-n <= int(rows.min()) and int(rows.max()) < n):
        raise IndexError(f"there are {n} images, got the index {rows.tolist()[:10]}")
    return rows
