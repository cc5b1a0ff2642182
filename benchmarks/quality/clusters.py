"""A recipe of ten components that start as clusters of codes, and k-means beside them."""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.quality.recipe import Member, Recipe, mnist_test
from benchmarks.quality.results import estimate
from vaezoo import evaluation, models, priors, training
from vaezoo.evaluation import Estimate
from vaezoo.priors.k_means import k_means

__all__ = ["RECIPES"]

FIRST, PEAK = 10_000, 4e-3  # steps of a VAE, from whose codes the mixture starts


def from_codes(model: Member, images: Any) -> None:
    """Train encoder and decoder under N(0, I), and let the mixture start as clusters of codes."""
    assert isinstance(model.prior, priors.MixtureOfGaussians)
    vae = models.VAE(posterior=model.posterior, likelihood=model.likelihood)
    rate = training.one_cycle(PEAK, FIRST)
    training.fit(vae, images, steps=FIRST, lr=rate, compile=True)
    model.prior.start_from(vae.encode(images[:20_000].tensors()[0]))


def held_against_labels(model: Member) -> dict[str, Estimate]:
    """Accuracy and NMI of the components, and of k-means on pixels and on the model's codes."""
    test = mnist_test()
    found = evaluation.clusters(model, test).estimates
    x, y = test.tensors()
    places = {"pixels": x.flatten(1), "codes": model.encode(x)}
    beside = {f"k-means on {name}": matched(k_means(at, 10), y) for name, at in places.items()}
    return {f"clusters: {name}": each for name, each in found.items()} | beside


def matched(cluster: Tensor, y: Tensor) -> Estimate:
    """The share that is right under the best assignment of clusters to classes."""
    counts = torch.bincount(cluster * 10 + y, minlength=100).reshape(10, 10)
    _, classes = linear_sum_assignment(-counts.numpy())
    return estimate(torch.from_numpy(classes)[cluster] == y)


RECIPES = {
    "gmvae-ten": Recipe(
        lambda: models.GMVAE(k=10),
        cycle=True,
        rate=2e-3,
        start=from_codes,
        particles=(1, 10, 100),
        also=held_against_labels,
    )
}
