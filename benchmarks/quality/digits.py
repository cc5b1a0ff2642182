"""Recipes of bounds on MNIST: members, priors and posteriors with the reference networks.

The reference recipe: ELU units, 784-300-300, z of 10 dimensions, Adam at a constant 1e-3, batches
of 100, 20,000 steps. The better one differs in the rate: one cycle, with a peak of 4e-3, chosen
among 2e-3, 4e-3 and 8e-3 by the bound of a VAE on 2,000 of the last 10,000 training images,
trained on the first 50,000 with seed 10. Flows and pseudo-inputs have a peak of 2e-3. By Muon, the
one peak that was tried is 8e-3, and the last bias starts at the mean of each pixel.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.quality.muon import Muon
from benchmarks.quality.recipe import Recipe
from benchmarks.quality.starts import from_images, from_means
from vaezoo import data, models, objectives, posteriors, priors

__all__ = ["RECIPES"]

X_SHAPE = (1, 28, 28)


def mixture() -> models.VAE:
    """A mixture prior whose weights are learned."""
    return models.VAE(prior=priors.MixtureOfGaussians(10, learn_weights=True))


def vamp() -> models.VAE:
    """500 pseudo-inputs."""
    return models.VAE(prior=priors.VampPrior(X_SHAPE, 10))


def flow() -> models.VAE:
    """Four layers of 128-128."""
    return models.VAE(prior=priors.Flow(10))


def low_rank() -> models.VAE:
    """Rank 2."""
    return models.VAE(posterior=posteriors.LowRankNormal(X_SHAPE, 10))


def full() -> models.VAE:
    """Any covariance."""
    return models.VAE(posterior=posteriors.FullNormal(X_SHAPE, 10))


def inverse_flow() -> models.VAE:
    """Two layers of 128, and a context of 32."""
    return models.VAE(posterior=posteriors.Flow(X_SHAPE, 10))


def both_flows() -> models.VAE:
    """The prior of one, the posterior of the other."""
    return models.VAE(prior=priors.Flow(10), posterior=posteriors.Flow(X_SHAPE, 10))


def wide() -> models.VAE:
    """Layers of 600."""
    return models.VAE(hidden=(600, 600))


def fashion_train(seed: int) -> data.Images:
    """60,000 articles, binarised afresh for every batch."""
    return data.fashion_mnist("train")


def fashion_test() -> data.Images:
    """10,000 articles."""
    return data.fashion_mnist("test")


REFERENCE = {
    "vae": Recipe(models.VAE),
    "gmvae": Recipe(models.GMVAE),
    "iwae": Recipe(models.IWAE),
    "mixture": Recipe(mixture),
    "vamp": Recipe(vamp, start=from_images),
    "flow": Recipe(flow),
    "low-rank": Recipe(low_rank),
    "full": Recipe(full),
    "iaf": Recipe(inverse_flow),
}
BETTER = {
    "vae": replace(REFERENCE["vae"], cycle=True, rate=4e-3),
    "gmvae": replace(REFERENCE["gmvae"], cycle=True, rate=4e-3),
    "iwae": replace(REFERENCE["iwae"], cycle=True, rate=4e-3),
    "iwae-dreg": replace(
        REFERENCE["iwae"], cycle=True, rate=4e-3, objective=objectives.IWELBO(10, estimator="dreg")
    ),
    "vamp": replace(REFERENCE["vamp"], cycle=True, rate=2e-3),
    "flow": replace(REFERENCE["flow"], cycle=True, rate=2e-3),
    "iaf": replace(REFERENCE["iaf"], cycle=True, rate=2e-3),
}
BEST = {
    "flow-iaf": Recipe(both_flows, cycle=True, rate=2e-3),
    "flow-iaf-iw": Recipe(both_flows, cycle=True, rate=2e-3, objective=objectives.IWELBO(10)),
}
MUON = {
    name: replace(REFERENCE[name], cycle=True, rate=8e-3, optimizer=Muon, start=from_means)
    for name in ("vae", "iwae")
}
CHANGES = {
    "vae-cycle-wide": replace(BETTER["vae"], member=wide),
    "vae-cycle-decay": replace(BETTER["vae"], decay=0.01),
    "vae-average": replace(REFERENCE["vae"], average=0.999),
    "vae-cycle-iw": replace(BETTER["vae"], objective=objectives.IWELBO(10)),
}
RECIPES = {
    **REFERENCE,
    **{f"{name}-cycle": each for name, each in BETTER.items()},
    **{f"{name}-muon": each for name, each in MUON.items()},
    **BEST,
    **CHANGES,
    **{
        f"{name}-fashion": replace(BETTER[name], train=fashion_train, test=fashion_test)
        for name in ("vae", "gmvae", "iwae")
    },
}
