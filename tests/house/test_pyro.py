"""Traps of Pyro, one test each, and the members in Pyro's own tools; its store is in test_param_store."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from pyro.infer.autoguide import AutoNormal
from svi import svi_steps
from torch import Tensor, nn
from zoo import ONE_LATENT, X_SHAPE, Z_DIM, batch_for, images, labels, member

from vaezoo import ELBO, Bound, SemiSupervised
from vaezoo.posteriors import Posterior
from vaezoo.programs.run import run


def test_no_gradients_means_no_training() -> None:
    """Trap 6: a Bound under no_grad is a number and leaves no gradient, with every objective."""
    ssvae, x = member("SSVAE"), images()
    for objective in (ELBO(), infer.TraceEnum_ELBO(max_plate_nesting=1)):
        with torch.no_grad():
            loss = Bound(ssvae, objective)(x)["loss"]
        assert not loss.requires_grad
        assert math.isfinite(loss.item())
    assert all(p.grad is None for p in ssvae.parameters())


class MixturePosterior(Posterior):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.randn(2, Z_DIM))

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        loc = self.loc.expand(*x.shape[:-3], 2, Z_DIM)
        mix = dist.Categorical(logits=torch.zeros(*x.shape[:-3], 2))
        return dist.MixtureSameFamily(mix, dist.Normal(loc, 1.0).to_event(1))


def test_mixture_posterior_is_refused() -> None:
    """Trap 7: it has no rsample; refused when it is assigned, and inside a program too."""
    vae = member("VAE")
    kept = vae.posterior
    with pytest.raises(ValueError, match=r"reparametrised .*MixtureSameFamily.*DiagonalNormal"):
        vae.posterior = MixturePosterior()
    assert vae.posterior is kept
    part = MixturePosterior()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", part(x))

    vae.guide = guide
    with pytest.raises(ValueError, match="'z' is neither reparametrised nor summed out"):
        Bound(vae)(images())


class LogNormalPair(nn.Module):
    """A positive latent, for guides that put a Jacobian into a Delta."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(torch.full((1,), 1.0), 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def test_delta_sites_keep_their_density() -> None:
    """Pyro's KL of a Delta leaves the autoguide's Jacobian out: it is sampled instead."""
    pair, x = LogNormalPair(), torch.ones(5, 1)
    guide = AutoNormal(
        poutine.block(pair.model, hide=["x"]), create_plates=lambda x: pyro.plate("data", len(x))
    )
    terms = run(pair.model, guide, x)
    assert torch.allclose(terms.rec - terms.kl, terms.log_w)
    torch.manual_seed(1)
    ours = ELBO().loss(pair.model, guide, x)
    torch.manual_seed(1)
    assert ours == pytest.approx(infer.Trace_ELBO().loss(pair.model, guide, x) / 5, abs=1e-5)


@pytest.mark.parametrize("wrong", ["event", "outside", "labels"])
def test_shapes_that_would_be_summed_wrongly_are_refused(wrong: str) -> None:
    """A forgotten to_event, a latent outside the plate, labels of shape (N, 1)."""

    def model(x: Tensor) -> None:
        loc = torch.zeros(len(x), 3)
        if wrong == "outside":
            pyro.sample("w", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            if wrong == "event":
                pyro.sample("x", dist.Normal(z.T[:, None], 1.0), obs=x.T[:, None])
            else:
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        if wrong == "outside":
            pyro.sample("w", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            y = torch.zeros(len(x), 1) if wrong == "labels" else torch.zeros(len(x))
            loc = (x + y[..., None]) if wrong == "labels" else x
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"outside the plate|has batch shape .* to_event"):
        run(model, guide, torch.zeros(5, 3))


def test_two_labels_are_refused() -> None:
    def program(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            for name in ("y1", "y2"):
                pyro.sample(name, dist.Categorical(torch.ones(2)), infer={"enumerate": "parallel"})

    with pytest.raises(
        ValueError, match=r"at most one label can be summed out, got \['y1', 'y2'\]"
    ):
        run(program, program, torch.zeros(5, 3))


def test_a_label_that_pyro_would_draw_is_refused() -> None:
    """Pyro estimates the sum by so many draws, whose log q(y|x) is not their weight."""

    def program(x: Tensor) -> None:
        infer = {"enumerate": "parallel", "num_samples": 5}
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(torch.ones(2)), infer=infer)

    with pytest.raises(ValueError, match="'y' has num_samples, and is summed out"):
        run(program, program, torch.zeros(5, 3))


@pytest.mark.parametrize("name", ONE_LATENT)
def test_predictive(name: str) -> None:
    """Prior and posterior predictive draws, with and without the data held fixed."""
    model, batch = member(name), batch_for(name)
    free = poutine.uncondition(model.model)
    drawn = infer.Predictive(free, num_samples=3)(*batch)
    assert drawn["x"].shape == (3, 6, *X_SHAPE)
    posterior = infer.Predictive(free, guide=model.guide, num_samples=3, parallel=False)(*batch)
    assert posterior["x"].shape == (3, 6, *X_SHAPE)
    held = infer.Predictive(model.model, num_samples=2, return_sites=("x", "z"))(*batch)
    assert torch.equal(held["x"][0], batch[0])
    assert held["z"].shape[-2:] == (6, Z_DIM)


@pytest.mark.parametrize("name", ONE_LATENT)
def test_render_model(name: str) -> None:
    pytest.importorskip("graphviz")
    model, batch = member(name), batch_for(name)
    source = pyro.render_model(model.model, model_args=batch, render_distributions=True).source
    assert "z -> x" in source
    assert ("y -> x" in source) == (name == "SSVAE")
    assert "data" in source


def test_semi_supervised_under_svi() -> None:
    ssvae = member("SSVAE")
    batch = (images(), images(3), labels(3))
    assert svi_steps(ssvae, batch, loss=SemiSupervised()) == {
        n for n, _ in ssvae.named_parameters()
    }
