"""Modes and generators: every caller runs in the mode it says, and puts back what it found."""

# ruff: noqa: NPY002  # NumPy's global generator is what is looked at

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, fixed, labels, member

from vaezoo import (
    ELBO,
    Bound,
    Step,
    accuracy,
    contract,
    crosscheck,
    evaluate,
    evaluation,
    fit,
    load,
    plots,
    posteriors,
    priors,
    save,
)
from vaezoo.diagnostics import component_samples, mixture_diagnostics
from vaezoo.models import ADGM, M1M2, LatentVariableModel
from vaezoo.scopes import OwnGenerator, own_generator
from vaezoo.training.opened import in_turn


class Noted(nn.Dropout):
    """A dropout that notes in which mode it ran."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.ran: list[bool] = []
        self.noting = True

    def forward(self, x: Tensor) -> Tensor:
        if self.noting:
            self.ran.append(self.training)
        return super().forward(x)


def network(out: tuple[int, ...]) -> nn.Module:
    """A batch norm that is frozen by hand, one that is not, and a dropout."""
    width = int(np.prod(out))
    norms = nn.BatchNorm1d(8).eval(), nn.BatchNorm1d(8)
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(16, 8), *norms, Noted(), nn.Linear(8, width)),
        nn.Unflatten(-1, out),
    )


def model(name: str = "VAE", **changes: Any) -> LatentVariableModel:
    posterior = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=network((2, Z_DIM)))
    if name == "SSVAE":
        classifier = posteriors.Classifier(X_SHAPE, 3, network=network((3,)))
        return member(name, classifier=classifier, **changes)
    return member(name, posterior=posterior, **changes)


def mixed(**changes: Any) -> LatentVariableModel:
    return model(prior=priors.MixtureOfGaussians(Z_DIM, k=2), **changes)


def m1m2() -> M1M2:
    found = M1M2(X_SHAPE, 2, 2, classes=3, hidden=(8,), upper_hidden=(8,))
    found.posterior = posteriors.DiagonalNormal(X_SHAPE, 2, network=network((2, 2)))
    return found


def adgm() -> ADGM:
    found = ADGM(X_SHAPE, 2, 2, classes=3, hidden=(8,))
    found.auxiliary_posterior = posteriors.DiagonalNormal(X_SHAPE, 2, network=network((2, 2)))
    return found


def vamp() -> LatentVariableModel:
    return model(prior=priors.VampPrior(X_SHAPE, Z_DIM, k=4))


def gaps(found: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights are too few to trust
        evaluation.gaps(found, [x], steps=1, particles=25, **QUIET)


x, y = fixed(12), labels(12)
QUIET: dict[str, Any] = {"progress": False}
SHORT: dict[str, Any] = {"chains": 2, "temperatures": 2, "steps": 1, **QUIET}
Case = tuple[Callable[[], LatentVariableModel], Callable[[Any], Any]]
# those that run in evaluation mode: a model, and a call of it
EVALUATING: dict[str, Case] = {
    "evaluate": (model, lambda m: evaluate(m, [x], particles=2, **QUIET)),
    "accuracy": (lambda: model("SSVAE"), lambda m: accuracy(m, [(x, y)])),
    "report": (model, lambda m: evaluation.report(m, [x], particles=25, **QUIET)),
    "annealed": (model, lambda m: evaluation.annealed(m, [x], **SHORT)),
    "sandwiched": (model, lambda m: evaluation.sandwiched(m, [x], **SHORT)),
    "gaps": (model, lambda m: gaps(m)),
    "clusters": (mixed, lambda m: evaluation.clusters(m, [(x, y)], **QUIET)),
    "calibration": (lambda: model("SSVAE"), lambda m: evaluation.calibration(m, [(x, y)], **QUIET)),
    "disentanglement": (model, lambda m: evaluation.disentanglement(m, [x], {"y": y}, **QUIET)),
    "classify": (lambda: model("SSVAE"), lambda m: m.classify(x)),
    "classify of M1M2": (m1m2, lambda m: m.classify(x)),
    "classify of ADGM": (adgm, lambda m: m.classify(x)),
    "sample": (vamp, lambda m: m.sample(3)),
    "encode": (model, lambda m: m.encode(x)),
    "reconstruct": (model, lambda m: m.reconstruct(x)),
    "reconstruct of M1M2": (m1m2, lambda m: m.reconstruct(x)),
    "traverse": (model, lambda m: m.traverse(x, 0)),
    "cluster": (vamp, lambda m: m.cluster(x)),
    "score": (model, lambda m: m.score(x)),
    "mixture_diagnostics": (mixed, lambda m: mixture_diagnostics(m, x)),
    "mixture_diagnostics of a VampPrior": (vamp, lambda m: mixture_diagnostics(m, x)),
    "component_samples": (vamp, lambda m: component_samples(m, [0], 3)),
    "plots.samples": (vamp, lambda m: plots.samples(m, 3)),
    "plots.reconstructions": (model, lambda m: plots.reconstructions(m, x)),
    "plots.latent_scatter": (model, lambda m: plots.latent_scatter(m, x, y)),
    "crosscheck": (model, lambda m: crosscheck(m, x, repeats=2)),
    "validation": (
        model,
        lambda m: fit(m, [x], steps=1, validation=[x], **QUIET),
    ),
    "a mean-field check": (
        model,
        lambda m: Bound(m, infer.TraceMeanField_ELBO(max_plate_nesting=1))(x),
    ),
}
# those that do not run the model, or run it as it is
OTHERS: dict[str, Case] = {
    "assignment": (model, lambda m: setattr(m, "posterior", m.posterior)),
    "contract": (model, lambda m: contract.check_prior(m.prior)),
    "fit": (model, lambda m: fit(m, [x], steps=2, **QUIET)),
    "fit with an error": (model, lambda m: interrupted(m)),
    "fit of a program": (model, lambda m: fit(with_program(m), [x], steps=1, **QUIET)),
    "a compiled step": (model, lambda m: compiled(m)),
    "save": (model, lambda m: save(m, Path(m.folder) / "m.safetensors")),
    "load": (model, lambda m: load(save(m, Path(m.folder) / "m.safetensors"), m)),
}


def with_program(found: Any) -> Any:
    found.guide = type(found).guide.__get__(found)
    return found


def interrupted(found: Any) -> None:
    with pytest.raises(ValueError, match="pixels that are 0 or 1"):
        fit(found, [x, x + 1], **QUIET)


def compiled(found: Any) -> None:
    for m in found.modules():
        if isinstance(m, Noted):
            m.noting = False  # a program that changes a list is not compiled
    step = Step(Bound(found), torch.optim.SGD(found.parameters(), lr=0.1)).compile("eager")
    for _ in range(3):
        step(x)


@pytest.mark.parametrize("name", [*EVALUATING, *OTHERS])
def test_modes_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    """A batch norm frozen by hand in a model that trains, and one that trains in one that not."""
    make, call = {**EVALUATING, **OTHERS}[name]
    for frozen in (True, False):
        found = make()
        object.__setattr__(found, "folder", tmp_path)
        if not frozen:
            found.eval()
            next(m for m in found.modules() if isinstance(m, nn.BatchNorm1d)).train()
        before = {n: m.training for n, m in found.named_modules()}
        assert len(set(before.values())) == 2
        call(found)
        assert {n: m.training for n, m in found.named_modules()} == before


@pytest.mark.parametrize("name", EVALUATING)
def test_it_runs_in_evaluation_mode(name: str) -> None:
    """Dropout is off, and the statistics of a batch norm stay where they are."""
    make, call = EVALUATING[name]
    found = make().train()
    noted = [m for m in found.modules() if isinstance(m, Noted)]
    found.eval().sample(1)
    found.train()
    for m in noted:
        m.ran.clear()
    norms = [m.running_mean.clone() for m in found.modules() if isinstance(m, nn.BatchNorm1d)]
    call(found)
    ran = [training for m in noted for training in m.ran]
    training = {"validation": 1, "a mean-field check": 1}.get(name, 0)  # the steps themselves
    assert sum(ran) == training
    assert len(ran) > training or name == "crosscheck", "which runs a copy"
    if not training:
        after = [m.running_mean for m in found.modules() if isinstance(m, nn.BatchNorm1d)]
        assert all(map(torch.equal, norms, after))


def test_fit_trains_what_is_not_frozen() -> None:
    """The frozen norm keeps its statistics in a model that trains; in one that does not, all move."""
    for training in (True, False):
        found = model()
        first, second = (m for m in found.modules() if isinstance(m, nn.BatchNorm1d))
        assert not first.training
        found = found if training else found.eval()
        kept = first.running_mean.clone(), second.running_mean.clone()
        fit(found, [x], steps=2, **QUIET)
        assert torch.equal(first.running_mean, kept[0]) is training
        assert not torch.equal(second.running_mean, kept[1])


def test_a_frozen_m1_does_not_change() -> None:
    """Weights, buffers and dropout of M1 stay as they are while M2 is trained; then all train."""
    m1 = model()
    fit(m1, [x], steps=5, **QUIET)
    m12 = M1M2.from_m1(m1, 2, classes=3, upper_hidden=(8,))
    before = {n: t.clone() for n, t in m12.posterior.state_dict().items()}
    for mode in (True, False):
        fit(m12.train(mode), [(x, x, y)], steps=3, **QUIET)
        after = m12.posterior.state_dict()
        assert all(torch.equal(before[n], t) for n, t in after.items())
    m12.requires_grad_(True)
    fit(m12, [(x, x, y)], steps=3, **QUIET)
    after = m12.posterior.state_dict()
    assert not any(torch.equal(before[n], t) for n, t in after.items() if "running" in n)


def _states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize(
    "name",
    [
        *("evaluate", "accuracy", "report", "annealed", "sandwiched", "gaps", "crosscheck"),
        *("plots.reconstructions", "plots.latent_scatter"),
        *("traverse", "score", "a mean-field check", "assignment", "contract"),
    ],
)
def test_generators_are_left_alone(name: str) -> None:
    """Torch's, NumPy's and Python's, apart from the draws of the step itself."""
    make, call = {**EVALUATING, **OTHERS}[name]
    found = make()
    if name == "a mean-field check":
        found.eval()  # no dropout
        torch.manual_seed(1)
        Bound(found, ELBO())(x)
        expected = torch.get_rng_state()
        torch.manual_seed(1)
        call(found)
        assert torch.equal(torch.get_rng_state(), expected)
        return
    before = _states()
    call(found)
    assert _states() == before


def test_blocks_of_one_generator_go_on() -> None:
    """Three blocks draw what one would, whatever is drawn between them."""
    own, found = OwnGenerator(7), []
    for _ in in_turn(range(3)):
        with own.drawn():
            found.append((torch.rand(2), np.random.rand(), random.random()))
        torch.rand(1), np.random.rand(), random.random()
    with own_generator(7):
        for each, number, other in found:
            assert torch.equal(each, torch.rand(2))
            assert number == np.random.rand()
            assert other == random.random()


@pytest.mark.skipif(
    torch.accelerator.is_available(), reason="its generator is seeded, and put back"
)
@pytest.mark.parametrize("seed", [5, -5, 2**40])
def test_no_seed_waits_for_a_gpu(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` would leave one in torch's queue, in place of the user's."""
    torch.manual_seed(seed)
    expected = torch.rand(3)
    asked: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", asked.append)
    with own_generator(seed):
        assert torch.equal(torch.rand(3), expected)
    assert not asked
