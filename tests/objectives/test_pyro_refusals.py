"""Pyro's own objectives where they do not hold: refused, before a weight has moved."""

from __future__ import annotations

import copy
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from pyro.contrib.gp.kernels import RBF
from torch import Tensor, nn
from zoo import CLASSES, Z_DIM, images, labels, member

from vaezoo import IWELBO, Bound, fit
from vaezoo.objectives import Renyi
from vaezoo.programs.run import run


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def test_label_is_summed_out_under_importance_weights() -> None:
    """Trap 5: every label has its own weights; Pyro's RenyiELBO, which samples y, is refused.

    Without the check it does not train q(y|x).
    """
    ssvae, x = member("SSVAE"), images()
    terms = run(ssvae.model, ssvae.guide, x, particles=4)
    assert terms.log_qy.shape == (CLASSES, 1, 6)
    assert terms.log_w.shape == (CLASSES, 4, 6)
    assert terms.log_qy.exp().sum(0).sub(1).abs().max() < 1e-6
    renyi = infer.RenyiELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    before = copy.deepcopy(ssvae.state_dict())
    with pytest.raises(ValueError, match=r"RenyiELBO would sample 'y'.* use TraceEnum_ELBO"):
        fit(ssvae, [x], renyi, steps=2, progress=False)
    assert not moved(ssvae, before)
    with pyro.validation_enabled(False):
        fit(ssvae, [x], renyi, steps=2, progress=False)
    assert not {n for n in moved(ssvae, before) if n.startswith("classifier")}


LATE = {
    "HierarchicalVAE": "KL of 'z1' .* the model draws z2 before it",
    "M1M2": "KL of 'z1' .* the model draws z2 before it",
    "ADGM": "KL of 'a' .* the model draws z before it",
}


@pytest.mark.parametrize("name", LATE)
def test_closed_forms_that_do_not_hold_are_refused(name: str) -> None:
    """Pyro's mean-field objective, on pairs whose guide draws in another order than the model."""
    model = member(name)
    batch = (images(),) if name == "HierarchicalVAE" else (images(), labels())
    mean_field = infer.TraceMeanField_ELBO()
    with pytest.raises(ValueError, match=rf"{LATE[name]}.*use Trace_ELBO, or vaezoo's ELBO"):
        Bound(model, mean_field)(*batch)
    assert torch.isfinite(Bound(model, infer.Trace_ELBO())(*batch)["loss"])
    with pyro.validation_enabled(False):  # Pyro's own check is one of validation too
        assert torch.isfinite(Bound(model, mean_field)(*batch)["loss"])


def test_fit_refuses_them_before_a_step() -> None:
    model = member("HierarchicalVAE")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=LATE["HierarchicalVAE"]):
        fit(model, [images()], infer.TraceMeanField_ELBO(), steps=2, progress=False)
    assert not moved(model, before)


@pytest.mark.parametrize("objective", [infer.TraceMeanField_ELBO(), infer.RenyiELBO(0.5)])
@pytest.mark.parametrize("name", ["SSVAE", "M1M2", "ADGM"])
def test_stock_objectives_that_sample_a_label_are_refused(name: str, objective: Any) -> None:
    model = member(name)
    with pytest.raises(
        ValueError, match=r"would sample 'y', which the guide marks .* give the lab"
    ):
        Bound(model, objective)(images())
    if name == "SSVAE" or isinstance(objective, infer.RenyiELBO):
        assert torch.isfinite(Bound(model, objective)(images(), labels())["loss"])


