"""Exact resume: whatever a run is stopped by, what comes of it is bitwise what would have come."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from zoo import fixed, labels, member

from vaezoo import ELBO, IWELBO, SemiSupervised, data, fit, models, objectives, posteriors
from vaezoo.data import shares
from vaezoo.data.files import unfinished, write_whole
from vaezoo.training import Checkpoints, EarlyStopping, KeepBest, Log, ResumeError, settings
from vaezoo.training.step import Step
from vaezoo.training.trees import packed, pieces, read, unpacked

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


class OfLoader:
    """Batches of torch's loader, which draws a seed when a pass begins, also in the middle."""

    def __init__(self, **options: Any) -> None:
        self.i, self.options = 0, options

    def __iter__(self) -> Any:
        left = Subset(TensorDataset(X), range(8 * self.i, 31))
        self.left = iter(DataLoader(left, 8, **self.options))
        return self

    def __next__(self) -> Any:
        batch = next(self.left, None)
        self.i = 0 if batch is None else self.i + 1
        if batch is None:
            raise StopIteration
        return batch

    def state_dict(self) -> dict[str, int]:
        return {"i": self.i}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.i = state["i"]


class Rolled(list[torch.Tensor]):
    """Batches that are drawn as they are asked for."""

    def __iter__(self) -> Any:
        return (batch.roll(int(torch.randint(4, ())), -1) for batch in super().__iter__())


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
    "a loader": lambda: vae(data=OfLoader()),
    "a list that draws": lambda: vae(data=Rolled(X.split(8))),
    "one shape": lambda: {"model": member("VAE"), "data": [X[:8], X[8:16]]},
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


@pytest.mark.parametrize("name", ["vae", "clipped"])
def test_a_traced_run_goes_on_where_it_stopped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shapes of batches, each eager at first and then a graph, with Adam in it and without."""
    monkeypatch.setattr(Step.compile, "__defaults__", ("eager",))
    expected = outcome(begin(name), None, 9, compile=True)
    outcome(begin(name), tmp_path, 4, compile=True)
    found = outcome(begin(name), tmp_path, 9, compile=True)
    for part in expected:
        assert same(found[part], expected[part]), part


def test_a_compiled_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """By Inductor: bitwise equal, from the first step of the second run on."""
    expected = outcome(begin("one shape"), None, 9, compile=True)
    outcome(begin("one shape"), tmp_path, 4, compile=True)
    found = outcome(begin("one shape"), tmp_path, 9, compile=True)
    for part in expected:
        assert same(found[part], expected[part]), part


def small(folder: Any, **options: Any) -> Any:
    """A short run of the same weights each time."""
    torch.manual_seed(2)
    settings = {"steps": 6, "log_every": 2, "progress": False, "every": 2, **options}
    model = settings.pop("model", None) or member("VAE")
    images = settings.pop("data", None) or [X[:8], X[8:16]]
    return fit(model, images, checkpoint=folder, **settings)


def names(folder: Path) -> list[int]:
    """The steps of a folder's checkpoints; there is nothing else in it."""
    assert all(p.name.startswith("step-") for p in folder.iterdir())
    return sorted(int(p.stem.removeprefix("step-")) for p in folder.iterdir())


@pytest.mark.filterwarnings("ignore:.*the loss rises:vaezoo.training.TrainingWarning")
def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    """At a rate that grows the best is an early one, also when the run goes on."""

    def run(folder: Path, steps: int) -> Any:
        kept = Checkpoints(folder, every=2, last=2)
        return small(kept, steps=steps, lr=lambda step: 0.01 * 1.6**step, validation=[X])

    run(tmp_path / "a", 13)
    history = run(tmp_path / "a", 20)
    run(tmp_path / "b", 20)
    best = history["step"][int(np.argmin(history["validation_loss"]))]
    assert best < 16
    assert names(tmp_path / "a") == names(tmp_path / "b") == [best, 18, 20]


@pytest.mark.filterwarnings("ignore:.*the loss rises:vaezoo.training.TrainingWarning")
def test_checkpoints_serve_another_run_once_their_folder_is_removed(tmp_path: Path) -> None:
    """The second is as long and worse: its files and its best one are its own."""
    kept = Checkpoints(tmp_path / "run", every=2, last=1)
    for lr in (1e-3, 0.5):
        history = small(kept, steps=6, lr=lambda step, lr=lr: lr, validation=[X])
        best = history["step"][int(np.argmin(history["validation_loss"]))]
        assert names(kept.folder) == sorted({best, 6})
        shutil.rmtree(kept.folder)
    assert best < 6


