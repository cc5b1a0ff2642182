"""Responsibilities, usage, dead and merged components, against numbers worked out by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, images, labels, member, refused

from vaezoo import likelihoods, posteriors, priors
from vaezoo.diagnostics import component_samples, mixture_diagnostics, responsibilities
from vaezoo.distributions.overlaps import overlaps_of
from vaezoo.models import ADGM, M1M2, VAE, HierarchicalVAE
from vaezoo.networks import positive


def mixture(loc: list[list[float]], scale: float = 1.0) -> priors.MixtureOfGaussians:
    """Components at `loc`, all of one scale."""
    prior = priors.MixtureOfGaussians(len(loc[0]), k=len(loc), learn_weights=True)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor(loc))
        prior.raw_scale.fill_(math.log(math.expm1(scale**2)))
    return prior


class Codes(nn.Module):
    """An encoder that puts image i at a code of its own: its first pixels, shifted."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        z = x.reshape(len(x), -1)[:, :2] + self.shift
        return torch.stack([z, torch.full_like(z, -20.0)], -2)


class First(nn.Module):
    """A decoder that shows a code in the first pixels."""

    def forward(self, z: Tensor) -> Tensor:
        x = nn.functional.pad(z, (0, math.prod(X_SHAPE) - z.shape[-1]))
        return x.unflatten(-1, X_SHAPE)


def model(prior: priors.Prior) -> VAE:
    posterior = posteriors.DiagonalNormal(X_SHAPE, 2, network=Codes())
    likelihood = likelihoods.Normal(2, X_SHAPE, hidden=(8,))
    return VAE(X_SHAPE, 2, prior=prior, posterior=posterior, likelihood=likelihood)


def at(*codes: tuple[float, float]) -> Tensor:
    x = torch.zeros(len(codes), *X_SHAPE)
    x.flatten(1)[:, :2] = torch.tensor(codes)
    return x


def test_responsibilities_by_bayes() -> None:
    """w_i p_i / Σ w_j p_j with two Normals and weights 1/4 and 3/4, to 1e-6."""
    prior = mixture([[0.0], [2.0]])
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([1.0, 3.0]).log())
    assert positive(prior.raw_scale)[0].item() == pytest.approx(1, abs=1e-6)
    for z in (-1.0, 0.7, 3.0):
        ratio = 1 / 4 * math.exp(-(z**2) / 2), 3 / 4 * math.exp(-((z - 2) ** 2) / 2)
        found = responsibilities(prior(), torch.tensor([z]))
        assert found[0].item() == pytest.approx(ratio[0] / sum(ratio), abs=1e-6)


def test_usage_dead_and_merged() -> None:
    """Three places far apart; one is never visited, and one holds two components."""
    prior = mixture([[0.0, 0.0], [0.1, 0.0], [20.0, 0.0], [0.0, 40.0]])
    x = at(*[(0.05, 0.0)] * 6, *[(20.0, 0.0)] * 3)
    found = mixture_diagnostics(model(prior), x)
    assert found.usage.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=1e-4)
    assert found.effective == pytest.approx(3, abs=1e-3)
    assert found.dead == [3]
    assert found.merged == [[0, 1]]
    assert found.weights.tolist() == pytest.approx([0.25] * 4)
    assert repr(found) == "4 components: 3.0 in effective use, 1 dead, 1 merged into others"


def test_overlap_of_unequal_scales() -> None:
    """∫ √(p q) of N(0, 1) and N(0, 4) is √(2·2 / 5): no merger above 0.9, one above 0.89."""
    prior = mixture([[0.0, 0.0], [0.0, 0.0]])
    with torch.no_grad():
        prior.raw_scale[1, 0] = math.log(math.expm1(4.0))
    coefficient = math.sqrt(4 / 5)
    x = at((0.0, 0.0), (0.0, 0.0))
    for threshold, merged in ((coefficient + 1e-3, []), (coefficient - 1e-3, [[0, 1]])):
        found = mixture_diagnostics(model(prior), x, merged_above=threshold, dead_below=0)
        assert found.merged == merged


