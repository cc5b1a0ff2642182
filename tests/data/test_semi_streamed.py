"""A stream of unlabelled images with labelled ones beside it: passes, places, training, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import member

from vaezoo import data, fit
from vaezoo.data import semi_supervised
from vaezoo.data.passes import one_pass
from vaezoo.panel.images import some_images
from vaezoo.training import ResumeError

N, X_SHAPE = 130, (1, 4, 4)
PIXELS = np.random.default_rng(0).integers(0, 256, (N, *X_SHAPE), dtype=np.uint8)
LABELS = np.arange(N) % 3


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards with labels, which nobody is to look at."""
    parts = [(PIXELS[:70], LABELS[:70]), (PIXELS[70:], LABELS[70:])]
    data.write_shards(tmp_path / "shards", parts, shard_size=70)
    return tmp_path / "shards"


def few(n: int = 20, **options: Any) -> data.Images:
    return data.Images(PIXELS, LABELS, **{"binarisation": "dynamic", **options})[:n]


def beside(
    shards: Path, labelled: data.Images | None = None, size: int | None = None
) -> data.SemiSupervisedStream:
    stream = data.Stream(shards, binarisation="dynamic", batch_size=40, block=16, window=60)
    return semi_supervised(stream, labelled or few(), labelled_batch_size=size)


