"""Files as MNIST and its kin have them: a short header, then bytes."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import IO

import numpy as np

__all__ = ["read_idx"]

_CHUNK = 2**20
_DEFLATE = 1032  # the most by which a .gz can shrink, so that a short one cannot claim much


def read_idx(path: Path) -> np.ndarray:
    """A uint8 array from an idx file: two zero bytes, type 8, the rank, the sizes, the values.

    The sizes are compared with the file's before any memory is taken, and a .gz is unpacked no
    further than they say.

    Args:
        path: the file; if it is not there, the file with .gz at its end is read.

    Raises:
        FileNotFoundError: neither is there.
        OSError: the file cannot be read.
        ValueError: the header is not one of bytes, or values are missing or left over.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> read_idx(path).tolist()
        [7, 9]
    """
    packed = path.with_name(path.name + ".gz")
    file = path if path.exists() or not packed.exists() else packed
    with file.open("rb") as stream:
        most = file.stat().st_size * (_DEFLATE if file == packed else 1)
        try:
            if file != packed:
                return _array(stream, most)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _array(unpacked, most)
        except Exception as error:  # gzip's, zlib's, struct's, and those of _array
            raise ValueError(
                f"{file} is not a complete idx file of bytes ({error}); unpack or download it again"
            ) from error


def _array(stream: IO[bytes] | gzip.GzipFile, most: int) -> np.ndarray:
    start = _read(stream, 4)
    if start[:3] != bytes([0, 0, 8]) or start[3] == 0:
        raise ValueError("its first bytes are wrong")
    header = _read(stream, 4 * start[3])
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4)]
    if (n := math.prod(shape)) > most:
        raise ValueError(f"it is too short for the shape {tuple(shape)}")
    values = np.frombuffer(_read(stream, n), np.uint8).reshape(shape)
    if stream.read(1):
        raise ValueError(f"it is too long for the shape {tuple(shape)}")
    return values


def _read(stream: IO[bytes] | gzip.GzipFile, n: int) -> bytearray:
    """The next n bytes, with no more memory than there are bytes."""
    content = bytearray()
    while len(content) < n:
        chunk = stream.read(min(_CHUNK, n - len(content)))
        if not chunk:
            raise ValueError(f"{n - len(content)} bytes are missing")
        content += chunk
    return content
