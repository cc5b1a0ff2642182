"""Runs of several processes that stop and go on: bitwise what they would have been, in each process."""

from __future__ import annotations

import functools
import hashlib
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from several import in_processes
from torch import Tensor, nn
from torch.utils.data import DataLoader
from zoo import fixed, labels, member

from vaezoo import ELBO, Step, data, fit, objectives, posteriors
from vaezoo.training import KeepBest, Log, ResumeError
from vaezoo.training.processes import RankFailed, alone
from vaezoo.training.trees import packed, pieces, read

X = fixed(31)
PIXELS = data.Images((255 * X).byte(), labels(31), binarisation="dynamic")
OPTIONS: dict[str, Any] = {"log_every": 4, "batch_size": 8, "progress": False}


class Drawn:
    """Batches that NumPy and Python draw, the same in all processes, from a place they can say."""

    def __init__(self) -> None:
        self.i = 0

    def __iter__(self) -> Iterator[Tensor]:
        while self.i < 3:
            self.i += 1
            rows = [random.randrange(31) for _ in range(4)]
            yield X[rows + np.random.randint(31, size=3).tolist()]  # noqa: NPY002
        self.i = 0

    def state_dict(self) -> dict[str, int]:
        return {"i": self.i}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.i = state["i"]


def _normed() -> Any:
    """A VAE whose encoder draws, keeps statistics, and counts in a buffer that no file holds."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()), persistent=False)

        def forward(self, h: Tensor) -> Tensor:
            if self.training:
                self.seen += h.sum().detach()
            return h + 1e-3 * self.seen

    layers = nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), Counting(), nn.Linear(8, 6)
    encoder = nn.Sequential(nn.Flatten(-3), *layers, nn.Unflatten(-1, (2, 3)))
    return member("VAE", posterior=posteriors.DiagonalNormal((1, 4, 4), 3, network=encoder))


def _semi() -> Any:
    return data.semi_supervised(PIXELS, PIXELS[:9], batch_size=8, labelled_batch_size=4)


class Loader(DataLoader[Any]):
    """Torch's, which draws a seed when a pass begins, also where one goes on in the middle."""

    def __init__(self, rows: list[Tensor]) -> None:
        super().__init__(rows, 8)  # type: ignore[arg-type]
        self.i, self.place = 0, 0

    def __iter__(self) -> Any:
        left = super().__iter__()
        for _ in range(self.place):
            next(left)
        self.i, self.place = self.place, 0
        return self._counted(left)

    def _counted(self, left: Iterator[Any]) -> Iterator[Any]:
        for batch in left:
            self.i += 1
            drawn = int(torch.randint(4, ()))
            yield batch.roll(drawn, -1)

    def state_dict(self) -> dict[str, int]:
        return {"i": self.i}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state["i"]


# by name, what makes model, data and objective; what is counted in; and where runs stop and end
RUNS: dict[str, tuple[Callable[[int, Path], tuple[Any, ...]], str, tuple[int, int, int]]] = {
    "pixels": (lambda rank, _: (_normed(), PIXELS), "steps", (7, 12, 18)),
    "whole passes": (lambda rank, _: (member("VAE"), PIXELS), "epochs", (1, 2, 3)),
    "semi-supervised": (lambda rank, _: (member("SSVAE"), _semi()), "steps", (3, 7, 9)),
    "a list": (
        lambda rank, _: (member("VAE"), [X[:9], X[9:12], X[12:]], ELBO(objectives.WarmUp(9))),
        *("steps", (4, 6, 11)),
    ),
    "own shares": (
        lambda rank, _: (member("VAE"), [X[rank : 5 + 3 * rank], X[7:9]]),
        *("steps", (3, 4, 7)),
    ),
    # no batch is left in rank 1, and that of rank 0 is lost: nothing can be written behind it
    "uneven shares": (
        lambda rank, _: (member("VAE"), [X[:4]] * (5, 3)[rank]),
        *("epochs", (1, 2, 3)),
    ),
    "drawn": (lambda rank, _: (member("VAE"), Drawn()), "epochs", (1, 2, 4)),
    "a loader": (lambda rank, _: (member("VAE"), Loader(list(X))), "steps", (3, 6, 11)),
    "a stream": (
        lambda rank, folder: (
            member("VAE"),
            data.Stream(folder / "shards", binarisation="dynamic", batch_size=7),
        ),
        *("epochs", (1, 2, 3)),
    ),
    "labels beside a stream": (
        lambda rank, folder: (
            member("SSVAE"),
            data.semi_supervised(
                data.Stream(folder / "shards", binarisation="dynamic", batch_size=7),
                PIXELS[:9],
                labelled_batch_size=4,
            ),
        ),
        *("steps", (2, 5, 8)),
    ),
    "compiled": (lambda rank, _: (member("VAE"), [X[:9], X[9:18]]), "steps", (3, 6, 9)),
}


def _left(name: str, rank: int, folder: Path, n: int, checkpoint: Path | None) -> str:
    """A checksum of all that a run leaves in its process."""
    make, counted, _ = RUNS[name]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    model, batches, *objective = make(rank, folder)
    best, made = KeepBest(model, term="loss"), list[torch.optim.Optimizer]()
    options = OPTIONS | {counted: n, "compile": name == "compiled"}
    if checkpoint is not None:
        options |= {"checkpoint": checkpoint, "every": 5}
    history = fit(
        *(model, batches, *objective),
        optimizer=lambda p: made.append(torch.optim.Adam(p, lr=0.01)) or made[0],
        validation=_semi() if hasattr(model, "classify") else [X[:5]],
        callback=best if rank else [Log(folder / "log.csv"), best],  # which rank 0 alone writes
        **options,
    )
    history.pop("seconds")
    buffers = dict(model.named_buffers())
    left = [dict(history), model.state_dict(), buffers, made[0].state_dict(), best.state_dict()]
    return hashlib.sha256(b"".join(map(bytes, pieces(*packed([*left, torch.rand(1)]))))).hexdigest()


def _runs(rank: int, folder: Path) -> dict[str, list[str]]:
    """By run, checksums without a stop, with two, and once more when there is nothing to do."""
    warnings.simplefilter("ignore")
    Step.compile = functools.partialmethod(Step.compile, "eager")  # type: ignore[assignment]
    found = {}
    for name, (_, _, stops) in RUNS.items():
        unbroken = _left(name, rank, folder, stops[-1], None)
        for n in stops[:-1]:
            _left(name, rank, folder, n, folder / name)
        again = [_left(name, rank, folder, stops[-1], folder / name) for _ in range(2)]
        found[name] = [unbroken, *again]
    found["refused"] = _refused(rank, folder)
    return found


def _refused(rank: int, folder: Path) -> list[str]:
    """What is said of a folder of one process, of loaders without a place, and of unlike arguments."""
    with alone():
        fit(member("VAE"), [X], steps=1, checkpoint=folder / "one", progress=False)
    loader = torch.utils.data.DataLoader([X[0]] * 8, batch_size=4)
    said = []
    for batches, options in [
        ([X], {"checkpoint": folder / "one"}),
        (loader, {"checkpoint": folder / "other"}),
        ([X], {"checkpoint": folder / "other" if rank == 0 else None}),
        ([X], {"log_every": 5 + rank}),
    ]:
        try:
            fit(member("VAE"), batches, steps=1, progress=False, **options)
        except (ResumeError, TypeError, ValueError, RankFailed) as error:
            said.append(f"{type(error).__name__}: {error}")
    return said


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, list[str]]]]:
    folder = tmp_path_factory.mktemp("runs")
    data.write_shards(folder / "shards", [PIXELS.pixels[:23].numpy()], shard_size=8)
    return folder, in_processes(_runs, folder)


@pytest.mark.parametrize("name", RUNS)
def test_runs_go_on_where_they_stopped(name: str, found: Any) -> None:
    """Each process for itself: what they have of their own differs between them where it should."""
    _, ranks = found
    for rank in ranks:
        unbroken, *others = rank[name]
        assert others == [unbroken, unbroken]


def test_one_process_writes_what_each_has(found: Any) -> None:
    """Random states and places of both, in one file; weights once."""
    folder, _ = found
    state = read(sorted((folder / "pixels").iterdir())[-1])
    first, second = state["training"], state["ranks"]["1"]
    assert set(state["ranks"]) == {"1"}
    assert set(second["weights"]) == {"buffers"}
    assert second["weights"] != first["weights"]
    a, b = first["batches"], second["batches"]
    assert torch.equal(a["share"]["orders"][0], b["share"]["orders"][0])
    assert not torch.equal(a["random"]["torch"][0], b["random"]["torch"][0])


def test_what_cannot_go_on_is_refused_in_all(found: Any) -> None:
    _, (first, second) = found
    one, loader, unlike, records = first["refused"]
    assert "processes=none, got 2" in one
    assert loader.startswith("TypeError: a DataLoader cannot say where it is")
    assert unlike == (
        "ValueError: all processes must be given the same arguments: on rank 0 checkpoint=True, "
        "got False on rank 1"
    )
    assert "on rank 0 log_every=5, got 6 on rank 1" in records
    assert len(second["refused"]) == 4
