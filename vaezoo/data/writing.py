"""Shards written from images that come a few at a time, of which few are ever in memory."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from vaezoo.data.counts import as_count
from vaezoo.data.labels import integer_labels
from vaezoo.data.pixels import as_pixels
from vaezoo.data.shards import LABELS

__all__ = ["write_shards"]


def write_shards(
    folder: str | os.PathLike[str], batches: Iterable[Any], *, shard_size: int = 100_000
) -> list[Path]:
    """Write images into a new folder of .npy files, as `data.Stream` reads them.

    The folder is there when all is written, and not at all after an error on the way.

    Args:
        folder: must not be there, or be empty.
        batches: pixels, uint8 (n, C, H, W), in tensors or arrays; or (pixels, labels), integers
            (n,), -1 where an image has no label; all of one kind and shape.
        shard_size: images in a file; the last one may have fewer.

    Returns:
        The files of images; the labels of `000000.npy` are in `000000.labels.npy`.

    Raises:
        TypeError, ValueError: a batch is no such, has another shape than the first, or there is
            none.
        FileExistsError: the folder holds files.
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     three = (np.zeros((3, 1, 2, 2), np.uint8), [0, 1, 2])
        ...     paths = write_shards(folder + "/new", [three, three], shard_size=4)
        ...     [(path.name, np.load(path).shape) for path in paths]
        [('000000.npy', (4, 1, 2, 2)), ('000001.npy', (2, 1, 2, 2))]
    """
    shard_size, folder = as_count("shard_size", shard_size), Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} holds files: give a new folder, or remove it")
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise TypeError(f"batches must be several of images, such as a list, got {batches!r}")
    place = folder.resolve()  # behind a link: there is the room, and what is written moves there
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}-{secrets.token_hex(8)}.partial")
    partial.mkdir()
    try:
        names = _write(partial, batches, shard_size)
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / name for name in names]


def _write(folder: Path, batches: Iterable[Any], shard_size: int) -> list[str]:
    names: list[str] = []
    with contextlib.ExitStack() as files:
        outputs, room = list[_File](), 0
        for arrays in _checked(batches):
            while len(arrays[0]):
                if not room:
                    files.close()
                    names.append(f"{len(names):06}")
                    paths = [folder / (names[-1] + end) for end in (".npy", LABELS)]
                    outputs = [_File(*each) for each in zip(paths, arrays, strict=False)]
                    for output in outputs:
                        files.callback(output.close)
                    room = shard_size
                for output, array in zip(outputs, arrays, strict=True):
                    output.add(array[:room])
                n = min(room, len(arrays[0]))
                arrays, room = [array[n:] for array in arrays], room - n
    if not names:
        raise ValueError("at least one batch of images is needed, got none")
    return [name + ".npy" for name in names]


def _checked(batches: Iterable[Any]) -> Iterator[list[np.ndarray]]:
    """Pixels, and labels if there are any, of every batch, all of the first one's kind."""
    first: tuple[Any, ...] | None = None
    for batch in batches:
        pixels, *labels = batch if isinstance(batch, list | tuple) else [batch]
        tensors = [as_pixels(pixels), *(integer_labels(y, len(pixels)) for y in labels[:1])]
        kind = (tuple(tensors[0].shape[1:]), "labels" if len(tensors) == 2 else "no labels")
        if kind != (first := first or kind):
            raise ValueError(f"batches must be like the first one, of {first}, got {kind}")
        if len(tensors) == 2 and (low := int(tensors[1].min())) < -1:
            raise ValueError(f"labels must be classes from 0, or -1 for no label, got {low}")
        yield [np.ascontiguousarray(t.numpy(force=True)) for t in tensors]


class _File:
    """A .npy file that is written some rows at a time."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        self.shape, self.dtype, self.n = like.shape[1:], like.dtype, 0
        self.file = path.open("xb")
        self.room = self.file.write(self._header(0))

    def add(self, rows: np.ndarray) -> None:
        self.file.write(rows.data)
        self.n += len(rows)

    def close(self) -> None:
        """Say in the header how many rows there are, for which NumPy leaves room."""
        with self.file:
            header = self._header(self.n)
            if len(header) != self.room:
                raise ValueError(f"{self.file.name} has a header of another length")
            self.file.seek(0)
            self.file.write(header)

    def _header(self, n: int) -> bytes:
        header = io.BytesIO()
        descr = npy.dtype_to_descr(self.dtype)
        fields = {"descr": descr, "fortran_order": False, "shape": (n, *self.shape)}
        npy.write_array_header_1_0(header, fields)
        return header.getvalue()