def test_checkpoints_have_their_own_every(tmp_path: Path) -> None:
    """Another beside it is refused, and by default a folder has 1,000."""
    with pytest.raises(ValueError, match=r"Checkpoints\(folder, every=2\), got 2 beside .* 3$"):
        small(Checkpoints(tmp_path / "a", every=3), every=2)
    assert not (tmp_path / "a").exists()
    for every in (None, 3):
        small(Checkpoints(tmp_path / "a", every=3), every=every, steps=4)
        assert names(tmp_path / "a") == [3, 4]
    small(tmp_path / "b", every=None)
    assert names(tmp_path / "b") == [6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_ends(number: int, tmp_path: Path) -> None:
    """In the fifth of nine steps; the next call goes on, and handlers are as they were."""
    usual = signal.getsignal(signal.SIGTERM)

    class Pressing(ELBO):
        taken, at = 0, 5

        def step(self) -> None:
            self.taken += 1
            if self.taken == self.at:
                os.kill(os.getpid(), number)

    stopped = small(tmp_path / "a", steps=9, objective=Pressing(), every=100)
    assert (stopped.stopped, stopped["step"]) == (True, [2, 4, 5])
    assert names(tmp_path / "a") == [5]
    history = small(tmp_path / "a", steps=9, objective=Pressing(), every=100)
    expected = small(tmp_path / "b", steps=9, every=100)
    assert (history.stopped, history["step"]) == (False, [2, 4, 6, 8, 9])
    assert history["loss"] == expected["loss"]
    assert signal.getsignal(signal.SIGTERM) is usual


def test_pressed_while_a_batch_is_made_the_step_is_taken(tmp_path: Path) -> None:
    """Its random draws are over: without the step the next call would draw others."""

    class Loading(OfNumPy):
        def __iter__(self) -> Any:
            for i, batch in enumerate(super().__iter__()):
                if i == 2 and not pressed:
                    pressed.append(os.kill(os.getpid(), signal.SIGTERM))
                yield batch

    pressed: list[Any] = []
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert small(tmp_path, data=Loading())["step"] == [2, 3]
    history = small(tmp_path, data=Loading())
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert history["loss"] == small(tmp_path / "b", data=Loading())["loss"]


def test_a_run_that_a_callback_ended_stays_so(tmp_path: Path) -> None:
    """It takes no step, and returns the same history."""
    for _ in range(2):
        stop = EarlyStopping(1, term="loss", least=1e9)
        history = small(tmp_path, callback=stop, every=100)
        assert (history["step"], stop.since, names(tmp_path)) == ([2, 4], 1, [4])


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": member("VAE", z_dim=2)}, r"model=VAE: .*StandardNormal\(3\).*, got VAE: "),
    "data length": ({"data": [X[:8]]}, "data=a list of 2, got a list of 1"),
    "batch size": ({"batch_size": 50}, "batch_size=100, got 50"),
    "optimizer": ({"optimizer": torch.optim.SGD, "lr": 0.1}, "optimizer=Adam, got SGD"),
    "rate": ({"lr": 0.1}, "optimizer.lr=0.001, got 0.1"),
    "objective": ({"objective": ELBO(beta=2.0)}, "objective.beta=1.*, got 2.0"),
    "scheduler": (
        {"scheduler": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5)},
        "scheduler=None, got ExponentialLR",
    ),
    "records": ({"log_every": 3}, "log_every=2, got 3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_arguments_are_refused_by_name(change: str, tmp_path: Path) -> None:
    """Nothing is written, and the run can be gone on with."""
    small(tmp_path, steps=3)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    options, message = CHANGES[change]
    with pytest.raises(ResumeError, match=message):
        small(tmp_path, **options)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", ["alone", "with labels"])
def test_images_that_are_moved_further_are_others(kind: str, tmp_path: Path) -> None:
    few = data.digits("test")[:100]

    def run(degrees: float) -> None:
        moved: Any = data.Moved(few, degrees=degrees)
        both = data.semi_supervised(few, moved, batch_size=50)
        given = moved if kind == "alone" else both
        model = models.VAE(z_dim=2) if kind == "alone" else models.SSVAE(z_dim=2)
        small(tmp_path, data=given, model=model, steps=3)

    run(1)
    run(1)
    with pytest.raises(ResumeError, match=r"Moves\(degrees=1, .*, got .*Moves\(degrees=60"):
        run(60)


def test_moves_of_images_that_are_moved_twice_or_shared_out_are_known() -> None:
    few = data.digits("test")[:100]
    twice = data.Moved(data.Moved(few, elastic=2.0), degrees=0)
    both = data.semi_supervised(few, twice, batch_size=50)

    def said(given: Any) -> Any:
        linear = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(linear.parameters(), 0.1)
        return settings.settings_of(linear, ELBO(), optimizer, None, data=given)["data"]

    for given in (twice, shares.ImagesShare(twice, 0, 2, seed=0)):
        assert "elastic=2" in said(given)
        assert "Moves(degrees=0" in said(given)
    for given in (both, shares.SemiSupervisedShare(both, 0, 2, seed=0)):
        assert said(given).count("Moves(") == 2


Schedulers = torch.optim.lr_scheduler
REUSED: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "none": lambda o: None,
    "exponential": lambda o: Schedulers.ExponentialLR(o, 0.9),
    "linear": lambda o: Schedulers.LinearLR(o, 0.1),
    "plateau": lambda o: Schedulers.ReduceLROnPlateau(o, patience=0, threshold=9.0),
    "one cycle": lambda o: Schedulers.OneCycleLR(o, 0.01, total_steps=9),
    "cyclic": lambda o: Schedulers.CyclicLR(o, 1e-3, 0.01, 3),
    "restarts": lambda o: Schedulers.CosineAnnealingWarmRestarts(o, 2),
    "two": lambda o: Schedulers.SequentialLR(
        o, [Schedulers.LinearLR(o), Schedulers.StepLR(o, 1)], [3]
    ),
}


