"""Responsibilities, usage, dead and merged components, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small import X_SHAPE, Z_DIM, images, labels, member
from torch import Tensor, nn

from vaezoo import likelihoods, posteriors, priors
from vaezoo.diagnostics import component_samples, mixture_diagnostics, responsibilities
from vaezoo.models import VAE
from vaezoo.networks import positive


def mixture(loc: list[list[float]], scale: float = 1.0) -> priors.MixtureOfGaussians:
    """Components at `loc`, all of one scale."""
    prior = priors.MixtureOfGaussians(len(loc[0]), k=len(loc), learn_weights=True)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor(loc))
        prior.raw_scale.fill_(math.log(math.expm1(scale**2)))
    return prior


class Codes(nn.Module):
    """An encoder that puts image i at a code of its own: its first pixels."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)[:, :2]
        return torch.stack([z, torch.full_like(z, -20.0)], -2)


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


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: mixture_diagnostics(member("VAE"), images()), TypeError, "expected a mixture prior"),
    (lambda: component_samples(member("VAE"), [0]), TypeError, "got a Independent"),
    (lambda: component_samples(member("GMVAE"), [5]), ValueError, r"components of 0\.\.4"),
    (lambda: component_samples(member("GMVAE"), []), ValueError, r"components of 0\.\.4"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
