"""What is measured of a trained model, by kind of task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality import reader
from benchmarks.quality.recipe import svhn_crops
from vaezoo import data, evaluation, models, plots
from vaezoo.evaluation import Estimate

__all__ = ["METRICS"]

RESULTS = Path(__file__).parents[1] / "results"


def bounds(model: models.LatentVariableModel, progress: bool) -> dict[str, Estimate]:
    """NELBO, KL, rec and NIWAE on all 10,000 test images."""
    return evaluation.evaluate(model, data.mnist("test"), progress=progress)


def labels(model: models.LatentVariableModel, progress: bool) -> dict[str, Estimate]:
    """Bounds with few particles (ten labels are decoded for each), and accuracy."""
    return evaluation.evaluate(model, data.mnist("test"), particles=(1, 10), progress=progress)


def accuracy(model: models.SSVAE, progress: bool) -> dict[str, Estimate]:
    """Accuracy on all 10,000 test images."""
    return {"accuracy": evaluation.accuracy(model, data.mnist("test"))}


def scenes(model: models.FSVAE, progress: bool) -> dict[str, Estimate]:
    """How well a classifier that has only seen real scenes reads the digits asked for."""
    torch.manual_seed(0)
    judge = reader.trained(data.colour_digits("train", n=60_000))
    x, y = data.colour_digits("test").tensors()
    asked = torch.arange(10).repeat_interleave(200)
    styles = {
        "styles of real scenes": model.encode(x, y),
        "styles from the prior": model.prior().sample((len(asked),)),
    }
    plots.style_by_content(model).savefig(RESULTS / "fsvae.png", dpi=100)
    estimates = evaluation.evaluate(
        model, data.colour_digits("test"), particles=(1, 10, 100), progress=progress
    )
    estimates["read on real scenes"] = _share(reader.read(judge, x) == y)
    for name, z in styles.items():
        drawn = model.sample(y=asked, z=z).clamp(0, 1)
        estimates[f"read as asked, {name}"] = _share(reader.read(judge, drawn) == asked)
    return estimates


def crops(model: models.FSVAE, progress: bool) -> dict[str, Estimate]:
    """The bound on the training crops themselves (there is no held-out part), and the grid."""
    plots.style_by_content(model).savefig(RESULTS / "fsvae_svhn.png", dpi=100)
    return evaluation.evaluate(model, svhn_crops(), particles=(1, 10), progress=progress)


METRICS: dict[str, Any] = {
    "vae": bounds,
    "gmvae": bounds,
    "iwae": bounds,
    **dict.fromkeys(("weights", "vamp", "flow", "full", "lowrank", "iaf"), bounds),
    "ssvae": labels,
    "classifier": accuracy,
    "fsvae": scenes,
    "moved": labels,
    "svhn": crops,
}


def _share(correct: Tensor) -> Estimate:
    n = len(correct)
    return Estimate(correct.double().mean().item(), correct.double().std().item() / n**0.5, n)
