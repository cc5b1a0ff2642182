"""Arrays that are mapped from files (`np.memmap`): where they lie, and mapped to be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["check_same", "in_file", "private"]

BLOCK, BLOCKS = 2**12, 2**6  # bytes of a block, and how many are compared


def in_file(array: np.memmap[Any, Any]) -> tuple[Path, int] | None:
    """The file of an array, and the byte at which it begins there; None where there is no such.

    Rows of a mapped array lie there too. What is a view in another order, or has changes of its own
    (mode "c"), does not.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     array = np.memmap(file.name, np.uint8, "w+", offset=3, shape=(5, 2))
        ...     in_file(array[2:])[1], in_file(array[::2])
        (7, None)
    """
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if array.filename is None or not array.flags.c_contiguous or array.mode == "c":
        return None
    return Path(array.filename), root.offset + array.ctypes.data - root.ctypes.data


def private(array: np.memmap[Any, Any]) -> np.ndarray:
    """The same bytes of the file, mapped so that what is written into them stays in memory.

    Torch takes no array that may not be written; pages are copied only where they are.

    Raises:
        ValueError: another file has taken the place of the one that was mapped.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = np.memmap(file.name, np.uint8, "w+", shape=(4,))
        ...     array = private(np.memmap(file.name, np.uint8, "r"))
        ...     array[0] = 7
        ...     array.tolist(), np.fromfile(file.name, np.uint8).tolist()
        ([7, 0, 0, 0], [0, 0, 0, 0])
    """
    place = in_file(array)
    if place is None or not place[0].is_file():
        return array
    path, offset = place
    check_same(array, path, offset)
    return np.memmap(path, array.dtype, "c", offset=offset, shape=array.shape)


def check_same(array: np.memmap[Any, Any], path: Path, offset: int) -> None:
    """Raise ValueError if a file holds other bytes by now than the array that was mapped from it.

    Blocks are compared from the beginning to the end, all bytes of arrays of up to 256 KiB: each
    that is looked at takes memory.
    """
    flat = array.reshape(-1).view(np.uint8)
    step = max(BLOCK, len(flat) // BLOCKS)
    with path.open("rb") as file:
        for start in (*range(0, len(flat), step), max(0, len(flat) - BLOCK)):
            file.seek(offset + start)
            before = flat[start : start + BLOCK].tobytes()
            if file.read(len(before)) != before:
                raise ValueError(f"{path} was replaced after it was mapped: map it again")
