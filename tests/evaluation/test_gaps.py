"""`gaps`: amortisation and family against closed forms of a linear-Gaussian model."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear import D, Linear
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence
from zoo import (
    EACH_PART,
    GIVEN,
    MEMBERS,
    X_SHAPE,
    BadCall,
    affine_decoder,
    batch_for,
    images,
    member,
    refused,
    with_parts,
)

from vaezoo import evaluate, likelihoods, models, posteriors
from vaezoo.estimates import Estimate
from vaezoo.evaluation import gaps

QUIET: dict[str, Any] = {"progress": False}


def values(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values


@pytest.mark.filterwarnings("ignore:.*too few weights")
@pytest.mark.parametrize(("family", "noise"), [("diagonal", 0.2), ("full", 0.05)])
def test_gaps_of_a_linear_model(family: str, noise: float) -> None:
    """Of 4 images whose posterior N(m, Λ⁻¹) is correlated, to 4 standard errors of 200 draws.

    The best diagonal q has variances 1 / Λ_jj and is ½ (Σ log Λ_jj - log |Λ|) away; a full one is
    0 away. Amortisation costs what else is in KL(q ‖ p).
    """
    torch.manual_seed(0)
    w, b, v = torch.randn(16, 2, **D), torch.randn(16, **D), 4.0
    w[:, 1] += 1.5 * w[:, 0]
    kind = {"diagonal": posteriors.DiagonalNormal, "full": posteriors.FullNormal}[family]
    vae = models.VAE(
        X_SHAPE,
        2,
        likelihood=likelihoods.Normal(2, X_SHAPE, network=affine_decoder(w.T, b), variance=v),
        posterior=kind(X_SHAPE, 2, hidden=(8,)),
    ).double()
    x = torch.randn(4, *X_SHAPE, **D) + b.reshape(X_SHAPE)
    precision = torch.eye(2, **D) + w.T @ w / v
    mean = (x.flatten(1) - b) @ w / v @ precision.inverse()
    with torch.no_grad():
        q = vae.posterior(x)
        full = q.covariance_matrix if family == "full" else q.variance.diag_embed()
        q = MultivariateNormal(q.mean, full)
    total = kl_divergence(q, MultivariateNormal(mean, precision_matrix=precision))
    best = 0.5 * (precision.diagonal().log().sum() - precision.logdet()).item()
    best = best if family == "diagonal" else 0.0
    assert best > 0.3 or family == "full"
    found = gaps(vae, [x], steps=250, lr=0.1, particles=200, **QUIET)
    log_p = MultivariateNormal(b, w @ w.T + v * torch.eye(16, **D)).log_prob(x.flatten(1))
    assert (values(found["refined"]) - (log_p - best)).abs().max() < noise
    # the weights of a diagonal q are of infinite variance here
    if family == "full":
        assert (values(found["log_px"]) - log_p).abs().max() < noise
        assert values(found["family_gap"]).abs().max() < noise
    # far from the posterior log w is spread by some nats, and 800 draws of it tell 0.7
    gap = (total - best).mean().item()
    assert found["amortisation_gap"].mean == pytest.approx(gap, abs=0.7)
    assert gap > 2


@pytest.mark.filterwarnings("ignore:.*too few weights")
def test_the_model_stays_what_it_was() -> None:
    """Its weights, hooks and gradients; the same seed gives the same gaps; a q without a network."""
    vae, x = member("VAE"), images(3)
    before = {n: t.clone() for n, t in vae.state_dict().items()}
    first = gaps(vae, [x], steps=3, particles=25, **QUIET)
    assert not any(m._forward_hooks for m in vae.modules())
    assert all(torch.equal(t, before[n]) for n, t in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters())
    assert gaps(vae, [x], steps=3, particles=25, **QUIET) == first
    with pytest.raises(ValueError, match="the guide runs no network"):
        gaps(Linear().vae, [Linear().draw(3)], **QUIET)


@pytest.mark.filterwarnings("ignore:.*too few weights")
@pytest.mark.parametrize("name", MEMBERS)
def test_any_member_will_do(name: str) -> None:
    """Its bound is evaluate's within 0.3 nats, refining raises it, the gaps add up; n = 4."""
    torch.manual_seed(0)
    model, batch = member(name), batch_for(name, 4)
    found = gaps(model, [batch], steps=30, particles=40, **QUIET)
    expected = evaluate(model, [batch], particles=1000, **QUIET)["nelbo"]
    assert found["bound"].mean == pytest.approx(-expected.mean, abs=0.3)
    assert found["amortisation_gap"].mean > 0.05
    total = values(found["amortisation_gap"]) + values(found["family_gap"])
    assert (total - values(found["log_px"]) + values(found["bound"])).abs().max() < 1e-9
    assert found["log_px"].mean > found["bound"].mean


@pytest.mark.filterwarnings("ignore:.*too few weights")
@pytest.mark.parametrize("parts", EACH_PART)
def test_any_parts_will_do(parts: tuple[str, str, str]) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"steps": 3, "particles": 25, "max_decodes": 8, **QUIET}
    found = gaps(with_parts("VAE", *parts), (images(3) for _ in range(2)), **options)
    assert all(values(each).isfinite().all() for each in found.values())


class Colours(nn.Module):
    """x | z, y ~ N(z w + b_y, …)."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(2, **D)), nn.Parameter(torch.randn(3, 2, **D))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return z * self.w + self.b[y]


def test_every_label_has_a_posterior_of_its_own() -> None:
    """q(y|x) q(z|x, y) holds the posterior: nothing is left for the family, of 3 images to 0.02."""
    torch.manual_seed(0)
    drawer = likelihoods.Normal(1, (2,), classes=3, network=Colours(), variance=0.5)
    model = models.SSVAE((2,), 1, classes=3, hidden=(8,), likelihood=drawer).double()
    found = gaps(model, [model.sample(3, mean=False)], steps=600, particles=100, **QUIET)
    assert found["amortisation_gap"].mean > 1
    assert abs(found["family_gap"].mean) < 0.02


class TwoTensors(models.VAE):
    """Its guide draws from what a network puts out as a loc and a scale."""

    def __init__(self) -> None:
        super().__init__(X_SHAPE, 2)
        self.body = nn.Linear(16, 4)
        self.heads = Heads()

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(*self.heads(self.body(x.flatten(1)))).to_event(1))


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc, self.scale = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.loc(h), self.scale(h).exp()


BAD_CALLS: list[BadCall] = [
    (lambda: gaps(TwoTensors(), [images()], **QUIET), ValueError, "puts out a tuple of tensors"),
    (lambda: gaps(member("VAE"), [images()], steps=0, **QUIET), ValueError, "steps must be at least 1, got 0"),
    (lambda: gaps(member("VAE"), [images()], particles=5, **QUIET), ValueError, "particles must be at least 25, got 5"),
    (lambda: gaps(member(GIVEN[0]), [images()], **QUIET), ValueError, "let the loader yield labels too"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