@pytest.mark.parametrize("name", REUSED)
def test_a_second_call_with_the_same_objects_goes_on(name: str, tmp_path: Path) -> None:
    """As in a notebook, after an error: weights bitwise those of a run without one."""

    def objects() -> Any:
        torch.manual_seed(3)
        model = member("VAE", beta=objectives.WarmUp(10))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        return {"model": model, "optimizer": optimizer, "scheduler": REUSED[name](optimizer)}

    def fail(record: dict[str, float]) -> None:
        if record["step"] == 4:
            raise KeyError("callback")

    run, whole = objects(), objects()
    with pytest.raises(KeyError):
        small(tmp_path / "a", **run, log_every=1, callback=fail)
    assert small(tmp_path / "a", **run, log_every=1)["step"] == [1, 2, 3, 4, 5, 6]
    small(tmp_path / "b", **whole, log_every=1)
    assert all(map(torch.equal, run["model"].parameters(), whole["model"].parameters()))


def test_states_of_callbacks_wherever_they_are_in_the_list(tmp_path: Path) -> None:
    """One is put in front, and two of a class keep their order; one that is left out is refused."""

    def callbacks() -> list[Any]:
        first, second = (Log(tmp_path / f"{name}.csv") for name in ("a", "b"))
        return [first, EarlyStopping(99, term="loss"), second]

    small(tmp_path / "run", callback=callbacks())
    models = member("VAE"), member("VAE")
    models[0].load_state_dict(models[1].state_dict())
    for missing, name in ((2, "Log"), (1, "EarlyStopping")):
        given = [c for i, c in enumerate(callbacks()) if i != missing]
        with pytest.raises(ResumeError, match=f"the callback {name}, whose state would be lost"):
            small(tmp_path / "run", callback=given, model=models[0], steps=8)
        assert all(map(torch.equal, *(model.parameters() for model in models)))
    given = [lambda record: None, KeepBest(models[0], term="loss"), *callbacks()[::-1]]
    history = small(tmp_path / "run", callback=given, model=models[0], steps=8)
    stop = given[3]
    place = int(np.argmin(history["loss"]))
    assert (stop.best.step, stop.since) == (history["step"][place], 3 - place)
    for name in ("a", "b"):
        rows = (tmp_path / f"{name}.csv").read_text().splitlines()
        assert [row.partition(",")[0] for row in rows] == ["step", "2", "4", "6", "8"]


def test_what_cannot_be_resumed_is_refused_at_once(tmp_path: Path) -> None:
    loader = torch.utils.data.DataLoader([X[0]] * 8, batch_size=4)
    with pytest.raises(
        TypeError, match=r"a DataLoader cannot say where it is.* StatefulDataLoader"
    ):
        small(tmp_path, data=loader)

    class Odd:
        def step(self) -> None:
            pass

        def state_dict(self) -> dict[str, Any]:
            return {"rate": print}

    with pytest.raises(
        TypeError, match=r"training.scheduler.rate is a builtin.* no checkpoint can"
    ):
        small(tmp_path, scheduler=Odd())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused while the first is training; what a killed one left is removed."""
    monkeypatch.setattr("vaezoo.training.locking.PATIENCE", 0.1)
    (tmp_path / ".vaezoo-00ff.partial").write_bytes(b"half")

    def other(record: dict[str, float]) -> None:
        assert not list(unfinished(tmp_path)) or record["step"] > 2
        with pytest.raises(ResumeError, match="another process is training into"):
            small(tmp_path)

    small(tmp_path, callback=other)
    assert names(tmp_path) == [4, 6]


def test_a_checkpoint_that_cannot_be_written_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says why and carries the history; the one before stays."""

    def full(path: Path, content: Any) -> None:
        if "000000004" in path.name:
            raise OSError(28, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr("vaezoo.training.checkpointing.write_whole", full)
    with pytest.raises(OSError, match="No space left") as caught:
        small(tmp_path, steps=100)
    assert caught.value.history["step"] == [2, 4, 6]  # type: ignore[attr-defined]
    assert names(tmp_path) == [2]


@pytest.mark.parametrize("damage", ["cut", "header", "format", "state"])
def test_a_damaged_file_is_named_with_the_cure(damage: str, tmp_path: Path) -> None:
    small(tmp_path)
    path = tmp_path / "step-000000006.safetensors"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-9],
            "header": b"\xff" * 8 + content[8:],
            "format": content.replace(b'"vaezoo training": "1"', b'"vaezoo training": "9"'),
            "state": content.replace(b'\\"training\\"', b'\\"trainin_\\"'),
        }[damage]
    )
    with pytest.raises(ResumeError, match=r"step-000000006.safetensors (is|holds) "):
        small(tmp_path)
    path.unlink()
    assert small(tmp_path)["step"] == [2, 4, 6]


