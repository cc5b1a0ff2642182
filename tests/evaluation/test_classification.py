"""`calibration`: by hand, against draws of a classifier that is right about itself, and misuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import CLASSES, INFERS, X_SHAPE, BadCall, images, labels, member, refused

from vaezoo import accuracy, likelihoods, posteriors
from vaezoo.evaluation import calibration

QUIET: dict[str, Any] = {"progress": False}


class Logits(nn.Module):
    """A classifier whose logits are the image's first pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :CLASSES]


def model() -> Any:
    return member(
        "SSVAE",
        classifier=posteriors.Classifier(X_SHAPE, CLASSES, network=Logits()),
        likelihood=likelihoods.Normal(3, X_SHAPE, classes=CLASSES, hidden=(4,)),  # of any image
    )


def shown(p: Tensor) -> Tensor:
    """Images that are classified with probabilities p (n, classes)."""
    x = torch.zeros(len(p), 16)
    x[:, :CLASSES] = p.log()
    return x.reshape(-1, *X_SHAPE)


def test_bins_by_hand() -> None:
    """Four images in two of five bins, to 1e-6."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.65, 0.3, 0.05], [0.1, 0.85, 0.05], [0.05, 0.05, 0.9]])
    found = calibration(model(), [(shown(p), torch.tensor([0, 1, 1, 2]))], bins=5, **QUIET)
    assert found.counts.tolist() == [0, 0, 0, 2, 2]
    assert found.confidence[3:].tolist() == pytest.approx([0.675, 0.875], abs=1e-6)
    assert found.accuracy[3:].tolist() == pytest.approx([0.5, 1.0])
    assert found.confidence[:3].isnan().all()
    assert found.estimates["ece"].mean == pytest.approx(0.5 * 0.175 + 0.5 * 0.125, abs=1e-6)
    assert found.estimates["accuracy"].mean == 0.75
    nll = -sum(map(math.log, (0.7, 0.3, 0.85, 0.9))) / 4
    assert found.estimates["label_nll"].mean == pytest.approx(nll, abs=1e-6)
    assert "accuracy  0.75 ± 0.25" in repr(found)
    assert "0.675" in found._repr_html_()


def test_a_classifier_that_is_right_about_itself() -> None:
    """5,000 labels drawn from its probabilities: little is missing; twice as sure, a lot."""
    torch.manual_seed(0)
    p = torch.randn(5000, CLASSES).softmax(-1)
    y = torch.multinomial(p, 1)[:, 0]
    found = calibration(model(), [(shown(p), y)], **QUIET).estimates
    sure = calibration(model(), [(shown((2 * p.log()).softmax(-1)), y)], **QUIET).estimates
    assert found["ece"].mean < 0.03
    assert sure["ece"].mean > 0.1
    assert sure["label_nll"].mean > found["label_nll"].mean


@pytest.mark.parametrize("name", INFERS)
def test_a_probability_that_rounds_to_nothing_has_a_logarithm(name: str) -> None:
    """q(y|x) of one class is about e^-1000, below the smallest float32."""
    made = member(name)
    bias = [p for p in made.classifier.parameters() if p.dim() == 1][-1]
    with torch.no_grad():
        bias.zero_()[0] = -1000.0
    x, y = images(7), torch.zeros(7, dtype=torch.long)
    assert made.classify(x)[:, 0].tolist() == [0.0] * 7
    found = calibration(made, [(x, y)], **QUIET).estimates["label_nll"]
    assert found.values is not None
    wanted = -made.label_posterior(x).log_prob(y)
    assert found.values.tolist() == pytest.approx(wanted.tolist())
    assert 900 < found.mean < 1100


@pytest.mark.parametrize("name", INFERS)
def test_accuracy_is_the_same(name: str) -> None:
    made, batches = member(name), [(images(7), labels(7)), (images(5), labels(5))]
    found = calibration(made, batches, **QUIET)
    assert found.estimates["accuracy"] == accuracy(made, batches)
    assert found.counts.sum() == 12


BAD_CALLS: list[BadCall] = [
    (lambda: calibration(member("VAE"), [(images(), labels())], **QUIET), TypeError, "a model with classify, got a VAE"),
    (lambda: calibration(member("SSVAE"), [images()], **QUIET), ValueError, "let the loader yield labels too"),
    (lambda: calibration(member("SSVAE"), [(images(), labels() + 7)], **QUIET), ValueError, "labels must lie in 0..2"),
    (lambda: calibration(member("SSVAE"), [(images(), labels())], bins=0, **QUIET), ValueError, "bins must be at least 1, got 0"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
