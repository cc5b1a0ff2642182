"""Mixtures of Normals along a few directions, by the integral over all the others."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import Tensor

from vaezoo.distributions.projections import as_normals, kernels
from vaezoo.posteriors import LowRankNormal
from vaezoo.priors import Flow, MixtureOfGaussians, StandardNormal

F = {"dtype": torch.float64}


def mixture() -> MixtureOfGaussians:
    prior = MixtureOfGaussians(3, k=4, learn_weights=True).double()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter)
    return prior


def full() -> dist.MixtureSameFamily:
    factor = torch.randn(2, 3, 3, **F)
    covariance = factor @ factor.mT + torch.eye(3, **F)
    each = dist.MultivariateNormal(torch.randn(2, 3, **F), covariance)
    return dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.2, 0.8], **F)), each)


CASES = {
    "normal": lambda: StandardNormal(3).double()(),
    "mixture": lambda: mixture()(),
    "full": full,
    "low rank": lambda: LowRankNormal((4,), 3, rank=1, hidden=(5,)).double()(torch.zeros(4, **F)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_the_same(name: str) -> None:
    """In all dimensions, against torch's, to 1e-10."""
    distribution, z = CASES[name](), torch.randn(50, 3, **F)
    found = as_normals(distribution)
    assert found is not None
    assert torch.allclose(found.log_prob(z), distribution.log_prob(z), atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_what_is_seen_is_the_rest_integrated_out(name: str) -> None:
    """Of two of three dimensions, seen from an angle: the third by quadrature, to 1e-6."""
    distribution = CASES[name]()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, **F))
    centre, points = torch.randn(3, **F), torch.randn(5, 2, **F)
    line = torch.linspace(-30, 30, 6001, **F)
    found = as_normals(distribution).along(turn[:, :2], centre).log_prob(points)
    for point, log_p in zip(points, found, strict=True):
        z = centre + turn[:, :2] @ point + line[:, None] * turn[:, 2]
        whole = torch.trapezoid(distribution.log_prob(z).exp(), line)
        assert log_p.exp() == pytest.approx(whole.item(), rel=1e-6)


def test_draws_are_of_the_density() -> None:
    """Means of 20,000 draws, |z| < 4 in each of three dimensions, and their spread."""
    prior = mixture()()
    draws: Tensor = as_normals(prior).sample(20_000)
    z = (draws.mean(0) - prior.mean) / (draws.std(0) / 20_000**0.5)
    assert (z.abs() < 4).all()
    assert torch.allclose(draws.var(0), prior.variance, rtol=0.1)


def test_kernels_are_scipys() -> None:
    """The same bandwidth and density, to 1e-8."""
    draws, points = torch.randn(200, 2, **F) * torch.tensor([1.0, 3.0]), torch.randn(20, 2, **F)
    expected = stats.gaussian_kde(draws.T.numpy()).logpdf(points.T.numpy())
    assert kernels(draws).log_prob(points).tolist() == pytest.approx(expected.tolist(), abs=1e-8)


def test_what_is_no_mixture_of_normals() -> None:
    loose = dist.Laplace(torch.zeros(3), torch.ones(3)).to_event(1)
    weights = dist.Categorical(torch.ones(2))
    several = dist.Laplace(torch.zeros(2, 3), torch.ones(2, 3)).to_event(1)
    each = dist.MixtureSameFamily(weights, several)
    for distribution in (loose, Flow(3, hidden=(4,))(), each):
        assert as_normals(distribution) is None
