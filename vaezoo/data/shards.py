"""Shards: .npy files of images or labels, checked by their headers and read some rows at a time.

They are read rather than mapped: pages of a map count as memory of the process, and a file that is
cut while it is mapped ends the process (SIGBUS), where a read ends in an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy

from vaezoo.data.maps import check_same, in_file
from vaezoo.data.pixels import check_pixels

__all__ = ["LABELS", "Shard", "image_shards", "label_shards"]

LABELS = ".labels.npy"  # ends the name of the labels of a file of images, in place of .npy
Source = str | os.PathLike[str] | np.memmap
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Shard:
    """An array in a file, row after row.

    Attributes:
        path: the file.
        offset: the byte at which the array begins.
        shape, dtype: of the array.
        state: size and time of change of the file when it was checked.
        mapped: whether it was given as a mapped array, which may be a part of the file.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    state: tuple[int, int]
    mapped: bool = False

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, rows: np.ndarray) -> None:
        """Read as many rows as there is room for, from `start` on.

        Args:
            start: the first row.
            rows: contiguous, of the dtype and the shape of some rows.

        Raises:
            ValueError: the file has changed since it was checked.
            OSError: it cannot be read, or is gone.
        """
        left = rows.data.cast("B")
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + start * self.dtype.itemsize * math.prod(self.shape[1:]))
            while left and (n := file.readinto(left)):
                left = left[n:]
            now = _state(file)
        if left or now != self.state:
            raise ValueError(
                f"{self.path} has changed since the stream was made, from {self.state[0]:,} bytes "
                f"to {now[0]:,}: shards must stay as they are; make the stream anew"
            )


def image_shards(shards: Source | Sequence[Source]) -> list[Shard]:
    """Files of images, uint8 (N, C, H, W) or (N, H, W), all of one shape (C, H, W).

    Args:
        shards: a folder, of which all .npy but those of labels are taken, in the order of their
            names; a file; an array that is mapped (`np.memmap`); or a list of the last two.

    Raises:
        ValueError: there are none, or one is no such file, is cut, or has another shape.
        OSError: one is not there or cannot be read.
        TypeError: one is no path and no mapped array.
    """
    found = [_checked_images(_shard(source)) for source in _sources(shards)]
    for shard in found:
        if shard.shape[1:] != found[0].shape[1:]:
            raise ValueError(
                f"{shard.path} holds images of the shape {shard.shape[1:]}, and "
                f"{found[0].path} {found[0].shape[1:]}: shards must be of one shape"
            )
    return found


def label_shards(
    images: list[Shard], labels: Source | Sequence[Source] | None
) -> list[Shard] | None:
    """The labels of each file of images: those that lie beside, if any, unless they are given.

    Beside mapped arrays none are looked for.

    Raises:
        ValueError: they are not as many, or are no integers (N,).
        OSError: one is not there or cannot be read.
    """
    mapped = any(shard.mapped for shard in images)
    sources = _sources(labels) if labels is not None else [] if mapped else _beside(images)
    if not sources:
        return None
    if len(sources) != len(images):
        raise ValueError(f"{len(images)} shards need as many of labels, got {len(sources)}")
    found = [_shard(source) for source in sources]
    for shard, of in zip(found, images, strict=True):
        if shard.dtype.kind not in "iu" or shard.shape != (len(of),):
            raise ValueError(
                f"{shard.path} must hold integers ({len(of)},), a label for each image of "
                f"{of.path}, got {shard.shape} of {shard.dtype}"
            )
        _check_size(shard)
    return found


def _beside(images: list[Shard]) -> list[Path]:
    paths = [
        shard.path.with_name(shard.path.name.removesuffix(".npy") + LABELS) for shard in images
    ]
    there = [path for path in paths if path.exists()]
    if there and len(there) < len(paths):
        missing = next(path for path in paths if path not in there)
        raise ValueError(
            f"{there[0].name} lies beside its images, and {missing} is not there: give every shard "
            "its labels, -1 where an image has none, or none"
        )
    return there


def _sources(shards: Any) -> list[Any]:
    if isinstance(shards, str | os.PathLike):
        path = Path(shards).expanduser().absolute()
        if not path.is_dir():
            return [path]
        shards = sorted(p for p in path.glob("*.npy") if not p.name.endswith(LABELS))
        if not shards:
            raise ValueError(f"the folder {path} holds no .npy files: see data.write_shards")
    shards = [shards] if isinstance(shards, np.ndarray) else list(shards)
    if not shards:
        raise ValueError("at least one shard is needed, got none")
    return shards


def _shard(source: Any) -> Shard:
    if isinstance(source, np.memmap):
        return _of_map(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"a shard is the path of a .npy file or a np.memmap, got a {type(source).__name__}; "
            "for what is in memory there is data.Images"
        )
    path = Path(source).expanduser().absolute()
    with path.open("rb") as file:
        try:
            shape, fortran, dtype = _HEADERS[npy.read_magic(file)](file)
            offset = file.tell()
        except Exception as error:  # of NumPy and of Python's parser
            raise ValueError(f"{path} is not a .npy file, or it is damaged ({error})") from error
        state = _state(file)
    if fortran and len(shape) > 1:
        raise ValueError(f"{path} is in Fortran's order: save np.ascontiguousarray(pixels)")
    return Shard(path, offset, shape, dtype, state)


def _of_map(array: np.memmap[Any, Any]) -> Shard:
    if (place := in_file(array)) is None:
        raise ValueError(
            "a mapped array must lie in its file as it is, row after row, got one that is a view "
            "in another order, has no file, or has changes of its own (mode 'c')"
        )
    path, offset = place
    with path.open("rb") as file:
        state = _state(file)
    check_same(array, path, offset)
    return Shard(path, offset, array.shape, array.dtype, state, mapped=True)


def _checked_images(shard: Shard) -> Shard:
    """The shard, as (N, C, H, W), once its type, its length and its shape are right."""
    shape = shard.shape
    if shard.dtype != np.uint8:
        raise ValueError(
            f"{shard.path} must hold bytes (uint8) with values 0 to 255, got {shard.dtype}: "
            'floats in [0, 1] become such by (255 * x).round().astype("uint8")'
        )
    shape = (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape
    if 0 in shape:
        raise ValueError(f"{shard.path} must hold at least one image, got the shape {shape}")
    _check_size(shard)
    try:
        meta = torch.empty(shape, dtype=torch.uint8, device="meta")
        check_pixels(meta, last="pixels.transpose(0, 3, 1, 2)")
    except ValueError as error:
        raise ValueError(f"{shard.path}: {error}") from error
    return replace(shard, shape=shape)


def _check_size(shard: Shard) -> None:
    """Refuse a file that is shorter or longer than its header says, or shorter than its map."""
    end = shard.offset + shard.dtype.itemsize * math.prod(map(int, shard.shape))
    size, least = shard.state[0], min(shard.shape, default=0)
    if least < 0 or size < end or (size > end and not shard.mapped):
        raise ValueError(
            f"{shard.path} should have {end:,} bytes for the shape {shard.shape}, got {size:,}: it "
            "was cut, or is still being written"
        )


def _state(file: IO[bytes]) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns
