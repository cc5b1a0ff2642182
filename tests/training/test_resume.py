"""Exact resume: whatever a run is stopped by, what comes of it is bitwise what would have come."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from zoo import fixed, labels, member

from vaezoo import ELBO, IWELBO, SemiSupervised, data, fit, objectives, posteriors
from vaezoo.training import KeepBest
from vaezoo.training.trees import packed, pieces

X, N = fixed(31), 23
PIXELS = data.Images((255 * X).byte(), labels(31), binarisation="dynamic")
FEW: Any = {"log_every": 4, "batch_size": 8, "progress": False}


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are bitwise equal, tensors and NaN included."""
    (tree, tensors), (other, others) = packed(a), packed(b)
    return pieces(tree, tensors)[1] == pieces(other, others)[1] and all(
        torch.equal(t.reshape(-1).view(torch.uint8), others[n].reshape(-1).view(torch.uint8))
        for n, t in tensors.items()
    )


def normed() -> Any:
    """A VAE whose encoder draws (dropout) and keeps statistics (batch norm)."""
    encoder = nn.Sequential(
        nn.Flatten(-3), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 6)
    )
    encoder.append(nn.Unflatten(-1, (2, 3)))
    return member("VAE", posterior=posteriors.DiagonalNormal((1, 4, 4), 3, network=encoder))


def vae(**options: Any) -> dict[str, Any]:
    model = member("VAE")
    best = KeepBest(model)
    return {"model": model, "data": PIXELS, "validation": [X[:5]], "callback": best} | options


def stepped() -> dict[str, Any]:
    model = member("GMVAE")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 9, 9], gamma=0.5)
    return {
        "model": model,
        "data": [X[:9], X[9:12], X[12:]],
        "optimizer": optimizer,
        "scheduler": scheduler,
    }


class OfNumPy:
    """Batches drawn by NumPy and Python, from data that can say where they are."""

    def __init__(self) -> None:
        self.i = 0

    def __iter__(self) -> Any:
        while self.i < 4:
            self.i += 1
            rows = [random.randrange(31) for _ in range(5)]
            rows += np.random.randint(31, size=3).tolist()  # noqa: NPY002
            yield X[rows]
        self.i = 0

    def state_dict(self) -> dict[str, int]:
        return {"i": self.i}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.i = state["i"]


RUNS: dict[str, Callable[[], dict[str, Any]]] = {
    "vae": vae,
    "warm-up": lambda: vae(objective=ELBO(objectives.WarmUp(15)), lr=lambda step: 1e-3 * 0.9**step),
    "batch norm": lambda: {"model": normed(), "data": PIXELS, "drop_last": True},
    "semi-supervised": lambda: {
        "model": member("SSVAE"),
        "data": data.semi_supervised(PIXELS, PIXELS[:9], batch_size=8, labelled_batch_size=4),
        "objective": SemiSupervised(ELBO(objectives.Cyclical(6))),
    },
    "importance": lambda: {"model": member("IWAE"), "data": PIXELS, "objective": IWELBO(3)},
    "momentum": stepped,
    "plateau": lambda: vae(
        optimizer=torch.optim.AdamW,
        lr=0.1,
        scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    ),
    "clipped": lambda: vae(max_grad_norm=0.5, optimizer=torch.optim.RAdam),
    "one cycle": lambda: vae(
        scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, total_steps=99)
    ),
    "numpy": lambda: vae(data=OfNumPy()),
}


def outcome(run: dict[str, Any], folder: Path | None, steps: int, **options: Any) -> Any:
    """All that a training leaves behind, but for the seconds."""
    run, seen = {**run, **FEW, **options}, []
    made: list[torch.optim.Optimizer] = []
    given, callback = run.pop("optimizer", torch.optim.Adam), run.pop("callback", None)
    if not isinstance(given, torch.optim.Optimizer):
        lr = run.get("lr")
        rate = {} if lr is None else {"lr": lr(0) if callable(lr) else lr}
        run["optimizer"] = lambda p: made.append(given(p, **rate)) or made[0]
        if not callable(lr):
            run.pop("lr", None)
        else:
            run.pop("optimizer")
    else:
        run["optimizer"] = given
        made.append(given)
    callbacks = [seen.append] if callback is None else [callback, seen.append]
    if folder is not None:
        run |= {"checkpoint": folder, "every": options.get("every", 5)}
    model, images = run.pop("model"), run.pop("data")
    history = dict(fit(model, images, run.pop("objective", None), steps=steps,
                       callback=callbacks, **run))  # fmt: skip
    history.pop("seconds")
    return {
        "history": history,
        "model": dict(model.state_dict()),
        "optimizer": [o.state_dict() for o in made],
        "best": callback.state_dict() if callback is not None else None,
        "drawn": [torch.rand(1), float(np.random.rand()), random.random()],  # noqa: NPY002
    }


def begin(name: str) -> dict[str, Any]:
    """A run as a script begins it, other seeds before it notwithstanding."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    return RUNS[name]()


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_where_it_stopped(name: str, tmp_path: Path) -> None:
    """Stopped at two places of 23, in the middle of a pass and of a record: bitwise equal."""
    expected = outcome(begin(name), None, N)
    for place in (7, 12):
        folder = tmp_path / str(place)
        outcome(begin(name), folder, place)
        found = outcome(begin(name), folder, N)
        for part in expected:
            assert same(found[part], expected[part]), part
        again = outcome(begin(name), folder, N)  # there is nothing to do any more
        for part in expected:
            assert same(again[part], expected[part]), part


@pytest.mark.parametrize("name", ["vae", "semi-supervised", "clipped"])
def test_a_compiled_run_goes_on_where_it_stopped(name: str, tmp_path: Path) -> None:
    """With two shapes of batches, the update inside the graph and outside: bitwise equal."""
    expected = outcome(begin(name), None, 11, compile=True)
    for place in (1, 2, 6):
        outcome(begin(name), tmp_path / str(place), place, compile=True)
        found = outcome(begin(name), tmp_path / str(place), 11, compile=True)
        for part in expected:
            assert same(found[part], expected[part]), (place, part)