def equal(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(torch.equal(s, t) for s, t in zip(a, b, strict=True))


def test_a_pass_is_that_of_the_stream_and_goes_round_the_labelled(shards: Path) -> None:
    both = beside(shards, few(20, binarisation="none"), size=8)
    stream = data.Stream(shards, binarisation="dynamic", batch_size=40, block=16, window=60)
    assert len(both) == 4
    assert both.labelled_fraction == 20 / 150
    seen: list[Tensor] = []
    for _ in range(2):
        for (x, x_labelled, y), (alone, _) in zip(both, stream, strict=True):
            assert torch.equal(x, alone)
            assert (len(x_labelled), len(y), y.dtype) == (8, 8, torch.int64)
            where = [(torch.from_numpy(PIXELS) / 255 == each).all((1, 2, 3)) for each in x_labelled]
            assert all(
                LABELS[w.nonzero()[0]] == int(label) for w, label in zip(where, y, strict=True)
            )
            seen.append(torch.tensor([int(w.nonzero()[0]) for w in where]))
    # a round of labelled images is two batches of eight, four of twenty being left out
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert len(set(first.tolist()) | set(second.tolist())) == 16
    assert not torch.equal(seen[0], seen[4])


def test_sizes_by_default(shards: Path) -> None:
    assert beside(shards).labelled_batch_size == 20
    assert beside(shards, few(90)).labelled_batch_size == 40
    same = semi_supervised(data.Stream(shards, binarisation="none"), few(), batch_size=100)
    assert next(iter(same))[0].shape == (100, *X_SHAPE)
    assert "SemiSupervisedStream(Stream(stream, 130 × 1×4×4" in repr(same)


@pytest.mark.parametrize("done", [0, 1, 3, 4, 6])
def test_it_goes_on_where_it_was(shards: Path, done: int) -> None:
    """In the middle of a pass, and between two, to the last bit."""
    whole = beside(shards, size=8)
    torch.manual_seed(0)
    unbroken = [batch for _ in range(2) for batch in whole]
    torch.manual_seed(0)
    first, left = beside(shards, size=8), []
    for _ in range(2):
        for batch in first:
            left.append(batch)
            if len(left) == done:
                break
        if len(left) >= done:
            break
    state, random = first.state_dict(), torch.get_rng_state()
    torch.manual_seed(5)
    second = beside(shards, size=8)
    second.load_state_dict(state)
    torch.set_rng_state(random)
    while len(left) < 8:
        left.extend(second)
    assert all(map(equal, unbroken, left))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_resumed_is_training_unbroken(
    shards: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    """By `fit`'s checkpoints; the objective takes its labelled fraction from the data."""

    def run(steps: int, folder: str, labelled: data.Images | None = None) -> Any:
        torch.manual_seed(0)
        model = member("SSVAE").to(dtype)
        batches = beside(shards, labelled, size=8)
        assert model.objective(batches).labelled_fraction == batches.labelled_fraction
        where = {"checkpoint": tmp_path / folder, "every": 3}
        history = fit(model, batches, steps=steps, log_every=1, progress=False, **where)
        return list(model.parameters()), history["loss"]

    parameters, losses = run(9, "whole")
    for steps in (3, 6, 9):
        again, found = run(steps, "parts")
    assert found == losses
    assert equal(again, parameters)
    with pytest.raises(ResumeError, match="data"):
        run(12, "parts", few(30))


def test_validation_on_the_same_leaves_training_as_it_is(shards: Path) -> None:
    """In float64 too; a record, and another look, is the same each time."""
    ends, validated = [], []
    for validation in (False, True):
        torch.manual_seed(0)
        model, both = member("SSVAE").double(), beside(shards, size=8)
        options: dict[str, Any] = {"validation": both if validation else None, "lr": 1e-9}
        history = fit(model, both, epochs=2, log_every=3, progress=False, **options)
        validated.append(history.get("validation_loss"))
        ends.append([p.detach().clone() for p in model.parameters()])
        assert both.state_dict()["unlabelled"]["epoch"] == 2
    assert equal(*ends)
    assert max(validated[1]) - min(validated[1]) < 1e-3
    looks = [[t.clone() for t in next(iter(one_pass(both, 1, seed=0)))[:1]] for _ in range(2)]
    assert equal(*looks)
    assert both.state_dict()["unlabelled"]["epoch"] == 2


def test_a_panel_shows_its_images(shards: Path) -> None:
    both = beside(shards, few(20, binarisation="none"), size=8)
    x, y = some_images(both, 50, torch.zeros(1))
    assert x.shape == (50, *X_SHAPE)
    assert y is not None
    assert y.tolist().count(-1) == 42


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda s: semi_supervised(s), TypeError, r"got none: semi_supervised\(stream, labelled\)"),
    (lambda s: semi_supervised(s, s), TypeError, "of unlabelled images, got a Stream"),
    (lambda s: semi_supervised(s, few(), batch_size=7), ValueError, "own, 40 here, got 7"),
    (lambda s: semi_supervised(s, few(), batch_size=0), ValueError, "batch_size must be"),
    (
        lambda s: semi_supervised(s, few(), labelled_batch_size=21),
        *(ValueError, "between 1 and the 20 labelled images, got 21"),
    ),
    (
        lambda s: semi_supervised(s, data.Images(PIXELS, binarisation="none")),
        *(ValueError, "labelled images need labels"),
    ),
    (
        lambda s: semi_supervised(s, data.digits("test").labelled(10)),
        *(ValueError, r"must have one shape, got \(1, 4, 4\) and \(1, 28, 28\)"),
    ),
    (
        lambda s: semi_supervised(s, few()).load_state_dict(
            {"unlabelled": {**s.state_dict(), "of": {}}, "labelled": None}
        ),
        *(ValueError, "the state is of another stream"),
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(shards: Path, call: Any, error: type[Exception], message: str) -> None:
    stream = data.Stream(shards, binarisation="dynamic", batch_size=40)
    with pytest.raises(error, match=message):
        call(stream)


def test_a_class_without_labels_is_said(shards: Path) -> None:
    """As it is of images in memory."""
    labelled = data.Images(PIXELS[LABELS < 2], LABELS[LABELS < 2], binarisation="dynamic")[:20]
    with pytest.warns(UserWarning, match="no labelled image"):
        fit(member("SSVAE"), beside(shards, labelled), steps=2, log_every=1, progress=False)
