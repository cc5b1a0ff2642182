"""Shards that are written: what comes back, and that a folder is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peaks import at_most

from vaezoo.data import Stream, write_shards

PIXELS = np.random.default_rng(0).integers(0, 256, (103, 1, 3, 5), dtype=np.uint8)
LABELS = np.arange(103) % 5 - 1


def parts(*arrays: Any, size: int = 10) -> Iterator[Any]:
    for start in range(0, len(PIXELS), size):
        found = tuple(array[start : start + size] for array in arrays)
        yield found if len(found) > 1 else found[0]


@pytest.mark.parametrize("shard_size", [1, 7, 10, 50, 103, 1000])
def test_what_is_written_is_read(tmp_path: Path, shard_size: int) -> None:
    """By NumPy and by a stream, in files of equal sizes but for the last."""
    paths = write_shards(tmp_path / "a/b", parts(PIXELS, LABELS), shard_size=shard_size)
    assert paths == sorted(p for p in (tmp_path / "a/b").iterdir() if ".labels" not in p.name)
    assert np.array_equal(np.concatenate([np.load(path) for path in paths]), PIXELS)
    sizes = [len(np.load(path, mmap_mode="r")) for path in paths]
    assert {*sizes[:-1]} <= {shard_size}
    stream = Stream(tmp_path / "a/b", binarisation="none", shuffle=False, batch_size=103)
    ((x, y),) = stream
    assert torch.equal(x, torch.from_numpy(PIXELS) / 255)
    assert y.tolist() == LABELS.tolist()


def test_kinds_of_batches(tmp_path: Path) -> None:
    """Tensors, arrays, lists of labels, arrays in another order or of which some have no image."""
    turned = np.asfortranarray(PIXELS)
    kinds: list[Any] = [
        parts(torch.from_numpy(PIXELS)),
        parts(turned),
        parts(PIXELS, LABELS.tolist()),
        [PIXELS[::2][:20], PIXELS[20:]],
        parts(PIXELS, torch.from_numpy(LABELS)),
    ]
    for i, batches in enumerate(kinds):
        paths = write_shards(tmp_path / str(i), batches)
        found = np.load(paths[0])
        assert found.flags.c_contiguous
        assert np.array_equal(found, PIXELS) or i == 3
        assert (tmp_path / str(i) / "000000.labels.npy").exists() is (i in (2, 4))


def broken() -> Iterator[Any]:
    yield PIXELS
    raise KeyError("the source broke off")


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "nothing": (list, ValueError, "at least one batch of images is needed"),
    "floats": (lambda: [PIXELS / 255], TypeError, "pixels must be a uint8 tensor or array"),
    "rows": (lambda: [PIXELS[:, 0, 0]], ValueError, r"must have the shape \(N, C, H, W\)"),
    "another shape": (lambda: [PIXELS, PIXELS[..., :4]], ValueError, "like the first one"),
    "labels that end": (lambda: [(PIXELS, LABELS), PIXELS], ValueError, "got .*no labels"),
    "labels that begin": (lambda: [PIXELS, (PIXELS, LABELS)], ValueError, "like the first one"),
    "too few labels": (lambda: [(PIXELS, LABELS[:5])], ValueError, r"expected integer classes"),
    "labels of -2": (lambda: [(PIXELS, LABELS - 1)], ValueError, "classes from 0, or -1"),
    "an error": (broken, KeyError, "broke off"),
}


@pytest.mark.parametrize("name", BAD)
def test_after_an_error_nothing_is_there(tmp_path: Path, name: str) -> None:
    batches, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        write_shards(tmp_path / "new", batches(), shard_size=40)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_shards(tmp_path / "new", [PIXELS])
    before = (tmp_path / "new/000000.npy").read_bytes()
    with pytest.raises(FileExistsError, match="holds files"):
        write_shards(tmp_path / "new", [PIXELS[:5]])
    with pytest.raises(FileExistsError, match="holds files"):
        write_shards(tmp_path / "new/000000.npy", [PIXELS[:5]])
    assert (tmp_path / "new/000000.npy").read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert len(write_shards(tmp_path / "empty", [PIXELS])) == 1


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        write_shards(tmp_path / "new", [PIXELS])
    tmp_path.chmod(0o700)


def test_few_images_are_in_memory(tmp_path: Path) -> None:
    """60 MB of images, written in batches of 1.2 MB and read in windows of 1 MB: less than 16 MB."""
    batch = np.zeros((1000, 1, 30, 40), np.uint8)
    write_shards(tmp_path / "warm", [batch])
    with at_most(16e6):
        write_shards(tmp_path / "new", (batch for _ in range(50)), shard_size=20_000)
    stream = Stream(tmp_path / "new", binarisation="none", window=1000, batch_size=100)
    next(iter(stream))
    with at_most(16e6):
        assert sum(len(x) for (x,) in stream) == 50_000
