"""Files of MATLAB level 5, of which numbers are read, and nothing is taken on trust.

A file is a header of 128 bytes and then elements. Each has a tag, its type and its number of bytes,
and is padded to eight. A variable is an element `miMATRIX` of elements: flags, dimensions, name,
values; it may lie, compressed by zlib, in an element `miCOMPRESSED`, as in SVHN's files.

References:
    The MathWorks. MAT-File Format. 2024, chapter 1, "Level 5 MAT-file format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

__all__ = ["DEFLATE", "NUMBERS", "UINT8", "Variable", "variables"]

UINT8, NUMBERS = 9, range(6, 16)  # classes: 6 is double, 7 single, the others integers
DEFLATE = 1032  # the most by which zlib can shrink

_TYPES = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8"
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
_CHUNK = 2**20
_ELEMENTS = 1000  # in one file


class Variable(NamedTuple):
    """What a variable says of itself, and the source that its values are read from."""

    name: str
    kind: int
    shape: tuple[int, ...]
    type: int
    nbytes: int
    small: bytes  # the values, where they are so few that they lie in the tag
    source: _Source

    def values(self) -> np.ndarray:
        """The values, in one dimension; once only."""
        dtype = np.dtype(_TYPES[self.type])
        if (n := math.prod(self.shape)) * dtype.itemsize != self.nbytes:
            raise ValueError(f"{self.name} has {self.nbytes:,} bytes for the shape {self.shape}")
        if n == 0:
            raise ValueError(f"{self.name} is empty")
        if self.small:
            return np.frombuffer(self.small, dtype)
        content = np.empty(self.source.check(self.nbytes), np.uint8)
        self.source.into(content)
        self.source.finish()
        return content.view(dtype)


class _Source:
    """The bytes of a file's part in order, unpacked if need be, no more than are asked for."""

    def __init__(self, stream: IO[bytes], nbytes: int, packed: bool) -> None:
        self.stream, self.left = stream, nbytes
        self.most = nbytes * DEFLATE if packed else nbytes  # of bytes that may still come out
        self.unpacker = zlib.decompressobj() if packed else None

    def read(self, n: int) -> bytes:
        """The next n bytes."""
        out = np.empty(self.check(n), np.uint8)
        self.into(out)
        return out.tobytes()

    def check(self, n: int) -> int:
        """Return n, if so many bytes may still come."""
        if n > self.most:
            raise ValueError(f"{n:,} bytes are announced, and there can be {self.most:,}")
        return n

    def into(self, out: np.ndarray) -> None:
        """Fill an array with the next bytes."""
        self.most -= len(out)
        done = 0
        while done < len(out):
            chunk = self._chunk(min(_CHUNK, len(out) - done))
            if not chunk:
                raise ValueError(f"{len(out) - done:,} bytes are missing")
            out[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
            done += len(chunk)

    def _chunk(self, n: int) -> bytes:
        if self.unpacker is None:
            return self._raw(n)
        while not self.unpacker.eof:
            packed = self.unpacker.unconsumed_tail or self._raw(2**16)
            if chunk := self.unpacker.decompress(packed, n):
                return chunk
            if not packed:
                return b""
        return b""

    def _raw(self, n: int) -> bytes:
        content = self.stream.read(min(n, self.left))
        self.left -= len(content)
        return content

    def finish(self) -> None:
        """Let zlib compare its checksum, behind the padding at the end of what it unpacked."""
        if self.unpacker is None:
            return
        padding = 0
        while padding < 8 and (chunk := self._chunk(8)):
            padding += len(chunk)
        if padding > 7 or not self.unpacker.eof:
            raise ValueError("a compressed part has another length than it says")


def variables(stream: IO[bytes], size: int) -> Iterator[Variable]:
    """Each variable's description; its values are read, or not, before the next is asked for.

    Args:
        stream: a file, from its first byte.
        size: how many bytes it has.

    Raises:
        ValueError: it is no file of this kind, or it is damaged.
    """
    start = stream.read(128)
    if len(start) < 128 or start[124:] != b"\x00\x01IM":
        raise ValueError("it does not begin as a level-5 file does; in MATLAB save it with -v7")
    position = 128
    for _ in range(_ELEMENTS):
        if position == size:
            return
        stream.seek(position)
        kind, nbytes = struct.unpack("<II", _Source(stream, 8, packed=False).read(8))
        if nbytes > size - position - 8:
            raise ValueError(f"an element of {nbytes:,} bytes is longer than the file")
        source = _Source(stream, nbytes, packed=kind == _COMPRESSED)
        if kind == _COMPRESSED:
            kind, within = struct.unpack("<II", source.read(8))
            source.check(within)
        if kind != _MATRIX:
            raise ValueError(f"it holds an element of type {kind}, which is no variable")
        yield _described(source)
        position += 8 + nbytes
    raise ValueError(f"it has more than {_ELEMENTS} elements")


def _described(source: _Source) -> Variable:
    flags = _small(source, 6, 8)
    dimensions = _small(source, 5, 32 * 4)
    name = _small(source, 1, 64).decode("ascii")
    kind, nbytes, small = _tag(source)
    shape = struct.unpack(f"<{len(dimensions) // 4}i", dimensions)
    if min(shape, default=-1) < 0:
        raise ValueError(f"{name} has the shape {shape}")
    word = struct.unpack("<I", flags[:4])[0]
    if word & _COMPLEX:
        raise ValueError(f"{name} is complex")
    return Variable(name, word & 0xFF, shape, kind, nbytes, small, source)


def _tag(source: _Source) -> tuple[int, int, bytes]:
    """An element's type and length, and its content where that lies within the tag."""
    raw = source.read(8)
    kind, nbytes = struct.unpack("<II", raw)
    if small := kind >> 16:
        if small > 4:
            raise ValueError(f"a small element of {small} bytes")
        return kind & 0xFFFF, small, raw[4 : 4 + small]
    return kind, nbytes, b""


def _small(source: _Source, expected: int, most: int) -> bytes:
    """The content of an element that is part of a description."""
    kind, nbytes, content = _tag(source)
    if kind != expected or nbytes > most:
        raise ValueError(
            f"an element of type {kind} with {nbytes} bytes is not one of type {expected}"
        )
    return content or source.read(nbytes + -nbytes % 8)[:nbytes]
