"""`MixtureOfGaussians.start_from`: k-means against brute force, moments, weights, bad input."""

import itertools

import pytest
import torch
from zoo import member

from vaezoo import data, fit, models, priors
from vaezoo.diagnostics import mixture_diagnostics
from vaezoo.priors.k_means import k_means


def within(points, clusters, k):
    """The sum of squares within clusters."""
    parts = [points[clusters == i] for i in range(k)]
    return sum((part - part.mean(0)).square().sum() for part in parts).item()


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_the_best_of_all_where_they_are_apart(seed):
    """Nine points in three heaps, against all 3^9 assignments."""
    generator = torch.Generator().manual_seed(seed)
    heaps = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    noise = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    points = heaps.repeat(3, 1) + 0.5 * noise
    all_ways = torch.tensor(list(itertools.product(range(3), repeat=9)))
    every = torch.nn.functional.one_hot(all_ways, 3).double()
    sizes = every.sum(1)
    means = torch.einsum("anc,nd->acd", every, points) / sizes.clamp(min=1).unsqueeze(-1)
    sums = points.square().sum() - (means.square().sum(-1) * sizes).sum(-1)
    best = sums[(sizes > 0).all(1)].min().item()
    assert within(points, k_means(points, 3, seed=seed), 3) == pytest.approx(best, rel=1e-12)


def test_no_cluster_is_empty_and_no_point_is_nearer_to_another():
    torch.manual_seed(0)
    points = torch.randn(300, 4)
    clusters = k_means(points, 50)
    assert clusters.bincount(minlength=50).min() >= 1
    centres = torch.stack([points[clusters == i].mean(0) for i in range(50)])
    assert torch.cdist(points, centres).argmin(1).equal(clusters)
    assert k_means(points[:50], 50).unique().tolist() == list(range(50))
    twice = torch.cat([points[:5], points[:5]])
    assert k_means(twice, 5).bincount().tolist() == [2] * 5


def test_components_are_the_clusters():
    """Means exactly; variances and weights by the formula in the docstring."""
    codes = torch.tensor([[-2.0], [2.0], [3.0], [1.0]], dtype=torch.float64)
    prior = priors.MixtureOfGaussians(1, k=2, learn_weights=True).double()
    state = torch.get_rng_state()
    mixture = prior.start_from(codes)()
    assert torch.get_rng_state().equal(state)
    average = (0 + 2) / 4 + 1e-4 * codes.var(correction=0).item()
    order = mixture.component_distribution.mean.flatten().argsort()
    variances = mixture.component_distribution.variance.flatten()[order]
    expected = [average / 2, (2 + average) / 4]
    assert variances.tolist() == pytest.approx(expected, abs=2e-8)  # softplus adds 1e-8
    probs = mixture.mixture_distribution.probs[order]
    assert probs.tolist() == pytest.approx([0.25, 0.75], rel=1e-12)


def test_codes_far_apart():
    """A variance of 1e4, whose exponential is infinite in float32, to 1e-6."""
    codes = 100 * torch.tensor([[-1.0], [1.0]])
    variance = priors.MixtureOfGaussians(1, k=1).start_from(codes)().component_distribution.variance
    assert variance.item() == pytest.approx((2e4 + 1e4 + 1) / 3, rel=1e-6)


def test_components_stay_apart():
    """Ten that start from codes of digits stay apart; started at the origin, most are one."""
    torch.manual_seed(0)
    images = data.digits()
    vae = models.VAE(hidden=(100,))
    fit(vae, images, steps=150, progress=False)
    (x, _) = images[:2000].tensors()
    merged = []
    for start in (False, True):
        vae.prior = priors.MixtureOfGaussians(10, k=10)
        if start:
            vae.prior.start_from(vae.encode(x))
        fit(vae, images, steps=100, progress=False)
        groups = mixture_diagnostics(vae, x[:1000]).merged
        merged.append(sum(map(len, groups)))
    assert merged[0] >= 6
    assert merged[1] == 0


def test_it_trains_on_from_there():
    gmvae = member("GMVAE")
    before = gmvae.prior.start_from(torch.randn(20, gmvae.z_dim)).loc.clone()
    gmvae.prior().log_prob(torch.zeros(1, gmvae.z_dim)).sum().backward()
    assert gmvae.prior.loc.grad.abs().sum() > 0
    assert gmvae.prior.loc.equal(before)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(5, 3), r"codes must be \(N, 2\), got \(5, 3\)"),
        (torch.zeros(2), r"codes must be \(N, 2\), got \(2,\)"),
        (torch.full((5, 2), torch.nan), "codes must be finite, got NaN"),
        (torch.zeros(5, 2), "4 clusters need as many points that differ, got 1"),
    ],
)
def test_bad_codes(codes, message):
    prior = priors.MixtureOfGaussians(2, k=4)
    before = prior.loc.clone()
    with pytest.raises(ValueError, match=message):
        prior.start_from(codes)
    assert prior.loc.equal(before)
