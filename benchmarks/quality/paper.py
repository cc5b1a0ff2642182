"""Recipes beside published ones: the IWAE paper's networks, and the fixed binarisation.

IWAE paper: 784-200-200 with tanh, z of 50, batches of 20 for 3,280 epochs there. Here batches of
100 for 1,000 epochs, one cycle of the rate with a peak of 2e-3.

Fixed binarisation: `binarized_mnist.npz` under VAEZOO_DATA, the arrays of Larochelle and Murray
(2011), packed by `np.packbits(…, axis=1)` under the names train, valid and test. 300-300 and z of
40, 100 epochs of the 50,000, one cycle with a peak of 1e-3.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from benchmarks.quality.digits import X_SHAPE, from_images
from benchmarks.quality.recipe import Recipe
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


def fixed(split: str) -> data.Images:
    """Images of the fixed binarisation, without labels."""
    file = data_root() / "binarized_mnist.npz"
    if not file.exists():
        raise FileNotFoundError(f"no binarized_mnist.npz under {data_root()}: set VAEZOO_DATA")
    pixels = np.unpackbits(np.load(file)[split], axis=1, count=784).reshape(-1, *X_SHAPE) * 255
    return data.Images(pixels, binarisation="threshold", name=f"fixed binarisation {split}")


PAPER = Recipe(one_layer, steps=600_000, cycle=True, rate=2e-3, particles=(1, 50, 500, 5000))
TWO_LAYERS = replace(PAPER, member=models.HierarchicalVAE)
FIXED = replace(
    *(PAPER,),
    member=lambda: models.VAE(z_dim=40),
    train=lambda seed: fixed("train"),
    test=lambda: fixed("test"),
    steps=50_000,
    rate=1e-3,
)
RECIPES = {
    "paper-vae-1": PAPER,
    **{f"paper-iwae-{k}": replace(PAPER, objective=IWELBO(k)) for k in (5, 50)},
    **{f"paper-dreg-{k}": replace(PAPER, objective=IWELBO(k, estimator="dreg")) for k in (5, 50)},
    "paper2-vae-1": TWO_LAYERS,
    **{f"paper2-iwae-{k}": replace(TWO_LAYERS, objective=IWELBO(k)) for k in (5, 50)},
    "fixed-normal": FIXED,
    "fixed-vamp": replace(
        *(FIXED,),
        member=lambda: models.VAE(z_dim=40, prior=priors.VampPrior(X_SHAPE, 40)),
        start=from_images,
    ),
    "fixed-flow": replace(FIXED, member=lambda: models.VAE(z_dim=40, prior=priors.Flow(40))),
}
