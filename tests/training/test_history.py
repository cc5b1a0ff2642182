"""Histories: lists of equal length whatever was reported, and one history of two trainings."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import fixed, images, labels, member

from vaezoo import ELBO, NonFiniteLoss, SemiSupervised, data, fit, likelihoods
from vaezoo.objectives import WarmUp
from vaezoo.training import TrainingWarning
from vaezoo.training.history import History
from vaezoo.training.means import KEPT, Mean

X = fixed()


def train(model: Any, **options: Any) -> History:
    settings = {"steps": 5, "log_every": 2, "progress": False, **options}
    return fit(model, settings.pop("data", [X]), settings.pop("objective", None), **settings)


def test_one_history_of_two_trainings() -> None:
    """Steps and seconds go on, what is new or missing is NaN, and the first stays as it was."""
    vae = member("VAE")
    first = train(vae)
    kept = copy.deepcopy(first)
    second = train(vae, history=first, validation=[X])
    assert first == kept
    assert second["step"] == [2, 4, 5, 7, 9, 10]
    assert second["loss"][:3] == first["loss"]
    assert second["seconds"] == sorted(second["seconds"])
    assert second["seconds"][:3] == first["seconds"]
    assert [math.isnan(v) for v in second["validation_loss"]] == [True] * 3 + [False] * 3
    third = train(vae, history=second, steps=2)
    assert third["step"] == [*second["step"], 12]
    assert math.isnan(third["validation_loss"][-1])
    assert {len(values) for values in third.values()} == {7}
    assert train(vae, history={})["step"] == [2, 4, 5]


def test_it_goes_on_from_a_file() -> None:
    """A plain dict will do, as JSON has it; and a history is one for pickle and copies."""
    first = train(member("VAE"))
    found = train(member("VAE"), history=json.loads(json.dumps(first)))
    assert found["step"] == [2, 4, 5, 7, 9, 10]
    first.stopped = True
    for twin in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert twin == first
        assert twin.stopped
    assert not found.stopped


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"loss": [1.0]}, "must hold step and seconds.* got 1 of loss"),
        ({"step": [1, 2], "seconds": [1.0], "loss": [1.0]}, "equal length.* got 2 of step, 1 of"),
    ],
)
def test_what_is_no_history_is_refused(history: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(member("VAE"), history=history)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"step": 1, "seconds": 2.0}, r"history\['step'\] must be a list of numbers, got 1"),
        ({"step": ["a"], "seconds": [2.0]}, r"history\['step'\] must be .*, got 'a' in it"),
        ({"step": [1], "seconds": [None]}, r"history\['seconds'\] must be .*, got None in it"),
        ({"step": [math.nan], "seconds": [1.0]}, r"history\['step'\] must be .*, got nan in it"),
        ({"step": [1], "seconds": [1.0], "loss": ["a"]}, r"history\['loss'\] must be .* 'a' in it"),
        ({"step": torch.ones(1, 2), "seconds": [1.0]}, r"history\['step'\] must be a list"),
    ],
)
def test_columns_that_are_no_numbers_are_refused(history: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        train(member("VAE"), history=history)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_columns_of_arrays_and_without_a_record(make: Any) -> None:
    """Are gone on with as lists are, and as none is."""
    columns = {"step": make([3]), "seconds": make([0.5]), "loss": [None]}
    found = train(member("VAE"), history=columns)
    assert found["step"] == [3, 5, 7, 8]
    assert {type(v) for values in found.values() for v in values} == {int, float}
    for empty in ({"step": [], "seconds": []}, {"step": [], "seconds": [], "loss": []}):
        assert train(member("VAE"), history=empty)["step"] == train(member("VAE"))["step"]


class Sometimes(ELBO):
    """An objective that reports a term in some steps only."""

    calls = 0

    def estimate(self, *args: Any) -> dict[str, Tensor]:
        self.calls += 1
        found = super().estimate(*args)
        return {**found, "odd": torch.tensor(float(self.calls))} if self.calls > 3 else found


def test_terms_may_come_late() -> None:
    """Lists stay of one length, and a mean is over the steps that had the term."""
    history = train(member("VAE"), objective=Sometimes(), steps=6)
    assert {len(values) for values in history.values()} == {3}
    assert math.isnan(history["odd"][0])
    assert history["odd"][1:] == [4, 5.5]


def test_means_are_weighted_each_by_its_own_batches() -> None:
    mean = Mean()
    mean.add({"a": torch.tensor(1.0)}, weight=3)
    mean.add({"a": torch.tensor(5.0), "b": torch.tensor(2.0)})
    mean.add({"b": torch.tensor(4.0)}, weight=3)
    assert mean.take() == {"a": 2.0, "b": 3.5}
    assert mean.take() == {}


def test_means_of_many_steps_keep_few_numbers() -> None:
    """2,500 values, at most 1,000 of them kept at a time: the weighted mean, to 1e-12."""
    mean, generator = Mean(), torch.Generator().manual_seed(0)
    values = torch.rand(2500, generator=generator, dtype=torch.float64)
    weights = torch.randint(1, 9, (2500,), generator=generator)
    for value, weight in zip(values, weights.tolist(), strict=True):
        mean.add({"loss": value}, weight=weight)
        assert len(mean.values["loss"]) <= KEPT
        assert all(isinstance(kept, float) for kept in mean.values["loss"])  # no tensor of a CPU
    expected = ((values * weights).sum() / weights.sum()).item()
    assert mean.take()["loss"] == pytest.approx(expected, abs=1e-12)


def test_steps_of_errors_are_those_of_the_whole() -> None:
    """A loss that is not finite in the third step after five is that of step 8."""
    vae = member("VAE", likelihood=likelihoods.Normal(3, (1, 4, 4), hidden=(6,)))
    before = train(vae)
    poisoned = [X, X, torch.full_like(X, 1e30)]
    with pytest.raises(NonFiniteLoss, match="step 8") as caught:
        train(vae, data=poisoned, history=before)
    assert caught.value.history["step"] == [2, 4, 5, 7]
    assert before["step"] == [2, 4, 5]


def test_log_qy_is_over_labelled_images() -> None:
    """The mean log q(y|x) of the labelled images of a step, to 1e-5."""
    ssvae, x = member("SSVAE"), images(3)
    expected = ssvae.classify(x).log()[torch.arange(3), labels(3)].mean().item()
    history = train(
        ssvae, data=[(X, x, labels(3))], objective=SemiSupervised(), steps=1, log_every=1
    )
    assert history["log_qy"][0] == pytest.approx(expected, abs=1e-5)


def test_columns_are_plain_numbers() -> None:
    """Lists of Python's floats and ints, which JSON and tables take."""
    pixels = data.Images((255 * X).byte(), binarisation="threshold")
    history = train(member("VAE"), data=pixels, validation=pixels)
    assert all(type(v) in (int, float) for values in history.values() for v in values)
    assert isinstance(history, dict)


def test_a_schedule_that_others_have_moved_on_is_said(tmp_path: Path) -> None:
    """A cell that is run again, with a model of its own: no warm-up is left for it."""
    warm = ELBO(WarmUp(4))
    first = train(member("VAE"), objective=warm, steps=3)
    with pytest.warns(
        TrainingWarning, match=r"beta=WarmUp\(4, .* stands at step 3, .* with 0.75: give"
    ):
        again = train(member("VAE"), objective=warm, steps=3)
    assert again["beta"][-1] == 1
    train(member("VAE"), objective=warm, steps=3, history=first)
    resumed = ELBO(WarmUp(4))
    for steps in (3, 5):
        train(member("VAE"), objective=resumed, steps=steps, checkpoint=tmp_path)
    assert resumed.beta.taken == 5
