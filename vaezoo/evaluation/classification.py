"""Whether classes are right, and whether their probabilities are.

A classifier is calibrated if of the images that it is 80 % sure of, 80 % are right. Images are put
into bins by their confidence, max_y q(y|x), and in each of them

    ece = Σ_b n_b / n |accuracy_b - confidence_b|

is what is missing: the expected calibration error. It is too high by what chance does to bins of
few images.

References:
    Guo, Pleiss, Sun, Weinberger. On Calibration of Modern Neural Networks. 2017. arXiv:1706.04599,
    equation 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo.data.counts import as_count
from vaezoo.data.labels import Agreement
from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate
from vaezoo.evaluation.visiting import visit
from vaezoo.programs.refusing import described
from vaezoo.tables import table

__all__ = ["Calibration", "calibration"]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How right a classifier is, and how right it believes that it is.

    Attributes:
        estimates: "accuracy"; "label_nll", -log q(y|x) of the label, in nats; and "ece".
        confidence, accuracy: means in each bin, shape (bins,), NaN where it is empty: a
            reliability figure shows the second against the first.
        counts: images in each bin, shape (bins,).
    """

    estimates: dict[str, Estimate]
    confidence: Tensor
    accuracy: Tensor
    counts: Tensor

    def __repr__(self) -> str:
        return "\n".join(f"{name}  {estimate}" for name, estimate in self.estimates.items())

    def _repr_html_(self) -> str:
        text = ", ".join(repr(self).splitlines())
        bins = zip(self.confidence, self.accuracy, self.counts, strict=True)
        rows = [[f"{c:.3f}", f"{a:.3f}", int(n)] for c, a, n in bins if n]
        return table(text, ["confidence", "accuracy", "images"], rows, texts=0)


def calibration(
    model: nn.Module,
    data: Data,
    *,
    bins: int = 15,
    seed: int = 0,
    batch_size: int = 1000,
    progress: bool = True,
) -> Calibration:
    """Accuracy, log-loss and expected calibration error of q(y|x), and what is in each bin.

    Args:
        model: a member that classifies: SSVAE, M1M2, ADGM.
        data: `Images` with labels, binarised once by `seed`, or an iterable of batches (x, y).
        bins: of equal width, from 0 to 1; what lies between two is in the lower one.
        seed: of binarisation.
        batch_size: images at a time, where data are `Images`.
        progress: show a progress bar.

    Raises:
        TypeError: the model has no `classify`.
        ValueError: there are no labels, they are not such as the model's, or images are not such as
            its likelihood's.

    Example:
        >>> from vaezoo import data, models
        >>> found = calibration(models.SSVAE(), data.digits("test")[:50], progress=False)
        >>> int(found.counts.sum()), list(found.estimates)
        (50, ['accuracy', 'label_nll', 'ece'])
    """
    bins, agreement, pair = as_count("bins", bins), Agreement(), model
    if not hasattr(model, "classify"):
        raise TypeError(f"calibration needs a model with classify, got {described(model)}")

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        x, y = batch
        log_p = _log_probabilities(pair, x)
        confidence, guesses = log_p.exp().max(-1)
        yield "accuracy", agreement.of(guesses, y, log_p.shape[-1])
        yield "confidence", confidence
        yield "label_nll", -log_p.gather(1, y[:, None].long())[:, 0]

    found = visit(
        model, data, look, seed=seed, batch_size=batch_size, progress=progress, labels=True
    )
    return _calibration(found, bins)


def _log_probabilities(model: Any, x: Tensor) -> Tensor:
    """log q(y|x), (N, classes): of members as such, as a small probability may round to 0."""
    if hasattr(model, "label_posterior"):
        return model.label_posterior(x).logits
    return model.classify(x).log()


def _calibration(found: dict[str, Estimate], bins: int) -> Calibration:
    correct, confidence = (_values(found[name]) for name in ("accuracy", "confidence"))
    at = (confidence * bins).ceil().long().clamp(1, bins) - 1
    counts = torch.bincount(at, minlength=bins)
    sure, right = (v.new_zeros(bins).index_add(0, at, v) / counts for v in (confidence, correct))
    ece = (right - sure).sign()[at] * (correct - confidence)
    estimates = {name: found[name] for name in ("accuracy", "label_nll")}
    estimates["ece"] = found["accuracy"].of_same_images(ece)
    return Calibration(estimates, sure, right, counts)


def _values(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values
