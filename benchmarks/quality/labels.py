"""Recipes of few labels, whose seed is the draw of the labels too, and of content and style.

The SSVAE's reference has 784-300-300, z of 64, 30,000 steps, α = 100. The other rows: one cycle.
Where labelled images are moved, it has 784-256-256, z of 32, 15,000 steps, α = 20.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from benchmarks.quality.recipe import Recipe, mnist_train
from benchmarks.quality.scenes import read_as_asked
from benchmarks.quality.starts import from_m1
from vaezoo import data, likelihoods, models, networks, objectives, plots, posteriors
from vaezoo.data.downloads import data_root

__all__ = ["COUNTS", "RECIPES", "reader", "scenes_test", "scenes_train"]

X_SHAPE = (1, 28, 28)
COUNTS = (100, 600, 1000, 3000)


def some(n: int, *, moved: str = "none") -> Callable[[int], data.SemiSupervisedBatches]:
    """All images without labels, and a draw of n with them, as many of each class.

    Either the "labelled" ones are moved about, or "all" are, or "none".
    """

    def batches(seed: int) -> data.SemiSupervisedBatches:
        images = mnist_train(seed)
        labelled = images.labelled(n, seed=seed)
        if moved == "none":
            return data.semi_supervised(images, labelled, batch_size=100)
        unlabelled = data.Moved(images) if moved == "all" else images
        return data.semi_supervised(
            unlabelled, data.Moved(labelled), batch_size=100, labelled_batch_size=100
        )

    return batches


def spread(n: int) -> Callable[[int], data.SemiSupervisedBatches]:
    """All images, and all with the labels that a draw of n spreads among them, moved about."""

    def batches(seed: int) -> data.SemiSupervisedBatches:
        images = mnist_train(seed)
        few = images.labelled(n, seed=seed)
        given = data.spread_labels(images, few, features=data.strokes, alpha=0.995, share=1.0)
        moved = data.Moved(given[torch.as_tensor(given.labels) >= 0])
        return data.semi_supervised(images, moved, batch_size=100, labelled_batch_size=100)

    return batches


def plain() -> models.SSVAE:
    """M2, of layers of 256."""
    return models.SSVAE(X_SHAPE, 32, hidden=(256, 256))


def convolutional() -> models.SSVAE:
    """A convolutional q(y|x) with batch norm and dropout."""
    down = (*halved(1, 16), *halved(16, 32), nn.Flatten(), nn.Dropout(0.3))
    hidden = (nn.Linear(32 * 7 * 7, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3))
    return reader(nn.Sequential(*down, *hidden, nn.Linear(128, 10)))


def halved(channels: int, out: int) -> tuple[nn.Module, ...]:
    """A layer that halves height and width."""
    return nn.Conv2d(channels, out, 4, 2, 1), nn.BatchNorm2d(out), nn.ReLU()


def reader(network: nn.Module) -> models.SSVAE:
    """An SSVAE with this q(y|x), a small code, and labels' weights that start wider."""
    z_dim, hidden = 12, (128, 128)
    drawer = networks.MLP((z_dim,), hidden, X_SHAPE, classes=10, label_scale=3.0)
    return models.SSVAE(
        X_SHAPE,
        z_dim,
        hidden=hidden,
        classifier=posteriors.Classifier(X_SHAPE, 10, network=network),
        likelihood=likelihoods.Bernoulli(z_dim, X_SHAPE, network=drawer, classes=10),
    )


def in_stages() -> models.M1M2:
    """M1+M2 whose M1 is frozen, also where a run goes on that has trained it."""
    return models.M1M2.from_m1(models.VAE(z_dim=50, hidden=(600, 600)))


def scenes_train(seed: int) -> data.Images:
    """Scenes of the 10,000 built-in digits."""
    return data.colour_digits("train", n=60_000)


def scenes_test() -> data.Images:
    """2,000 scenes of digits that no training scene has."""
    return data.colour_digits("test")


def svhn_crops() -> data.Images:
    """The first file of SVHN's that is there; there is no held-out part."""
    files = sorted(data_root().glob("svhn/*.mat"))
    if not files:
        raise FileNotFoundError(f"no svhn/*.mat under {data_root()}: set VAEZOO_DATA")
    return data.svhn(file=files[0])


def reference(n: int, *, weight: float = 1.0) -> objectives.SemiSupervised:
    """The bound as a mean over all images, of which n have labels."""
    share = n / 60_000
    return objectives.SemiSupervised(alpha=100.0, generative_weight=weight, labelled_fraction=share)


M2 = Recipe(
    *(models.SSVAE, some(100)),
    steps=30_000,
    objective=reference(100),
    particles=(1, 10),
)
CYCLE = replace(M2, cycle=True, rate=2e-3)
PLAIN = replace(
    *(CYCLE,),
    member=plain,
    train=some(100, moved="labelled"),
    steps=15_000,
    rate=4e-3,
    precision="bf16",
    objective=objectives.SemiSupervised(alpha=20.0),
)
MOVED = replace(PLAIN, member=convolutional, rate=6e-3)
# the batch is moved already, and this moves it further
ALIKE = objectives.Consistency(
    data.Moves(degrees=22.5, shear=0.3, scale=0.15, shift=3.0), weight=10.0
)
FSVAE = Recipe(
    *(models.FSVAE, scenes_train, scenes_test),
    steps=30_000,
    rate=1.5e-3,
    cycle=True,
    clip=300.0,
    particles=(1, 10, 100),
    also=read_as_asked,
    draws=plots.style_by_content,
)
RECIPES = {
    "ssvae-100": M2,
    "classifier-100": replace(M2, objective=reference(100, weight=0.0), steps=2_000),
    **{f"ssvae-moved-{n}": replace(PLAIN, train=some(n, moved="labelled")) for n in COUNTS},
    **{f"moved-{n}": replace(MOVED, train=some(n, moved="labelled")) for n in COUNTS},
    "consistent-100": replace(
        *(MOVED,),
        train=some(100, moved="all"),
        objective=objectives.SemiSupervised(alpha=20.0, consistency=ALIKE),
    ),
    "spread-100": replace(MOVED, train=spread(100)),
    "m1m2-100": replace(CYCLE, member=models.M1M2),
    "m1m2-stages-100": replace(CYCLE, member=in_stages, start=from_m1),
    "adgm-100": replace(CYCLE, member=models.ADGM, rate=3e-4),  # the paper's; diverged at 2e-3
    "fsvae": FSVAE,
    "svhn": Recipe(
        *(models.FSVAE, lambda seed: svhn_crops(), svhn_crops),
        steps=1_500,
        particles=(1, 10),
        draws=plots.style_by_content,
    ),
}
