"""Arrays that are mapped from files (`np.memmap`): where they lie, and mapped to be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["in_file", "private"]


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
    return np.memmap(path, array.dtype, "c", offset=offset, shape=array.shape)
