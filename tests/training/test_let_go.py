"""What training had is gone with its last name, without a pass of the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo import fixed, member

from vaezoo import Bound, evaluate, fit
from vaezoo.compiler import choice
from vaezoo.training import steps
from vaezoo.training.step import Step

X = fixed(9)


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    torch.optim.Adam(
        [torch.zeros(1, requires_grad=True)]
    )  # the first has torch import, and is kept
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def _compiled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """By no compiler, after three steps."""
    monkeypatch.setattr(choice, "OPERATIONS", (0, 0))
    monkeypatch.setattr(choice, "STEPS", 3)
    monkeypatch.setattr(Step.compile, "__defaults__", ("eager",))


@pytest.mark.parametrize("compiles", [None, True, False])
@pytest.mark.parametrize(
    "options", [{}, {"checkpoint": True}, {"max_grad_norm": 1.0}, {"average": 0.9}]
)
def test_behind_fit(options: dict[str, Any], compiles: bool | None, tmp_path: Path) -> None:
    """The optimizer when it returns, and the model when it is deleted."""
    given = {**options, "checkpoint": tmp_path} if "checkpoint" in options else options
    vae, made = member("VAE"), []

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        made.append(weakref.ref(adam := torch.optim.Adam(parameters, lr=1e-3)))
        return adam

    fit(vae, [X], steps=12, optimizer=optimizer, progress=False, compile=compiles, **given)
    assert [ref() for ref in made] == [None]
    model = weakref.ref(vae)
    del vae
    assert model() is None


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 1.0}])
def test_what_was_compiled_is_still_known(options: dict[str, Any]) -> None:
    """At the end of a training, and of one that went on from there: a third is no compilation more."""
    state, made = None, []
    for n in (3, 6, 9):
        training = steps(member("VAE"), [X], steps=n, compile=True, **options)
        if state is not None:
            training.load_state_dict(state)
        before = [*training][-1]
        state = training.state_dict()
        made.append((before.step, state["compiled"]["made"], len(state["compiled"]["compiled"])))
    assert made == [(3, 1, 1), (6, 1, 1), (9, 1, 1)]


@pytest.mark.parametrize("compiles", [None, True, False])
def test_behind_evaluate(compiles: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bound.compile, "__defaults__", ("eager",))
    vae = member("VAE")
    evaluate(vae, [X] * 9, particles=2, progress=False, compile=compiles)
    model = weakref.ref(vae)
    del vae
    assert model() is None


@pytest.mark.parametrize("compiles", [None, True, False])
@pytest.mark.parametrize("n", [2, 9])
def test_behind_steps_that_were_broken_off(n: int, compiles: bool | None) -> None:
    vae = member("VAE")
    training = steps(vae, [X], steps=99, compile=compiles)
    for taken in training:
        if taken.step == n:
            break
    left = [weakref.ref(vae), weakref.ref(training), weakref.ref(training.step.optimizer)]
    del vae, training, taken
    assert [ref() for ref in left] == [None] * 3
