"""Data that people have: masked, mapped, linked, locked by others, on another default device."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vaezoo import data, fit, models
from vaezoo.data import locks
from vaezoo.data.batches import as_tensors
from vaezoo.data.neighbours import nearest, similarities

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
LABELS = np.arange(60) % 5
MASK = np.arange(60) >= 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: data.Images(PIXELS, np.ma.masked_array(LABELS, MASK), binarisation="none"),
        lambda: data.Images(
            np.ma.masked_array(PIXELS, np.broadcast_to(MASK[:, None, None, None], PIXELS.shape)),
            binarisation="none",
        ),
        lambda: as_tensors((np.zeros((60, 3)), np.ma.masked_array(LABELS, MASK)), None),
        lambda: as_tensors(np.ma.masked_array(np.zeros((60,)), MASK), torch.zeros(1)),
    ],
    ids=["labels", "pixels", "a batch", "an array"],
)
def test_masked_numbers_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="numbers are masked: fill them, as labels with"):
        make()


def test_nothing_masked_is_taken() -> None:
    images = data.Images(
        np.ma.masked_array(PIXELS), np.ma.masked_array(LABELS), binarisation="none"
    )
    assert images.labels is not None
    assert images.labels.tolist() == LABELS.tolist()


def test_a_file_that_was_replaced_since_it_was_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert torch.equal(data.Images(mapped, binarisation="none").pixels, torch.from_numpy(PIXELS))
    changed = PIXELS.copy()
    changed[-1, -1, -1, -1] ^= 1
    np.save(tmp_path / "b.npy", changed)
    os.replace(tmp_path / "b.npy", tmp_path / "a.npy")
    for make in (
        lambda: data.Images(mapped, binarisation="none"),
        lambda: data.Stream([mapped], binarisation="none"),
    ):
        with pytest.raises(ValueError, match=r"a\.npy was replaced after it was mapped"):
            make()
    anew = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert torch.equal(data.Images(anew, binarisation="none").pixels, torch.from_numpy(changed))


@pytest.mark.parametrize("there", [False, True])
def test_shards_are_written_behind_a_link(tmp_path: Path, there: bool) -> None:
    real, link = tmp_path / "disk" / "real", tmp_path / "shards"
    (real if there else real.parent).mkdir(parents=True)
    link.symlink_to(real)
    paths = data.write_shards(link, [PIXELS])
    assert paths == [link / "000000.npy"]
    assert link.is_symlink()
    assert np.array_equal(np.load(real / "000000.npy"), PIXELS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "shards"]


def test_shards_are_written_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    data.write_shards(".", [PIXELS])
    assert np.array_equal(np.load(tmp_path / "here" / "000000.npy"), PIXELS)


def another_user(look: Callable[[], int]) -> int:
    """What somebody finds who may not write to our files; for root it is another process."""
    if os.geteuid():
        return look()
    if not (child := os.fork()):
        try:
            os.setgid(65534)
            os.setuid(65534)
            os._exit(look())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not locks.CAN_LOCK, reason="a system without locks")
def test_another_users_lock_is_waited_for(tmp_path: Path) -> None:
    """And one that a killed process of theirs has left is taken."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o777)
    file = tmp_path / "a.bin"
    beside = tmp_path / ".vaezoo-a.bin.lock"

    def look() -> int:
        taken = locks._taken(beside)
        return {None: 0, -1: 1}.get(taken, 2)

    with locks.one_process(file):
        beside.chmod(0o444)
        assert another_user(look) == 0
    beside.touch(0o444)
    assert another_user(look) == 2
    beside.chmod(0o000)
    assert another_user(look) == 1


def test_labels_are_where_the_pixels_are() -> None:
    images = data.Images(torch.from_numpy(PIXELS).to("meta"), LABELS, binarisation="none")
    assert images.labels is not None
    assert images.labels.device.type == "meta"


def test_another_default_device_changes_nothing() -> None:
    """Here "meta", on which anything that strays has no numbers."""
    images = data.Images(PIXELS, LABELS, binarisation="threshold")
    few = images.labelled(10)
    spread = data.spread_labels(images, few, neighbours=5, progress=False)
    torch.set_default_device("meta")
    try:
        again = data.spread_labels(images, few, neighbours=5, progress=False)
        some, one = images[[0, 2]], images[3]
        made = data.Images(PIXELS, LABELS.tolist(), binarisation="threshold")
        masked = images[(LABELS == 2).tolist()]
    finally:
        torch.set_default_device(None)
    for a, b in ((again, spread), (some, images[::2][:2]), (made, images), (masked, images[2::5])):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(_labels(a), _labels(b))
    assert all(torch.equal(a, b) for a, b in zip(one, images[3], strict=True))


def _labels(images: data.Images) -> Tensor:
    assert images.labels is not None
    return images.labels


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_what_hardly_any_label_reaches_has_none(alpha: float) -> None:
    """A chain of images, one labelled at its end, against an exact solution of (I - αS) F = (1-α) Y."""
    n = 120
    pixels = np.zeros((n, 1, 1, n), np.uint8)
    for i in range(n):
        pixels[i, 0, 0, : i + 1] = 255
    images = data.Images(pixels, binarisation="none")
    few = data.Images(pixels[:1], [3], binarisation="none")
    found = _labels(
        data.spread_labels(images, few, neighbours=2, alpha=alpha, share=1, progress=False)
    )
    flat = images.pixels.flatten(1) / 255
    indices, squared = nearest(flat, 2, progress=False)
    w = torch.zeros(n, n, dtype=torch.float64).scatter_(
        1, indices, similarities(indices, squared).double()
    )
    w = (w + w.T) / 2
    root = w.sum(1).rsqrt()
    system = torch.eye(n, dtype=torch.float64) - alpha * root[:, None] * w * root
    exact = (1 - alpha) * torch.linalg.inv(system)[:, 0]
    clear = (exact.log10() + 10).abs() > 0.1  # where a solution to 1e-10 of it decides nothing
    assert ((found == 3) == (exact >= 1e-10))[clear].all()
    assert (found == -1).any()


@pytest.mark.parametrize("kind", ["stream", "a loader of it", "with labelled images"])
def test_a_float64_model_trains_on_a_stream(tmp_path: Path, kind: str) -> None:
    data.write_shards(tmp_path / "shards", [(PIXELS, LABELS)])
    stream = data.Stream(tmp_path / "shards", binarisation="threshold", batch_size=20)
    options: dict[str, Any] = {"steps": 2, "progress": False}
    if kind == "with labelled images":
        few = data.Images(PIXELS, LABELS, binarisation="threshold").labelled(10)
        ssvae = models.SSVAE((1, 4, 4), 2, classes=5, hidden=(8,)).double()
        assert fit(ssvae, data.semi_supervised(stream, few), **options)["step"]
        return
    batches = stream if kind == "stream" else DataLoader(stream, batch_size=None)
    assert fit(models.VAE((1, 4, 4), 2, hidden=(8,)).double(), batches, **options)["step"]
