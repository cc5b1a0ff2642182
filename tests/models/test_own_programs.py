"""Programs of the user's in place of a member's own: what is assigned runs, is trained and reported."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, images, member

from vaezoo import ELBO, fit, posteriors


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def test_guide_assignment_is_never_shadowed() -> None:
    """nn.Module would file a module under _modules, where the method hides it."""
    vae, x = member("VAE"), images()
    posterior = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, hidden=(4,))
    vae.guide = posterior
    assert vae.posterior is posterior
    auto = AutoNormal(poutine.block(vae.model, hide=["x"]), create_plates=None)
    vae.guide = auto
    assert vae.guide is auto
    assert "guide = a AutoNormal" in repr(vae)
    del vae.guide
    assert vae.guide.__func__ is type(vae).guide
    assert vae.encode(x).shape == (6, Z_DIM)


def test_posterior_takes_the_place_of_a_program() -> None:
    """`vae.guide = posterior` after `vae.guide = program`: the posterior is what runs."""
    vae, x = member("VAE"), images()
    vae.guide = AutoNormal(poutine.block(vae.model, hide=["x"]), create_plates=None)
    vae.guide(x)
    posterior = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, hidden=(4,))
    vae.guide = posterior
    assert vae.guide.__func__ is type(vae).guide
    assert not any("program" in name for name, _ in vae.named_parameters())
    before = copy.deepcopy(vae.state_dict())
    fit(vae, [x], steps=2, progress=False)
    assert moved(vae, before) == {n for n, _ in vae.named_parameters()}


def test_program_that_holds_the_model_is_refused() -> None:
    vae = member("VAE")

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = vae

        def forward(self, x: Tensor) -> None:
            self.held.model(x)

    with pytest.raises(ValueError, match="holds the model itself"):
        vae.guide = Holder()


def test_fit_trains_whatever_a_program_uses() -> None:
    """`pyro.param`, a network from outside the model, and an autoguide made at its first call."""
    vae, x, outside = member("VAE"), images(), nn.Linear(16, Z_DIM)

    def guide(x: Tensor) -> None:
        scale = pyro.param("scale", torch.ones(Z_DIM), constraint=dist.constraints.positive)
        with vae.images(x):
            pyro.sample("z", dist.Normal(outside(x.flatten(1)), scale).to_event(1))

    vae.guide = guide
    weight = outside.weight.detach().clone()
    for objective in (ELBO(), infer.Trace_ELBO()):
        fit(vae, [x], objective, steps=3, progress=False)
        assert not torch.equal(outside.weight, weight)
        assert not torch.equal(pyro.param("scale"), torch.ones(Z_DIM))
        weight = outside.weight.detach().clone()
    auto = AutoNormal(
        poutine.block(vae.model, hide=["x"]), create_plates=lambda x: pyro.plate("data", len(x))
    )
    vae.guide = auto
    fit(vae, [x], steps=3, lr=0.1, progress=False)
    trained = auto.locs.z.detach().clone()
    fit(vae, [x], steps=3, lr=0.1, progress=False)
    assert not torch.equal(auto.locs.z, trained)


def test_program_of_ones_own() -> None:
    """A replaced model is what is trained, drawn from and reported."""
    vae, x = member("VAE"), images()

    def model(x: Tensor) -> Tensor:
        with vae.images(x):
            z = pyro.sample("z", dist.Normal(torch.full((Z_DIM,), 5.0), 1e-3).to_event(1))
            return pyro.sample("x", vae.likelihood(z), obs=x)

    vae.model = model
    fixed = vae.likelihood(torch.full((4, Z_DIM), 5.0)).mean
    assert torch.allclose(vae.sample(4), fixed, atol=1e-2)
    assert fit(vae, [x], steps=2, log_every=1, progress=False)["kl"][0] > 1e3
