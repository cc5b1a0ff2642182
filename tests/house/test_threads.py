"""Threads take turns: Pyro's handlers and its validation belong to the whole process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from zoo import batch_for, fixed, labels, member

from vaezoo import Bound, Step, accuracy, crosscheck, evaluate, fit, plots, priors
from vaezoo.diagnostics import mixture_diagnostics
from vaezoo.scopes import one_thread, unchecked
from vaezoo.training import steps

X, Y = fixed(12), labels(12)
QUIET: dict[str, Any] = {"progress": False}


def mixed() -> Any:
    return member("VAE", prior=priors.MixtureOfGaussians(3, k=2))


# calls whose results do not depend on what else draws from the global generator
EXACT: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "evaluate": (lambda: member("VAE"), lambda m: evaluate(m, X.split(3), particles=9, **QUIET)),
    "accuracy": (lambda: member("SSVAE"), lambda m: accuracy(m, [(X, Y)])),
    "crosscheck": (lambda: member("VAE"), lambda m: list(crosscheck(m, X, repeats=5))),
    "classify": (lambda: member("SSVAE"), lambda m: m.classify(X).tolist()),
    "encode": (lambda: member("VAE"), lambda m: m.encode(X).tolist()),
    "reconstruct": (lambda: member("SSVAE"), lambda m: m.reconstruct(X).tolist()),
    "sample": (lambda: member("VAE"), lambda m: m.sample(z=torch.ones(4, 3)).tolist()),
    "diagnostics": (mixed, lambda m: mixture_diagnostics(m, X).usage.tolist()),
    "plots": (lambda: member("VAE"), lambda m: plots.reconstructions(m, X).get_size_inches().sum()),
}


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each call returns or raises, all of them at once."""
    found: list[Any] = [None] * len(calls)
    together = threading.Barrier(len(calls))

    def run(i: int) -> None:
        together.wait()
        try:
            found[i] = calls[i]()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return found


def repeated(call: Callable[[], Any], times: int = 4) -> list[Any]:
    return [call() for _ in range(times)]


@pytest.mark.parametrize("name", EXACT)
def test_results_are_those_without_threads(name: str) -> None:
    """Four threads on one model beside one that trains another: the same numbers, every time."""
    make, call = EXACT[name]
    model, other = make(), member("VAE")
    expected = call(model)
    train = lambda: fit(other, [X], steps=40, log_every=7, validation=[X], **QUIET)  # noqa: E731
    *results, history = in_threads([*[lambda: repeated(lambda: call(model))] * 4, train])
    assert results == [[expected] * 4] * 4
    assert not isinstance(history, Exception), history
    assert history["step"][-1] == 40
    assert dist.is_validation_enabled()
    assert not pyro.poutine.runtime.am_i_wrapped()


@pytest.mark.parametrize("name", ["VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE"])
def test_several_trainings_at_once(name: str) -> None:
    """All of them learn, none raises, and each model is left in its own mode."""
    if name == "SSVAE":
        batch: Any = (X, X, Y)
    else:
        batch = batch_for(name, 12)
    models: list[nn.Module] = [member(name).train(i % 2 == 0) for i in range(3)]
    options: dict[str, Any] = {"steps": 60, "lr": 0.02, "log_every": 20, "validation": [batch]}
    calls = [lambda m=m: fit(m, [batch], **options, **QUIET) for m in models]
    for history in in_threads(calls):
        assert not isinstance(history, Exception), history
        assert history["step"] == [20, 40, 60]
        assert history["loss"][-1] < history["loss"][0]
    assert [m.training for m in models] == [True, False, True]
    assert dist.is_validation_enabled()


def test_evaluation_of_a_model_in_training() -> None:
    """`evaluate` and `sample` of the model that another thread trains: modes do not mix."""
    model = member("VAE")
    model.posterior.network.rest[0] = nn.Sequential(nn.Dropout(0.9), noted := Noted(), nn.ELU())
    train = lambda: fit(model, [X], steps=60, log_every=60, **QUIET)  # noqa: E731
    look = lambda: repeated(lambda: (evaluate(model, [X], particles=1, **QUIET), model.encode(X)))  # noqa: E731
    for found in in_threads([train, look, look]):
        assert not isinstance(found, Exception), found
    assert sum(noted.modes) == 60, "training steps, and nothing else, ran in training mode"
    assert len(noted.modes) > 60


class Noted(nn.Identity):
    """Notes in which mode it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, x: Any) -> Any:
        self.modes.append(self.training)
        return x


def test_bounds_and_steps_of_ones_own() -> None:
    """Loops around `Bound` and `Step` in threads."""

    def loop() -> float:
        bound = Bound(member("VAE"))
        step = Step(bound, torch.optim.SGD(bound.parameters(), lr=1e-3))
        return sum(step(X)["loss"].item() + bound(X)["loss"].item() for _ in range(20))

    for found in in_threads([loop] * 4):
        assert isinstance(found, float), found


def test_another_thread_with_its_checks_off_turns_off_no_others() -> None:
    """Data are checked although training begins while another thread has its turn."""
    off, done = threading.Event(), threading.Event()

    def busy() -> None:
        with one_thread(), unchecked():
            off.set()
            done.wait(60)

    training = steps(member("VAE"), [X, X + 1], steps=9)
    thread = threading.Thread(target=busy)
    thread.start()
    off.wait(60)
    threading.Timer(0.3, done.set).start()
    with pytest.raises(ValueError, match="pixels that are 0 or 1"):
        list(training)
    thread.join()


def test_an_error_in_one_thread_leaves_the_rest_alone() -> None:
    """The lock is given up, validation is on, and the others go on."""
    one, other = member("VAE"), member("VAE")
    bad = lambda: fit(one, [X, X + 1], steps=9, **QUIET)  # noqa: E731
    good = lambda: evaluate(other, X.split(3), particles=9, **QUIET)  # noqa: E731
    for found in (in_threads([bad, good, bad, good]), in_threads([good, good])):
        assert sum(isinstance(f, dict) for f in found) == 2, found
        assert all(isinstance(f, dict | ValueError) for f in found), found
    assert dist.is_validation_enabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_wait_for_a_lock_that_no_one_holds() -> None:
    """Forked while another thread is inside: the child may enter."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with one_thread():
            inside.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if one_thread().acquire(timeout=60) else 1)  # type: ignore[attr-defined]
    status = os.waitpid(child, 0)[1]
    leave.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0
