"""Values of many images: in a file, the same numbers as in memory, and kept where none can be written."""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo import member

from vaezoo import data, evaluate
from vaezoo.data import columns
from vaezoo.estimates import Estimate, Values, compare

N, FEW = 4000, 300


def found(values: Tensor, images: Tensor, size: int = 77) -> Estimate:
    gathered = Values()
    for part, x in zip(values.split(size), images.split(size), strict=True):
        gathered.see(x)
        gathered.add("nelbo", part)
    return gathered.estimates()["nelbo"]


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Estimate]:
    """Values and images, and what they come to in memory; from now on 300 are many."""
    values, images = torch.randn(N, dtype=torch.float64) + 90, torch.randn(N, 4)
    in_memory = found(values, images)
    monkeypatch.setattr(columns, "FEW", FEW)
    return values, images, in_memory


def check(estimate: Estimate, values: Tensor, in_memory: Estimate) -> None:
    assert tuple(estimate) == tuple(in_memory)
    assert estimate.values is not None
    assert torch.equal(estimate.values, values)


def test_those_of_a_file_are_those_of_memory(numbers: Any, tmp_path: Any) -> None:
    """Bitwise, and they can be copied, pickled, written into and compared."""
    values, images, in_memory = numbers
    estimate = found(values, images)
    check(estimate, values, in_memory)
    check(copy.deepcopy(estimate), values, in_memory)
    assert torch.equal(pickle.loads(pickle.dumps(estimate.values)), values)
    shifted = found(values + 1, images)
    difference = compare({"nelbo": shifted}, {"nelbo": estimate})["nelbo"]
    assert difference.mean == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match="different images"):
        compare({"nelbo": estimate}, {"nelbo": found(values, images.flip(0))})
    estimate.values[0] = 7
    check(found(values, images), values, in_memory)


def test_no_file_is_left(numbers: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values, images, in_memory = numbers
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    estimate = found(values, images)
    assert not list(tmp_path.iterdir())
    check(estimate, values, in_memory)


class Full:
    """A file on a disk that is full from its third write on."""

    def __init__(self, folder: Any) -> None:
        self.file = (folder / "values").open("w+b", buffering=0)
        self.full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
        self.writes = 0

    def write(self, what: Any) -> int:
        self.writes += 1
        return (self.file if self.writes < 3 else self.full).write(what)

    def seek(self, place: int) -> None:
        self.file.seek(place)

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()
        self.full.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_loses_nothing(
    numbers: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, images, in_memory = numbers
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full(tmp_path))
    check(found(values, images), values, in_memory)


def test_where_no_file_can_be_made_they_stay_in_memory(
    numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise FileNotFoundError("no usable temporary directory")

    values, images, in_memory = numbers
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    check(found(values, images), values, in_memory)


def test_an_evaluation_that_breaks_off_closes_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """An open file that is let go is a warning, and warnings are errors here."""
    monkeypatch.setattr(columns, "FEW", 5)
    x = torch.zeros(20, 1, 4, 4)
    with pytest.raises(ValueError, match="expected images"):
        evaluate(member("VAE"), [x, x, x[:, :, :2]], particles=1, progress=False)


def test_evaluations_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = member("VAE")
    images = data.Images((255 * torch.rand(60, 1, 4, 4)).byte(), binarisation="dynamic")
    options: dict[str, Any] = {"particles": (1, 5), "batch_size": 20, "progress": False}
    before = evaluate(vae, images, **options)
    monkeypatch.setattr(columns, "FEW", 7)
    after = evaluate(vae, images, **options)
    assert before == after
    assert all(torch.equal(after[n].values, before[n].values) for n in before)
