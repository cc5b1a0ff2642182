"""What `fit` calls at each record: when, with what, and what comes of it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from zoo import fixed, member, refused

from vaezoo import fit, load, save
from vaezoo.training import EarlyStopping, KeepBest, Log
from vaezoo.training.callbacks import Callbacks
from vaezoo.training.history import History

X = fixed(9)


def train(callback: Any, **options: Any) -> History:
    settings = {"steps": 10, "log_every": 3, "progress": False, **options}
    return fit(settings.pop("model", None) or member("VAE"), [X], callback=callback, **settings)


def test_each_record_is_told_also_the_last() -> None:
    """Three whole records and one of a single step, with the numbers of the history."""
    seen: list[dict[str, float]] = []
    history = train(seen.append, validation=[X])
    assert [r["step"] for r in seen] == history["step"] == [3, 6, 9, 10]
    assert {n: [r[n] for r in seen] for n in seen[0]} == history


@pytest.mark.parametrize("answer", [True, np.bool_(True)])
def test_true_ends_training(answer: Any) -> None:
    """It is no stop button; all others in the list hear of the record."""
    seen: list[dict[str, float]] = []
    history = train([lambda r: answer if r["step"] == 6 else False, seen.append])
    assert history["step"] == [3, 6] == [r["step"] for r in seen]
    assert not history.stopped


@pytest.mark.parametrize("answer", [None, 7, "text", 1.0])
def test_other_answers_do_not(answer: Any) -> None:
    """Such as the number of letters that a file has taken."""
    assert train(lambda record: answer)["step"] == [3, 6, 9, 10]


def test_it_changes_nothing() -> None:
    """Weights bitwise those without, though a callback copies them."""
    model, twin = member("VAE"), member("VAE")
    twin.load_state_dict(model.state_dict())
    state = torch.get_rng_state()
    train(None, model=twin, validation=[X])
    torch.set_rng_state(state)
    train(KeepBest(model), model=model, validation=[X])
    assert all(map(torch.equal, model.parameters(), twin.parameters()))


def test_an_error_in_it_carries_the_history() -> None:
    def failing(record: dict[str, float]) -> None:
        if record["step"] == 6:
            raise OSError("no such board")

    model = member("VAE").eval()
    with pytest.raises(OSError, match="no such board") as caught:
        train(failing, model=model)
    assert caught.value.history["step"] == [3, 6]  # type: ignore[attr-defined]
    assert len(caught.value.__notes__) == 1
    assert not model.training


def test_early_stopping_waits_for_its_patience() -> None:
    """By hand: best at 2, and three records that are no better by 0.5."""
    stop = EarlyStopping(3, term="loss", least=0.5)
    losses = [9.0, 4.0, 3.8, math.nan, 3.6, 1.0]
    answers = [stop({"step": i + 1, "loss": v}) for i, v in enumerate(losses)]
    assert answers == [False, False, False, False, True, False]
    assert (stop.best.value, stop.best.step) == (1.0, 6)
    higher = EarlyStopping(1, term="bound", higher=True)
    bounds = (-9.0, -5.0, -6.0, math.nan, -4.0)
    answers = [higher({"step": i, "bound": v}) for i, v in enumerate(bounds)]
    assert answers == [False, False, True, True, False]


def test_early_stopping_begins_anew_in_another_training() -> None:
    """After one that it has stopped, and one that it has not; with a history it goes on."""
    stop = EarlyStopping(2, term="loss", least=1e9)  # the first record is the best one
    for steps, records in ((50, 3), (50, 3), (2, 2), (50, 3)):
        assert len(train(stop, steps=steps, log_every=1)["step"]) == records
    history = train(stop, steps=2, log_every=1)
    assert train(stop, steps=50, log_every=1, history=history)["step"] == [1, 2, 3]


@pytest.mark.parametrize("log_every", [1, 4, 20])
def test_early_stopping_begins_anew_whenever_the_next_record_comes(log_every: int) -> None:
    """Also after more steps than the run before it had; with its history, or loaded, it goes on."""
    stop, loaded = EarlyStopping(2, term="loss", least=1e9), EarlyStopping(2, term="loss")
    history = train(stop, log_every=1)
    assert history["step"] == [1, 2, 3]
    state = stop.state_dict()
    again = train(stop, steps=60, log_every=log_every)
    assert again["step"] == [log_every, 2 * log_every, 3 * log_every]
    assert train(stop, steps=60, log_every=log_every, history=again)["step"][-1] == 4 * log_every
    loaded.load_state_dict({**state, "value": -1e9})
    assert train(loaded, steps=60, log_every=log_every)["step"] == [log_every]


def test_training_that_gets_worse_is_stopped_and_put_back() -> None:
    """A rate that grows: far fewer than 1,000 steps, and the weights of the best record."""
    model = member("VAE")
    best, bounds = KeepBest(model), []
    history = train(
        [EarlyStopping(4), best, lambda r: bounds.append(r["validation_loss"])],
        model=model,
        steps=1000,
        log_every=2,
        validation=[X],
        lr=lambda step: 1e-4 * 1.1**step,
    )
    place = int(np.argmin(history["validation_loss"]))
    assert history["step"][-1] == best.best.step + 8 < 1000
    assert best.best.value == history["validation_loss"][place] < bounds[-1]
    best.restore()
    again = fit(
        *(model, [X]), steps=1, lr=0.0, validation=[X], progress=False
    )  # its weights do not move
    assert again["validation_loss"][0] == best.best.value


def test_the_best_has_its_buffers_too(tmp_path: Path) -> None:
    """Those that `state_dict` leaves out as well; and a file, if asked for."""
    model = nn.BatchNorm1d(1)
    model.register_buffer("hidden", torch.zeros(1), persistent=False)
    saved: list[int] = []
    best = KeepBest(model, term="loss", save=lambda: saved.append(1))
    for i, loss in enumerate([3.0, 2.0, 2.0, math.nan, 4.0]):
        model(torch.tensor([[1.0 + i], [3.0]]))
        model.hidden.fill_(i)
        best({"step": i, "loss": loss})
    best.restore()
    assert (model.num_batches_tracked.item(), model.hidden.item(), len(saved)) == (2, 1, 2)
    vae, path = member("VAE"), tmp_path / "best.safetensors"
    best = KeepBest(vae, term="loss", save=lambda: save(vae, path))
    train(best, model=vae)
    best.restore()
    assert all(map(torch.equal, load(path).parameters(), vae.parameters()))


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_log_is_written_while_training_runs(tmp_path: Path, name: str) -> None:
    """At each record the file holds all until then, to the last digit; a second run begins anew."""
    path = tmp_path / "new" / name

    def rows() -> list[dict[str, float]]:
        text = path.read_text()
        if name.endswith("l"):
            return [json.loads(line) for line in text.splitlines()]
        table = csv.DictReader(text.splitlines())
        return [{n: float(v) for n, v in row.items()} for row in table]

    seen: list[int] = []
    for steps in (10, 4):
        log = Log(path)
        seen.clear()
        history = train([log, lambda r: seen.append(len(rows()))], steps=steps, validation=[X])
        assert seen == list(range(1, len(history["step"]) + 1))
        assert {n: [row[n] for row in rows()] for n in rows()[0]} == history


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_log_goes_on_behind_as_many_records(tmp_path: Path, name: str) -> None:
    """What was written after a checkpoint goes, half a line and a column included."""
    log = Log(tmp_path / name)
    log({"step": 1, "loss": 0.1})
    log({"step": 2, "loss": 0.2})
    state = log.state_dict()
    log({"step": 3, "loss": 0.3})
    log({"step": 4, "loss": 0.4, "more": 1})
    whole = log.path.read_bytes()
    for half in (b'{"st', b"5,0."):
        log.path.write_bytes(whole + half)
        again = Log(tmp_path / name)
        again.load_state_dict(state)
        again({"step": 3, "loss": 0.3})
        again({"step": 4, "loss": 0.4, "more": 1})
        assert log.path.read_bytes() == whole


def test_a_log_that_is_used_again_begins_anew(tmp_path: Path) -> None:
    """By another training; one that goes on with a history goes on in the file."""
    log = Log(tmp_path / "log.jsonl")
    for _ in range(2):
        history = train(log, steps=3, log_every=1)
        assert [json.loads(line)["step"] for line in log.path.read_text().split("\n")[:-1]] == [
            1,
            2,
            3,
        ]
    train(log, steps=2, log_every=1, history=history)
    assert len(log.path.read_text().splitlines()) == 5


def test_states_go_to_those_that_had_them() -> None:
    stop = EarlyStopping(2, term="loss")
    callbacks = Callbacks([print, stop])
    callbacks.each[1]({"step": 5, "loss": 1.0})
    callbacks.each[1]({"step": 6, "loss": 2.0})
    state = callbacks.state_dict()
    assert list(state) == ["1 EarlyStopping"]
    again = EarlyStopping(2, term="loss")
    Callbacks([print, again]).load_state_dict(state)
    assert (again.best.value, again.best.step, again.since) == (1.0, 5, 1)


test_what_cannot_be_is_refused = refused(
    [
        (lambda: train(3), TypeError, "callback must be a function of the record"),
        (lambda: train([EarlyStopping]), TypeError, "got the class EarlyStopping"),
        (lambda: train(EarlyStopping(3)), ValueError, "got 'validation_loss': give fit validation"),
        (lambda: EarlyStopping(0), ValueError, "patience must be at least 1, got 0"),
        (lambda: Log("log.txt"), ValueError, r"a file \*.csv or \*.jsonl, got log.txt"),
        (lambda: KeepBest(nn.Linear(1, 1)).restore(), RuntimeError, "nothing to restore"),
    ]
)
