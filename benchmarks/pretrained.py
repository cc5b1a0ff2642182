"""The members that ship trained: train one, and write its weights and its card into the package.

    python -m benchmarks.pretrained vae-mnist            # vaezoo/models/weights/vae-mnist.*
    python -m benchmarks.pretrained --all

Each is trained once from seed 0; a run that is stopped goes on when the command is given again.
The card holds the recipe, and numbers on the test images that ship with the package (the first
2,000 of MNIST's 10,000, or 2,000 colour digits), with the weights as they are in the file: in half
precision, unless that moves the bound by more than 0.05 nats; `rounding` is how far it moved. Set
VAEZOO_DATA to a folder with MNIST/raw.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from torch import nn

import vaezoo
from vaezoo import data, likelihoods, models, networks, objectives, posteriors, training
from vaezoo.models.pretrained import FOLDER, card

RUNS = Path(__file__).parent / "runs"
X_SHAPE = (1, 28, 28)
ROUNDING = 0.05  # nats of the bound, at most


class Recipe(NamedTuple):
    """How one is trained.

    Attributes:
        member: makes it.
        batches: makes its training data.
        steps, batch_size, peak: of the training, by one cycle of Adam's rate.
        objective: by default the member's own.
        test: what it is judged by.
        particles: for its NIWAE.
        clip: of the gradients' norm.
    """

    member: Callable[[], models.LatentVariableModel]
    batches: Callable[[], Any]
    steps: int
    batch_size: int
    peak: float
    objective: objectives.Objective | None = None
    test: Callable[[], data.Images] = lambda: data.digits("test")
    particles: int = 100
    clip: float | None = None


def reader() -> models.SSVAE:
    """An SSVAE as in `examples/ssvae_mnist.py`, of vaezoo's networks alone, which `load` builds."""
    z_dim, hidden = 12, (128, 128)
    network = networks.Conv(X_SHAPE, (16, 32), (10,), activation=nn.ReLU)
    drawer = networks.MLP((z_dim,), hidden, X_SHAPE, classes=10, label_scale=3.0)
    return models.SSVAE(
        X_SHAPE,
        z_dim,
        hidden=hidden,
        classifier=posteriors.Classifier(X_SHAPE, 10, network=network),
        likelihood=likelihoods.Bernoulli(z_dim, X_SHAPE, network=drawer, classes=10),
    )


def hundred_labels() -> data.SemiSupervisedBatches:
    """All images, and 100 with labels that are moved about."""
    images = data.mnist("train")
    return data.semi_supervised(images, data.Moved(images.labelled(100)), batch_size=50)


RECIPES = {
    "vae-mnist": Recipe(models.VAE, lambda: data.mnist("train"), 40_000, 100, 4e-3),
    "gmvae-mnist": Recipe(models.GMVAE, lambda: data.mnist("train"), 20_000, 100, 4e-3),
    "iwae-mnist": Recipe(models.IWAE, lambda: data.mnist("train"), 20_000, 100, 4e-3),
    "ssvae-mnist": Recipe(
        *(reader, hundred_labels, 30_000, 50, 8e-3),
        objectives.SemiSupervised(alpha=10.0),
        particles=10,
    ),
    "fsvae-colour-digits": Recipe(
        lambda: models.FSVAE(hidden=(200, 200)),
        lambda: data.colour_digits("train", n=60_000),
        *(20_000, 100, 1.5e-3),
        test=lambda: data.colour_digits("test"),
        clip=300.0,
    ),
}


def train(name: str) -> None:
    """Train one, and write its files."""
    recipe = RECIPES[name]
    torch.manual_seed(0)
    model, batches = recipe.member(), recipe.batches()
    history = training.fit(
        model,
        batches,
        recipe.objective,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        lr=training.one_cycle(recipe.peak, recipe.steps),
        max_grad_norm=recipe.clip,
        compile=True,
        checkpoint=RUNS / name,
        every=2000,
        log_every=1000,
    )
    if history.stopped:
        raise SystemExit(f"{name} was stopped: give the command again, and it goes on")
    write(name, recipe, model, batches)


def write(name: str, recipe: Recipe, model: models.LatentVariableModel, batches: Any) -> None:
    """Half the precision where that moves the bound by little, and what the model reaches."""
    test, niwae = recipe.test(), f"niwae-{recipe.particles}"
    exact = vaezoo.evaluate(model, test, particles=1)
    rounded = copy.deepcopy(model).half()
    metrics = vaezoo.evaluate(copy.deepcopy(rounded).float(), test, particles=1)
    rounding = metrics["nelbo"].mean - exact["nelbo"].mean
    if abs(rounding) > ROUNDING:  # as where the scale of a likelihood is rounded too
        rounded, metrics, rounding = model, exact, 0.0
    vaezoo.save(rounded, FOLDER / f"{name}.safetensors")
    tighter = vaezoo.evaluate(rounded.float(), test, particles=recipe.particles)[niwae]
    record = {
        "data": {"train": repr(batches), "test": repr(test)},
        "recipe": described(name, recipe, model, batches),
        "metrics": {m: e._asdict() for m, e in {**metrics, niwae: tighter}.items()},
        "rounding": rounding,
        "versions": {m.__name__: m.__version__ for m in (vaezoo, torch, pyro)},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def described(
    name: str, recipe: Recipe, model: models.LatentVariableModel, batches: Any
) -> dict[str, Any]:
    """A recipe for the card."""
    return {
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "rate": f"one cycle of Adam's with a peak of {recipe.peak:g}",
        "objective": repr(recipe.objective or model.objective(batches)),
        "max_grad_norm": recipe.clip,
        "seed": 0,
        "command": f"python -m benchmarks.pretrained {name}",
    }


def main() -> None:
    """Train those that were named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    if unknown := {*options.names} - {*RECIPES}:
        parser.error(f"there is no {', '.join(sorted(unknown))}: {', '.join(RECIPES)}")
    for name in RECIPES if options.all else options.names:
        train(name)
        print(name, card(name)["metrics"], flush=True)


if __name__ == "__main__":
    main()