def test_samples_of_components_come_in_their_order() -> None:
    """Components 100 apart and a decoder that shows the code: the pictures tell which is which."""
    vae = model(mixture([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]], scale=0.1))
    with torch.no_grad():
        for p in vae.likelihood.parameters():
            p.zero_()
        vae.likelihood.network.first[1].weight[:, 0] = 1.0
        vae.likelihood.network.rest[1].weight.fill_(1 / 8)
        vae.likelihood.network.rest[1].bias.fill_(-50.0)
    found = component_samples(vae, [2, 0], n=4)
    assert found.shape == (8, *X_SHAPE)
    assert (found[:4] > 100).all()
    assert (found[4:] < -40).all()


def test_vamp_priors_have_components_too() -> None:
    vae = member("VAE", prior=priors.VampPrior(X_SHAPE, Z_DIM, k=4))
    assert mixture_diagnostics(vae, images()).usage.sum().item() == pytest.approx(1)
    fsvae = member("FSVAE", prior=priors.MixtureOfGaussians(Z_DIM, k=4))
    assert mixture_diagnostics(fsvae, images(), labels()).usage.shape == (4,)
    assert component_samples(fsvae, [1], n=3, y=torch.zeros(3, dtype=torch.long)).shape[0] == 3


def test_the_latent_is_the_priors() -> None:
    """z1 and z2 of one size in a hierarchical VAE: codes and components are of z2, not of z1.

    q(z1|x) is at the image's first pixels and q(z2|z1) at z1 + 20, where one component is.
    """
    prior = mixture([[0.0, 0.0], [20.0, 20.0]])
    vae = HierarchicalVAE(X_SHAPE, 2, 2, hidden=(8,), upper_hidden=(8,), prior=prior)
    vae.posterior = posteriors.DiagonalNormal(X_SHAPE, 2, network=Codes())
    vae.upper_posterior = posteriors.DiagonalNormal((2,), 2, network=Codes(shift=20.0))
    found = mixture_diagnostics(vae, at(*[(0.0, 0.0)] * 4))
    assert found.usage.tolist() == pytest.approx([0, 1], abs=1e-6)
    vae.conditional_prior = posteriors.DiagonalNormal((2,), 2, network=Codes(shift=-20.0))
    vae.likelihood = likelihoods.Normal(2, X_SHAPE, network=First())
    pixels = component_samples(vae, [1, 0], n=5).flatten(1)[:, :2]  # z1 = z2 - 20
    expected = torch.tensor([0.0, -20.0]).repeat_interleave(5)[:, None].expand(10, 2)
    assert (pixels - expected).abs().max() < 6


def test_latents_of_the_other_members() -> None:
    """M1+M2's mixture is over z2 and the ADGM's over z, at the label that is given or inferred."""
    x, y, sizes = at((0.0, 0.0), (1.0, 0.0)), labels(2), {"hidden": (8,), "classes": 3}
    m1m2 = M1M2(X_SHAPE, 2, 2, prior=mixture([[0.0, 0.0], [3.0, 0.0]]), upper_hidden=(8,), **sizes)
    m1m2.posterior = posteriors.DiagonalNormal(X_SHAPE, 2, network=Codes())
    m1m2.likelihood = likelihoods.Normal(2, X_SHAPE, network=First())
    adgm = ADGM(X_SHAPE, 2, 2, prior=mixture([[0.0, 0.0], [3.0, 0.0]]), **sizes)
    z1, a = m1m2.posterior(x).mean, adgm.auxiliary_posterior(x).mean
    codes = {m1m2: m1m2.upper_posterior(z1, y).mean, adgm: adgm.posterior((x, a), y).mean}
    for model, z in codes.items():
        expected = responsibilities(model.prior(), z).mean(0)
        assert torch.allclose(mixture_diagnostics(model, x, y).usage, expected)
        inferred = model.classify(x).argmax(-1)
        again = mixture_diagnostics(model, x, inferred).usage
        assert torch.equal(mixture_diagnostics(model, x).usage, again)
        assert component_samples(model, [1], n=2, y=y).shape == (2, *X_SHAPE)
    m1m2.conditional_prior = posteriors.DiagonalNormal((2,), 2, network=Codes(), classes=3)
    pixels = component_samples(m1m2, [1, 0], n=5, y=labels(10)).flatten(1)[:, :2]
    expected = torch.tensor([[3.0, 0.0], [0.0, 0.0]]).repeat_interleave(5, 0)
    assert (pixels - expected).abs().max() < 6


