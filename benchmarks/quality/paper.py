"""Recipes beside published ones: the IWAE paper's networks, and the fixed binarisation.

IWAE paper: 784-200-200 with tanh, z of 50, Adam, batches of 20 for 3,280 epochs there. Here Muon,
bf16, one cycle of the rate, and a last bias that starts at the log odds of mean pixels. Steps are
what 2 hours on two cores allow:

    particles   images in a batch   steps    epochs   peak of the rate
         1               1,000      60,000    1,000             1.2e-2
         5               1,000      40,000      667             1.2e-2
        50                 400      40,000      267               6e-3

Chosen by the NIWAE-500 of the last 1,000 training images, trained on the first 50,000 with seed 10,
in thirty runs of 2,500 to 125,000 steps.

Fixed binarisation: `binarized_mnist.npz` under VAEZOO_DATA, the arrays of Larochelle and Murray
(2011), packed by `np.packbits(…, axis=1)` under the names train, valid and test. 300-300 and z of
40, 100 epochs of the 50,000, one cycle with a peak of 1e-3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from benchmarks.quality.digits import X_SHAPE
from benchmarks.quality.muon import Muon
from benchmarks.quality.recipe import Recipe
from benchmarks.quality.starts import from_images, from_means
from vaezoo import data, likelihoods, models, networks, objectives, posteriors, priors
from vaezoo.data.downloads import data_root

__all__ = ["RECIPES"]

IWELBO = objectives.IWELBO


def one_layer() -> models.VAE:
    """One stochastic layer of the paper."""
    encoder = networks.MLP(X_SHAPE, (200, 200), (2, 50), activation=nn.Tanh)
    decoder = networks.MLP((50,), (200, 200), X_SHAPE, activation=nn.Tanh)
    return models.VAE(
        z_dim=50,
        posterior=posteriors.DiagonalNormal(X_SHAPE, 50, network=encoder),
        likelihood=likelihoods.Bernoulli(50, X_SHAPE, network=decoder),
    )


def paper(particles: int, **changes: Any) -> Recipe:
    """With batches, steps and a rate for a number of particles."""
    batch_size, steps, rate = SIZES[particles]
    return replace(PAPER, batch_size=batch_size, steps=steps, rate=rate, **changes)


def fixed(split: str) -> data.Images:
    """Images of the fixed binarisation, without labels."""
    file = data_root() / "binarized_mnist.npz"
    if not file.exists():
        raise FileNotFoundError(f"no binarized_mnist.npz under {data_root()}: set VAEZOO_DATA")
    pixels = np.unpackbits(np.load(file)[split], axis=1, count=784).reshape(-1, *X_SHAPE) * 255
    return data.Images(pixels, binarisation="threshold", name=f"fixed binarisation {split}")


SIZES = {1: (1000, 60_000, 1.2e-2), 5: (1000, 40_000, 1.2e-2), 50: (400, 40_000, 6e-3)}
PAPER = Recipe(
    one_layer,
    cycle=True,
    optimizer=Muon,
    precision="bf16",
    start=from_means,
    particles=(1, 50, 500, 5000),
)
DREG = {k: IWELBO(k, estimator="dreg") for k in (5, 50)}
TWO_LAYERS = {"member": models.HierarchicalVAE}
FIXED = Recipe(
    lambda: models.VAE(z_dim=40),
    train=lambda seed: fixed("train"),
    test=lambda: fixed("test"),
    steps=50_000,
    cycle=True,
    particles=PAPER.particles,
)
RECIPES = {
    "paper-vae-1": paper(1),
    **{f"paper-iwae-{k}": paper(k, objective=IWELBO(k)) for k in (5, 50)},
    **{f"paper-dreg-{k}": paper(k, objective=DREG[k]) for k in (5, 50)},
    "paper2-vae-1": paper(1, **TWO_LAYERS),
    **{f"paper2-iwae-{k}": paper(k, objective=IWELBO(k), **TWO_LAYERS) for k in (5, 50)},
    **{f"paper2-dreg-{k}": paper(k, objective=DREG[k], **TWO_LAYERS) for k in (5, 50)},
    "fixed-normal": FIXED,
    "fixed-vamp": replace(
        *(FIXED,),
        member=lambda: models.VAE(z_dim=40, prior=priors.VampPrior(X_SHAPE, 40)),
        start=from_images,
    ),
    "fixed-flow": replace(FIXED, member=lambda: models.VAE(z_dim=40, prior=priors.Flow(40))),
}
