"""A recipe: one member, how it is trained, and on what it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from vaezoo import data, models, objectives
from vaezoo.evaluation import Estimate

__all__ = ["Member", "Recipe"]

Member = models.LatentVariableModel
BOUNDS = (1, 10, 100, 1000)


def mnist_train(seed: int) -> data.Images:
    """The 60,000 digits, binarised afresh for every batch."""
    return data.mnist("train")


def mnist_test() -> data.Images:
    """The 10,000 digits, which an evaluation binarises once."""
    return data.mnist("test")


@dataclass(frozen=True)
class Recipe:
    """Where two recipes differ in one field, so do their results.

    Attributes:
        member: makes the model.
        train: the training data of a seed, which is that of a draw of labels too.
        test: the images that it is judged by.
        steps, batch_size: of training.
        rate: constant of Adam, or the peak of one cycle.
        cycle: whether the rate is one cycle.
        objective: the member's own by default.
        optimizer: a class, Adam by default.
        decay: of the weights, by AdamW.
        average: of `fit`.
        clip: of the gradients' norm.
        precision, compile: of `fit`.
        start: what the model takes from the data before it is trained.
        particles: k of NIWAE-k.
        also: measures of the whole test set besides.
        draws: a picture, kept beside the numbers.
    """

    member: Callable[[], Member]
    train: Callable[[int], Any] = mnist_train
    test: Callable[[], data.Images] = mnist_test
    steps: int = 20_000
    batch_size: int = 100
    rate: float = 1e-3
    cycle: bool = False
    objective: objectives.Objective | None = None
    optimizer: type[torch.optim.Optimizer] | None = None
    decay: float = 0.0
    average: float | None = None
    clip: float | None = None
    precision: str = "float32"
    compile: bool = True
    start: Callable[[Member, Any], object] | None = None
    particles: tuple[int, ...] = BOUNDS
    also: Callable[[Any], Mapping[str, Estimate]] | None = None
    draws: Callable[[Any], Figure] | None = None


def described(recipe: Recipe, model: Member, batches: Any, test: data.Images) -> dict[str, Any]:
    """What a recipe does, for a file of results."""
    shape = "one cycle, peak" if recipe.cycle else "constant"
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    optimizer = {"optimizer": recipe.optimizer.__name__} if recipe.optimizer else {}
    return optimizer | {
        "model": [*model.equations()],
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": [repr(each) for each in layers],
        "objective": repr(recipe.objective or model.objective(batches)),
        "train": repr(batches),
        "test": repr(test),
        "batch_size": recipe.batch_size,
        "rate": f"{shape} {recipe.rate:g}",
        "decay": recipe.decay,
        "average": recipe.average,
        "clip": recipe.clip,
        "precision": recipe.precision,
        "compiled": recipe.compile,
    }
