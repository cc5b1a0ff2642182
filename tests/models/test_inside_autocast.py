"""One autocast around everything: what was written into weights within it is what answers.

An autocast keeps what it makes of weights until it ends, and knows nothing of what is written into
them. Here each question is asked before and after, and once more in an autocast of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor
from zoo import CLASSES, X_SHAPE, Z_DIM, images, labels, member

from vaezoo import (
    ELBO,
    Bound,
    Step,
    diagnostics,
    evaluate,
    fit,
    load,
    models,
    plots,
    priors,
    save,
)
from vaezoo.panel.swaps import put_back, remember
from vaezoo.training import KeepBest, steps

X, Y = images(6), labels(6)
BATCHES = [(X, X, Y)] * 3
Z = torch.linspace(-1, 1, 2 * Z_DIM).reshape(2, Z_DIM)


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def drawn(model: Any) -> Tensor:
    figure = plots.reconstructions(model, X)
    shown = [torch.as_tensor(i.get_array().data) for a in figure.axes for i in a.get_images()]
    plt.close(figure)
    return torch.cat([t.flatten() for t in shown])


QUESTIONS: dict[str, Callable[[Any], Tensor]] = {
    "encode": lambda m: m.encode(X),
    "reconstruct": lambda m: m.reconstruct(X),
    "decode": lambda m: m.decode(Z, y=1),
    "sample": lambda m: m.sample(y=1, z=Z),
    "score": lambda m: m.score(X),
    "cluster": lambda m: m.cluster(X),
    "traverse": lambda m: m.traverse(X, 0, values=[-1, 1]),
    "interpolate": lambda m: m.interpolate(X[:2], X[2:4], steps=3),
    "classify": lambda m: m.classify(X),
    "mixture_diagnostics": lambda m: diagnostics.mixture_diagnostics(m, X).usage,
    "evaluate": lambda m: evaluate(m, [(X, Y)], progress=False)["nelbo"].values,
    "a plot": drawn,
    "a bound": lambda m: seeded(lambda: Bound(m)(X, X, Y)["loss"]),
}
# asked by hand, as for gradients through a part
PARTS: dict[str, Callable[[Any], Tensor]] = {
    "posterior": lambda m: m.posterior(X, Y).mean,
    "likelihood": lambda m: m.likelihood(Z, torch.tensor([0, 1])).mean,
    "classifier": lambda m: m.classifier(X).logits,
    "prior": lambda m: m.prior().component_distribution.mean,
}


def seeded(ask: Callable[[], Tensor]) -> Tensor:
    torch.manual_seed(0)
    return ask()


def stirred(model: Any, seed: int) -> Any:
    """The same, with other weights: large ones, of which each tells."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 2)
    return model


def made() -> Any:
    return stirred(member("SSVAE", prior=vamp_prior()), 0)


def vamp_prior() -> priors.VampPrior:
    return priors.VampPrior(X_SHAPE, Z_DIM, k=4, classes=CLASSES, unit=False)


Writer = Callable[[Any, Path], Callable[[], Any]]


def by_load(model: Any, path: Path) -> Callable[[], Any]:
    save(stirred(made(), 1), path)
    return lambda: load(path, model)


def by_fit(model: Any, path: Path, **options: Any) -> Callable[[], Any]:
    return lambda: fit(model, BATCHES, steps=3, lr=0.1, progress=False, **options)


def by_steps(model: Any, path: Path) -> Callable[[], Any]:
    """Which are waited for, in the middle."""
    training = steps(model, BATCHES, steps=3, lr=0.1)
    return lambda: next(iter(training))


def by_hand(model: Any, path: Path) -> Callable[[], Any]:
    step = Step(Bound(model), torch.optim.Adam(model.parameters(), lr=0.1))
    return lambda: step(*BATCHES[0])


def by_restoring(model: Any, path: Path) -> Callable[[], Any]:
    best = KeepBest(model, term="loss")
    best({"step": 1, "loss": 1.0})
    stirred(model, 1)
    return best.restore


def by_resuming(model: Any, path: Path) -> Callable[[], Any]:
    training = steps(model, BATCHES, steps=3, lr=0.1)
    state = copy.deepcopy(training.state_dict())
    stirred(model, 1)
    return lambda: training.load_state_dict(state)


def by_averages(model: Any, path: Path) -> Callable[[], Any]:
    training = steps(model, BATCHES, steps=3, lr=0.1, average=0.9)
    next(iter(training))
    assert training.averages is not None
    return training.averages.give


def by_undoing(model: Any, path: Path) -> Callable[[], Any]:
    swap = remember("", model, ELBO())
    stirred(model, 1)
    return lambda: put_back(swap)


def by_starting(model: Any, path: Path) -> Callable[[], Any]:
    return lambda: model.prior.start_from(X[:4])


WRITERS: dict[str, Writer] = {
    "load": by_load,
    "fit": by_fit,
    "fit with averages": lambda m, p: by_fit(m, p, average=0.5, validation=[(X, X, Y)]),
    "steps": by_steps,
    "a step": by_hand,
    "restore": by_restoring,
    "load_state_dict of a training": by_resuming,
    "averages": by_averages,
    "an undone swap": by_undoing,
    "start_from": by_starting,
}
# torch writes, and knows no more of it than of a step of its optimizers
FOREIGN: dict[str, Writer] = {
    "load_state_dict": lambda m, p: lambda: m.load_state_dict(stirred(made(), 1).state_dict()),
    "torch.nn.init": lambda m, p: lambda: stirred(m, 1),
}


def assert_seen(write: Writer, ask: Callable[[Any], Tensor], path: Path) -> None:
    model = made()
    writing = write(model, path)
    with autocast():
        ask(model)
        writing()
        inside = ask(model)
    with autocast():
        fresh = ask(model)
    assert torch.equal(inside, fresh)


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_written_inside_an_autocast_is_seen(writer: str, tmp_path: Path) -> None:
    """By every question, bit for bit, and by parts that are called by hand."""
    for ask in (QUESTIONS | PARTS).values():
        assert_seen(WRITERS[writer], ask, tmp_path / "model.safetensors")


@pytest.mark.parametrize("writer", FOREIGN)
def test_what_torch_writes_inside_an_autocast_is_seen(writer: str, tmp_path: Path) -> None:
    """By every question, bit for bit."""
    for ask in QUESTIONS.values():
        assert_seen(FOREIGN[writer], ask, tmp_path)


@pytest.mark.parametrize("name", QUESTIONS | PARTS)
def test_a_model_that_is_loaded_inside_an_autocast_is_that_of_the_file(
    name: str, tmp_path: Path
) -> None:
    """Though making it ran its parts with other weights; so did taking a new part in."""
    path = tmp_path / "model.safetensors"
    save(stirred(made(), 1), path)
    ask = (QUESTIONS | PARTS)[name]
    with autocast():
        model = load(path)
        inside = ask(model)
        model.prior = vamp_prior()
        stirred(model, 2)
        swapped = ask(model)
    with autocast():
        fresh = ask(load(path))
    with autocast():
        again = ask(model)
    assert torch.equal(inside, fresh)
    assert torch.equal(swapped, again)


@pytest.mark.parametrize("name", ["M1M2", "ADGM"])
def test_classes_of_members_with_two_latents(name: str) -> None:
    with autocast():
        model: models.M1M2 | models.ADGM = stirred(member(name), 1)
        inside = model.classify(X)
    with autocast():
        fresh = model.classify(X)
    assert torch.equal(inside, fresh)
