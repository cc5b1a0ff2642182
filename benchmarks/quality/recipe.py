"""The reference recipe: the networks, the data and the training that results here are measured by.

Networks have ELU units and sizes 784-300-300, z has 10 dimensions (of an SSVAE 64); the FSVAE has
3072-500-500 and z of 10. Adam at a constant 1e-3, batches of 100, 20,000 steps (an SSVAE 30,000,
its classifier alone 2,000, the FSVAE 50,000), random seed 0. MNIST is binarised afresh for every
batch in training, and once, by seed 0, for the test.

What is trained otherwise is named here: fsvae and moved by one cycle of the learning rate with
`PEAKS`, and as many steps as `STEPS` says; `CLIP`; the parts in `member`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from vaezoo import data, likelihoods, models, networks, objectives, posteriors, priors
from vaezoo.data.downloads import data_root

__all__ = ["CLIP", "PEAKS", "STEPS", "kind_of", "member", "setup", "svhn_crops"]

STEPS = {
    "vae": 20_000,
    "gmvae": 20_000,
    "iwae": 20_000,
    "ssvae": 30_000,
    "classifier": 2_000,
    "moved": 30_000,
    "fsvae": 30_000,
    "svhn": 1_500,
    **dict.fromkeys(("weights", "vamp", "flow"), 20_000),  # priors
    **dict.fromkeys(("full", "lowrank", "iaf"), 20_000),  # posteriors
}
PEAKS = {"fsvae": 1.5e-3, "moved": 2e-3}  # of one cycle of the learning rate
CLIP = 300.0  # of the FSVAE's gradients: its bound spikes without


def setup(task: str) -> tuple[models.LatentVariableModel, Any, objectives.Objective]:
    """Model, training data and objective of a task."""
    kind = kind_of(task)
    model = member(kind)
    if kind == "fsvae":
        return model, data.colour_digits("train", n=60_000), model.objective()
    if kind == "svhn":
        return model, svhn_crops(), model.objective()
    images = data.mnist("train", binarisation="dynamic")
    if isinstance(model.prior, priors.VampPrior):
        model.prior.start_from(images[:500].tensors()[0])
    if kind == "moved":
        moved = data.Moved(images.labelled(100, seed=int(task.split("-")[1])))
        batches = data.semi_supervised(images, moved, batch_size=100, labelled_batch_size=50)
        return model, batches, objectives.SemiSupervised(alpha=10.0)
    if kind not in ("ssvae", "classifier"):
        return model, images, model.objective()
    labelled = images.labelled(100, seed=int(task.split("-")[1]))
    batches = data.semi_supervised(images, labelled, batch_size=100)
    objective = objectives.SemiSupervised(
        alpha=100.0,
        generative_weight=float(kind == "ssvae"),
        labelled_fraction=batches.labelled_fraction,
    )
    return model, batches, objective


def member(kind: str) -> models.LatentVariableModel:
    """The model of a task, with nothing built but its own parts, so that seeds stay put."""
    x = (1, 28, 28)
    members: dict[str, Callable[[], models.LatentVariableModel]] = {
        "vae": models.VAE,
        "gmvae": models.GMVAE,
        "iwae": models.IWAE,
        "fsvae": models.FSVAE,
        "svhn": models.FSVAE,
        "moved": _convolutional,
        "weights": lambda: models.VAE(prior=priors.MixtureOfGaussians(10, learn_weights=True)),
        "vamp": lambda: models.VAE(prior=priors.VampPrior(x, 10)),
        "flow": lambda: models.VAE(prior=priors.Flow(10)),
        "full": lambda: models.VAE(posterior=posteriors.FullNormal(x, 10)),
        "lowrank": lambda: models.VAE(posterior=posteriors.LowRankNormal(x, 10)),
        "iaf": lambda: models.VAE(posterior=posteriors.Flow(x, 10)),
    }
    return members.get(kind, models.SSVAE)()


def _convolutional() -> models.SSVAE:
    """An SSVAE with a convolutional q(y|x), a small code, and labels' weights started wider."""
    x, z_dim, hidden = (1, 28, 28), 12, (128, 128)
    down = networks.Conv(x, (16, 32), (128,), activation=nn.ReLU)
    head = nn.Sequential(down, nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    up = networks.MLP((z_dim,), hidden, x, classes=10, label_scale=3.0)
    return models.SSVAE(
        z_dim=z_dim,
        hidden=hidden,
        classifier=posteriors.Classifier(x, 10, network=head),
        likelihood=likelihoods.Bernoulli(z_dim, x, network=up, classes=10),
    )


def svhn_crops() -> data.Images:
    """The first file of SVHN's that is there."""
    files = sorted(data_root().glob("svhn/*.mat"))
    if not files:
        raise FileNotFoundError(f"no svhn/*.mat under {data_root()}: set VAEZOO_DATA")
    return data.svhn(file=files[0])


def kind_of(task: str) -> str:
    """The task without the number of its draw of labels."""
    return task.split("-")[0]
