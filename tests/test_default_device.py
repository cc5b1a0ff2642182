"""A model on the CPU while torch makes new tensors elsewhere: the same numbers as otherwise.

"meta" stands for a GPU: what is made there by mistake holds no numbers, and cannot be added to any.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo import X_SHAPE, Z_DIM, member

from vaezoo import (
    IWELBO,
    accuracy,
    compare,
    crosscheck,
    data,
    diagnostics,
    evaluate,
    evaluation,
    fit,
    plots,
    priors,
)

QUIET: dict[str, Any] = {"progress": False}


def pictures(n: int) -> data.Images:
    generator = torch.Generator("cpu").manual_seed(0)
    y = torch.arange(n, device="cpu") % 3
    draws = torch.rand(n, *X_SHAPE, generator=generator, device="cpu")
    pixels = (draws < 0.2 + 0.3 * y[:, None, None, None]).byte() * 255
    return data.Images(pixels, y, binarisation="threshold")


IMAGES, (X, Y) = pictures(24), pictures(24).tensors(seed=0)
SOME: list[dict[str, Tensor]] = [{"class": Y}]


def trained(name: str, batches: Any, *objective: Any, **options: Any) -> Any:
    model = copy.deepcopy(MODELS[name])
    return fit(model, batches, *objective, steps=3, compile=False, **QUIET, **options)


torch.manual_seed(0)
MODELS = {name: member(name) for name in ("VAE", "SSVAE", "FSVAE", "HierarchicalVAE", "ADGM")}
MODELS["mixture"] = member("VAE", prior=priors.MixtureOfGaussians(Z_DIM, k=4))
CALLS: dict[str, Callable[[], Any]] = {
    "evaluate": lambda: evaluate(MODELS["VAE"], IMAGES, particles=5, **QUIET),
    "evaluate SSVAE": lambda: evaluate(MODELS["SSVAE"], IMAGES, particles=5, **QUIET),
    "draws apart": lambda: evaluate(MODELS["VAE"], IMAGES, particles=7, max_decodes=3, **QUIET),
    "evidence": lambda: evaluation.evidence(MODELS["VAE"], IMAGES, particles=30, **QUIET),
    "annealed": lambda: evaluation.annealed(MODELS["VAE"], IMAGES[:4], temperatures=4, **QUIET),
    "gaps": lambda: evaluation.gaps(MODELS["VAE"], IMAGES[:4], steps=20, particles=50, **QUIET),
    "rate": lambda: evaluation.rate(MODELS["VAE"], IMAGES, **QUIET),
    "rate SSVAE": lambda: evaluation.rate(MODELS["SSVAE"], IMAGES, **QUIET),
    "units": lambda: evaluation.units(MODELS["VAE"], IMAGES, **QUIET)["z"].variance,
    "clusters": lambda: evaluation.clusters(MODELS["mixture"], IMAGES, **QUIET).estimates,
    "calibration": lambda: evaluation.calibration(MODELS["SSVAE"], IMAGES, **QUIET).estimates,
    "accuracy": lambda: accuracy(MODELS["SSVAE"], IMAGES),
    "disentanglement": lambda: (
        evaluation.disentanglement(MODELS["VAE"], IMAGES, {"class": Y}, **QUIET).information
    ),
    "sample_quality": lambda: evaluation.sample_quality(
        MODELS["VAE"], pictures(60), IMAGES, steps=3, repeats=2
    ),
    "compare": lambda: compare(*(evaluate(MODELS[n], IMAGES, **QUIET) for n in ("VAE", "mixture"))),
    "crosscheck": lambda: torch.tensor(
        [row.difference for row in crosscheck(MODELS["VAE"], X, repeats=3)], device="cpu"
    ),
    "diagnostics": lambda: diagnostics.mixture_diagnostics(MODELS["mixture"], X).usage,
    "start_from": lambda: (
        copy.deepcopy(MODELS["mixture"].prior).start_from(MODELS["mixture"].encode(X)).loc
    ),
    "fit": lambda: trained("VAE", IMAGES, validation=IMAGES, average=0.9),
    "fit SSVAE": lambda: trained(
        "SSVAE", data.semi_supervised(IMAGES, IMAGES.labelled(6, seed=0), batch_size=6)
    ),
    "chunks": lambda: trained("VAE", IMAGES, IWELBO(4, chunk=2)),
    "spread_labels": lambda: torch.as_tensor(
        data.spread_labels(pictures(60), pictures(60).labelled(6, seed=0)).labels, device="cpu"
    ),
    "Moved": lambda: data.Moved(IMAGES).tensors(seed=0)[0],
    "samples": lambda: MODELS["ADGM"].sample(4),
    "traverse": lambda: MODELS["HierarchicalVAE"].traverse(X[:1], 0),
    "score": lambda: MODELS["FSVAE"].score(X, Y),
    "samples drawn": lambda: pixels_of(plots.samples(MODELS["FSVAE"], 6)),
    "style by content": lambda: pixels_of(plots.style_by_content(MODELS["FSVAE"], columns=2)),
    "interpolations": lambda: pixels_of(plots.interpolations(MODELS["VAE"], X[:2], X[2:4])),
    "components": lambda: pixels_of(plots.components(MODELS["mixture"], rows=2, n=2)),
    "before_after": lambda: pixels_of(plots.before_after(MODELS["VAE"], MODELS["mixture"], X, Y)),
}


def pixels_of(figure: Any) -> list[Tensor]:
    return [
        torch.as_tensor(image.get_array().filled(0.0), device="cpu")
        for axes in figure.axes
        for image in axes.images
    ]


def numbers(found: Any) -> list[Tensor]:
    """All tensors and numbers in what a call returns."""
    if isinstance(found, Tensor):
        return [found.detach()]
    if isinstance(values := getattr(found, "values", None), Tensor):
        return [values]
    if isinstance(found, dict):
        times = {"seconds"}
        return [t for key, each in found.items() if key not in times for t in numbers(each)]
    if isinstance(found, list | tuple):
        return [t for each in found for t in numbers(each)]
    return [torch.tensor(found, device="cpu")] if isinstance(found, int | float) else []


@pytest.mark.filterwarnings("ignore:.*have too few weights to trust")
@pytest.mark.parametrize("name", CALLS)
def test_the_same_numbers(name: str) -> None:
    torch.manual_seed(1)
    expected = numbers(CALLS[name]())
    with torch.device("meta"):
        torch.manual_seed(1)
        found = numbers(CALLS[name]())
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert a.device.type == "cpu"
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
