"""The file format of MNIST and its kin: a short header, then bytes."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np


def read_idx(path: Path) -> np.ndarray:
    """A uint8 array from an idx file: two zero bytes, type 8, the rank, the sizes, the values.

    Raises:
        FileNotFoundError: neither the file nor the file with .gz is there.
        ValueError: the header is not one of bytes, or values are missing.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tiny-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read_idx(path).tolist()
    [7, 9]
    """
    packed = path.with_name(path.name + ".gz")
    content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    rank = int.from_bytes(content[3:4], "big")
    start = 4 + 4 * rank
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    if content[:4] != bytes([0, 0, 8, rank]) or len(content) != start + math.prod(shape):
        raise ValueError(f"{path} is not a complete idx file of bytes; unpack or download it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
