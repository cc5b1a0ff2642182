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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import nn

import vaezoo
from benchmarks.quality.labels import X_SHAPE, reader, scenes_test, scenes_train
from benchmarks.quality.recipe import Recipe, mnist_train
from benchmarks.quality.running import trained
from vaezoo import data, models, networks, objectives
from vaezoo.models.pretrained import FOLDER, card

RUNS = Path(__file__).parent / "runs"
ROUNDING = 0.05  # nats of the bound, at most


def hundred_labels(seed: int) -> data.SemiSupervisedBatches:
    """All images, and 100 with labels that are moved about."""
    images = mnist_train(seed)
    return data.semi_supervised(images, data.Moved(images.labelled(100)), batch_size=50)


def loadable() -> models.SSVAE:
    """An SSVAE as in `examples/ssvae_mnist.py`, of vaezoo's networks alone, which `load` builds."""
    return reader(networks.Conv(X_SHAPE, (16, 32), (10,), activation=nn.ReLU))


MNIST = Recipe(
    models.VAE, test=lambda: data.digits("test"), rate=4e-3, cycle=True, particles=(100,)
)
RECIPES = {
    "vae-mnist": replace(MNIST, steps=40_000),
    "gmvae-mnist": replace(MNIST, member=models.GMVAE),
    "iwae-mnist": replace(MNIST, member=models.IWAE),
    "ssvae-mnist": replace(
        *(MNIST,),
        member=loadable,
        train=hundred_labels,
        steps=30_000,
        batch_size=50,
        rate=8e-3,
        objective=objectives.SemiSupervised(alpha=10.0),
        particles=(10,),
    ),
    "fsvae-colour-digits": replace(
        *(MNIST,),
        member=lambda: models.FSVAE(hidden=(200, 200)),
        train=scenes_train,
        test=scenes_test,
        rate=1.5e-3,
        clip=300.0,
    ),
}


def train(name: str) -> None:
    """Train one, and write its files."""
    recipe = RECIPES[name]
    torch.manual_seed(0)
    model, batches = recipe.member(), recipe.train(0)
    trained(recipe, model, batches, recipe.steps, RUNS / name / "training")
    write(name, recipe, model, batches)


def write(name: str, recipe: Recipe, model: models.LatentVariableModel, batches: Any) -> None:
    """Half the precision where that moves the bound by little, and what the model reaches."""
    (particles,) = recipe.particles
    test, niwae = recipe.test(), f"niwae-{particles}"
    exact = vaezoo.evaluate(model, test, particles=1)
    rounded = copy.deepcopy(model).half()
    metrics = vaezoo.evaluate(copy.deepcopy(rounded).float(), test, particles=1)
    rounding = metrics["nelbo"].mean - exact["nelbo"].mean
    if abs(rounding) > ROUNDING:  # as where the scale of a likelihood is rounded too
        rounded, metrics, rounding = model, exact, 0.0
    vaezoo.save(rounded, FOLDER / f"{name}.safetensors")
    tighter = vaezoo.evaluate(rounded.float(), test, particles=particles)[niwae]
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
        "rate": f"one cycle of Adam's with a peak of {recipe.rate:g}",
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