VAMP: dict[str, Any] = {
    "full": posteriors.FullNormal(X_SHAPE, 2, hidden=(8,)),
    "low rank": posteriors.LowRankNormal(X_SHAPE, 2, rank=1, hidden=(8,)),
    "diagonal": posteriors.DiagonalNormal(X_SHAPE, 2, hidden=(8,)),
}


@pytest.mark.parametrize("name", VAMP)
def test_overlaps_by_quadrature(name: str) -> None:
    """∫ √(p_i p_j) on a grid of 601 × 601 points, from the densities alone, to 1e-4."""
    posterior = copy.deepcopy(VAMP[name]).double()
    for parameter in posterior.parameters():
        nn.init.normal_(parameter, std=0.5)
    components = posterior(torch.rand(4, *X_SHAPE).double())
    line = torch.linspace(-15, 15, 601).double()
    grid = torch.cartesian_prod(line, line)[:, None]
    roots = (0.5 * components.log_prob(grid)).exp()
    expected = roots.T @ roots * (30 / 600) ** 2
    found = overlaps_of(components)
    assert torch.allclose(found, expected, atol=1e-4)
    assert 0.1 < found.min() < found.fill_diagonal_(0).max() < 0.99


def test_components_of_any_posterior() -> None:
    """Two equal pseudo-inputs merge whatever the covariance; of flows it is not known."""
    for posterior in (*VAMP.values(), posteriors.Flow(X_SHAPE, 2, hidden=(8,), layers=1)):
        vae = VAE(X_SHAPE, 2, hidden=(8,), posterior=posterior)
        vae.prior = priors.VampPrior(X_SHAPE, 2, k=3)
        vae.prior.start_from(torch.stack([torch.ones(X_SHAPE)] * 2 + [torch.zeros(X_SHAPE)]))
        found = mixture_diagnostics(vae, images(), merged_above=1 - 1e-6, dead_below=0)
        known = not isinstance(posterior, posteriors.Flow)
        assert found.merged == ([[0, 1]] if known else None)
        assert repr(found).endswith(f"{1 if known else 'unknown how many'} merged into others")


def test_overlaps_of_many_full_normals() -> None:
    """k = 500 in ten dimensions, k² covariances of which would take 200 MB: the diagonal is 1."""
    q = posteriors.FullNormal(X_SHAPE, 10, hidden=(8,))(torch.rand(500, *X_SHAPE))
    found = overlaps_of(q)
    assert found.shape == (500, 500)
    assert found.diagonal().tolist() == pytest.approx([1.0] * 500, abs=1e-9)
    assert torch.allclose(found, found.T)
    first, other = (
        torch.distributions.MultivariateNormal(q.loc[i], q.covariance_matrix[i]) for i in (0, 7)
    )
    z = torch.cat([first.sample((20_000,)), other.sample((20_000,))])
    a, b = first.log_prob(z), other.log_prob(z)
    ratios = ((a + b) / 2 - torch.logaddexp(a, b) + math.log(2)).exp()
    error = ratios.std() / len(ratios) ** 0.5
    assert abs((ratios.mean() - found[0, 7]) / error) < 4


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: mixture_diagnostics(member("VAE"), images()), TypeError, "expected a mixture prior"),
    (lambda: component_samples(member("VAE"), [0]), TypeError, "got a Independent"),
    (lambda: component_samples(member("GMVAE"), [5]), ValueError, r"components of 0\.\.4"),
    (lambda: component_samples(member("GMVAE"), []), ValueError, r"components of 0\.\.4"),
]


test_bad_input = refused(BAD)