def test_the_first_format_stays_readable() -> None:
    """A checkpoint that this version's first release wrote: fields, numbers, and its header."""
    state = read(Path(__file__).parent / "checkpoints" / "format-1.safetensors")
    assert state["training"]["records"]["history"]["step"].tolist() == [2, 4]
    assert set(state["training"]) == {
        *("settings", "weights", "others", "optimizer", "scheduler", "objective", "records"),
        *("compiled", "batches", "stopping"),
    }
    moments = state["training"]["optimizer"]["state"]
    assert [moments[i]["step"].item() for i in sorted(moments)] == [4.0] * len(moments)


def test_states_of_all_kinds_come_back() -> None:
    """Keys that are numbers, tuples, counters, NaN, dtypes and shapes; float64 to the last bit."""
    state = {
        1: (2, [None, True, "text", math.nan, -math.inf, 1e-320]),
        "counter": Counter([3, 3, 5]),
        "tensor": {"tensor": torch.tensor(0.1, dtype=torch.float64)},
        "kinds": [torch.tensor([1, 0]).to(t) for t in (torch.bfloat16, torch.bool, torch.int16)],
        "empty": [torch.zeros(0, 3), {}, [], ()],
    }
    tree, tensors = packed(state)
    again = unpacked(json.loads(json.dumps(tree)), tensors)
    assert same(again, state)
    assert type(again["counter"]) is Counter
    assert type(again[1]) is tuple


def test_places_whose_names_read_alike(tmp_path: Path) -> None:
    """A key with a dot, one within another, and the name that the file keeps for itself."""
    one, two, three, four = torch.arange(4.0).unbind()
    states: list[Any] = [
        {"a.b": one, "a": {"b": two, "b'": three}, "a.b'": four},
        {"a": [one, {"0": two}], "a.0": three, "a.1.0": four},
        {"__metadata__": one, "": two, ".": three},
        one,
    ]
    for state in states:
        assert unpacked(*packed(state)) == state
        (tmp_path / "state").write_bytes(b"".join(map(bytes, pieces(*packed(state)))))
        assert read(tmp_path / "state") == state


@pytest.mark.parametrize("kind", ["a stream", "numpy", "a loader"])
def test_more_passes_are_those_that_would_have_come(kind: str, tmp_path: Path) -> None:
    """Two passes, and a third by another call, over data that say where they are themselves."""
    data.write_shards(tmp_path / "shards", [PIXELS.pixels.numpy()], shard_size=8)

    def left(folder: Path | None, epochs: int) -> Any:
        stream = data.Stream(tmp_path / "shards", binarisation="dynamic", batch_size=8)
        run = begin("numpy") | {"data": stream} if kind == "a stream" else begin(kind)
        return outcome(run, folder, steps=None, epochs=epochs)  # type: ignore[arg-type]

    left(tmp_path / "run", 2)
    assert same(left(tmp_path / "run", 3), left(None, 3))


@pytest.mark.parametrize("ends", [{"steps": 3}, {"steps": None, "epochs": 1}])
def test_a_run_that_is_beyond_its_end_takes_no_step(ends: Any, tmp_path: Path) -> None:
    """Six steps are done, and three or one pass of two are asked for: their history comes back."""

    def no_more(record: dict[str, float]) -> None:
        raise AssertionError(f"step {record['step']}")

    longer = {"steps": 6} if ends["steps"] else {"steps": None, "epochs": 3}
    whole = small(tmp_path, **longer)
    assert small(tmp_path, **ends, callback=no_more) == whole
    assert whole["step"] == [2, 4, 6]