def test_discrete_latents_are_refused_by_the_mean_field_objective() -> None:
    class Pair(nn.Module):
        def model(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                k = pyro.sample("k", dist.Bernoulli(0.5))
                pyro.sample("x", dist.Normal(k[:, None], 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("k", dist.Bernoulli(torch.full((len(x),), 0.3)))

    with pytest.raises(ValueError, match="needs latents that are reparametrised, and 'k' is not"):
        Bound(Pair(), infer.TraceMeanField_ELBO())(torch.zeros(5, 3))


def test_the_check_of_stock_objectives_leaves_no_trace() -> None:
    """The same noise with validation and without, and nothing in the store that was not there."""
    vae, x, found = member("VAE"), images(), []
    for check in (True, False):
        torch.manual_seed(1)
        with pyro.validation_enabled(check):
            found.append(Bound(vae, infer.TraceMeanField_ELBO())(x)["loss"])
    assert torch.equal(*found)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_no_other_bound_is_called_the_bound(alpha: float) -> None:
    """Pyro's RenyiELBO reports a bound for α = 0 alone, and `fit` records what there is."""
    renyi = infer.RenyiELBO(alpha=alpha, num_particles=3)
    history = fit(member("VAE"), [images()], renyi, steps=2, log_every=1, progress=False)
    assert ("bound" in history) == (alpha == 0)
    assert history.get("bound", history["loss"]) == [
        (-1) ** (not alpha) * v for v in history["loss"]
    ]


def test_another_distance_than_the_kl_gives_no_bound() -> None:
    mmd = infer.Trace_MMD(RBF(2, lengthscale=torch.tensor(1.0)), num_particles=5)
    history = fit(member("VAE"), [images()], mmd, steps=2, log_every=1, progress=False)
    assert "bound" not in history
    assert all(map(math.isfinite, history["loss"]))


def test_stock_objective_that_trains_nothing_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = nn.Parameter(torch.zeros(1))

        def model(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(self.raw, 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x / 2, 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"names none: call pyro\.module"):
        fit(Pair(), [torch.ones(4, 1)], infer.RenyiELBO(num_particles=2), steps=1, progress=False)


def test_stock_gradients_are_handed_on() -> None:
    """RenyiELBO has no differentiable loss: `Bound` gives the gradients its own pass leaves."""
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    renyi = infer.RenyiELBO(0, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(1)
    ours = IWELBO(4).differentiable_loss(vae.model, vae.guide, x)
    wanted = torch.autograd.grad(ours, list(vae.parameters()))
    for parameter in vae.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.manual_seed(1)
    loss = Bound(vae, renyi)(x)["loss"]
    (2 * loss).backward()
    assert loss.item() == pytest.approx(ours.item(), abs=1e-9)
    for parameter, gradient in zip(vae.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, 1 + 2 * gradient, atol=1e-9)


STOCK = {
    "RenyiELBO": (
        lambda: infer.RenyiELBO(0.5, 4, vectorize_particles=True, max_plate_nesting=1),
        lambda: Renyi(0.5, particles=4),
    ),
    "RenyiELBO, in turns": (lambda: infer.RenyiELBO(0.0, 1), lambda: IWELBO(1)),
    "TraceGraph_ELBO": (infer.TraceGraph_ELBO, infer.Trace_ELBO),
}


@pytest.mark.parametrize("name", STOCK)
def test_stock_gradients_reach_what_a_program_uses(name: str) -> None:
    """`pyro.param` and a network from outside, with the gradients that an equal objective has."""
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    outside, start = nn.Linear(16, Z_DIM).double(), torch.full((Z_DIM,), 0.5, dtype=torch.float64)
    outside.weight.grad = torch.ones_like(outside.weight)

    def guide(x: Tensor) -> None:
        scale = pyro.param("scale", start, constraint=dist.constraints.positive)
        with vae.images(x):
            pyro.sample("z", dist.Normal(outside(x.flatten(1)), scale).to_event(1))

    vae.guide = guide
    found = []
    for make in STOCK[name]:
        torch.manual_seed(1)
        loss = Bound(vae, make())(x)["loss"]
        at = [
            *outside.parameters(),
            pyro.param("scale").unconstrained(),
            *vae.likelihood.parameters(),
        ]
        found.append(torch.autograd.grad(loss, at))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
    assert all(g.abs().sum() > 0 for g in found[0])
    assert outside.weight.grad.eq(1).all()
    assert outside.bias.grad is None
