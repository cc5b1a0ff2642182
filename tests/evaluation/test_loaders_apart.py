"""What a loader draws is drawn by the seed of an evaluation, and leaves training alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from zoo import CLASSES, images, labels, member

from vaezoo import accuracy, compare, data, evaluate, evaluation, fit, training
from vaezoo.panel.images import some_images

X, Y = images(40), labels(40)
PIXELS = (255 * X).byte() // 2


def shuffled() -> Any:
    return DataLoader(TensorDataset(X, Y), batch_size=10, shuffle=True)


def dynamic() -> Any:
    return DataLoader(data.Images(PIXELS, Y, binarisation="dynamic"), batch_size=10)


def semi_supervised() -> Any:
    few = data.Images(PIXELS, Y, binarisation="dynamic")
    return data.semi_supervised(few, few.labelled(2 * CLASSES), batch_size=10)


def generated() -> Iterator[torch.Tensor]:
    return ((torch.rand(10, *X.shape[1:]) > 0.5).float() for _ in range(4))


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "evaluate": lambda d: evaluate(VAE, d, particles=2, progress=False)["niwae-2"],
    "accuracy": lambda d: accuracy(CLASSIFIER, d),
    "evidence": lambda d: evaluation.evidence(VAE, d, particles=25, progress=False)["log_px"],
    "units": lambda d: evaluation.units(VAE, d, progress=False),
    "rate": lambda d: evaluation.rate(VAE, d, images=20, progress=False)["rate"],
    "a panel": lambda d: some_images(d, 20, torch.zeros(1))[0].sum().item(),
}
VAE, CLASSIFIER = member("VAE"), member("SSVAE")


@pytest.mark.filterwarnings("ignore:.*too few weights")
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("make", [shuffled, dynamic, semi_supervised, generated])
def test_numbers_are_those_of_the_seed(question: str, make: Callable[[], Any]) -> None:
    if question == "accuracy" and make in (semi_supervised, generated):
        make = dynamic  # batches with labels
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(repr(QUESTIONS[question](make())))
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]


def test_images_of_two_calls_are_compared() -> None:
    a, b = (evaluate(VAE, dynamic(), particles=1, progress=False) for _ in range(2))
    assert compare(a, b)["nelbo"].mean == 0


def test_training_goes_on_as_without_an_evaluation() -> None:
    def losses(callback: Any) -> list[float]:
        torch.manual_seed(3)
        model = member("VAE")
        options: dict[str, Any] = {"steps": 8, "log_every": 2, "progress": False}
        return fit(model, [X], callback=callback and callback(model), **options)["loss"]

    def evaluating(model: Any) -> Any:
        return lambda record: (
            bool(evaluate(model, shuffled(), particles=1, progress=False)) and None
        )

    assert losses(evaluating) == losses(None)


class Once(torch.utils.data.IterableDataset[Any]):
    """Three batches, of one iterator."""

    def __init__(self) -> None:
        self.left = iter(X.split(10)[:3])

    def __iter__(self) -> Any:
        return self.left


def test_validation_data_that_run_out_are_refused() -> None:
    once = DataLoader(Once(), batch_size=None)
    with pytest.raises(ValueError, match="validation data have run out"):
        fit(member("VAE"), [X], steps=6, log_every=2, validation=once, progress=False)


class Own(type(member("VAE"))):  # type: ignore[misc]
    """A member of one's own, of which the loss is run once to see what it trains."""


@pytest.mark.parametrize("kind", [Own, type(member("VAE"))])
@pytest.mark.parametrize("with_graph", [False, True])
def test_data_are_not_trained(kind: Any, with_graph: bool) -> None:
    """Neither images with requires_grad, nor what they were computed from, nor left a gradient."""
    leaf = X.clone().requires_grad_()
    x = leaf * 1.0 if with_graph else leaf
    model = kind(X.shape[1:], 3, hidden=(8,))
    fit(model, [x[:20], x[20:]], epochs=3, lr=0.1, progress=False)
    assert torch.equal(leaf, X)
    assert leaf.grad is None


def test_batches_of_inference_mode_are_trained_on() -> None:
    with torch.inference_mode():
        x = X.clone()
    vae = member("VAE")
    assert fit(vae, [x], steps=2, progress=False)["step"]
    assert len(list(training.steps(vae, [x], steps=2))) == 2


class Tied(torch.nn.Module):
    """x = z + ε, and q(z|x) far off: what it finds depends on draws that x must not share."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(64))

    def model(self, x: torch.Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 64), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(self.loc.expand(len(x), 64), 1.0).to_event(1))


class Normals:
    """A loader that draws its images."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (torch.randn(100, 64) for _ in range(3))


def test_what_a_loader_draws_is_not_the_noise_of_the_model() -> None:
    """-E log p(x|z) = 32 (log 2π + 2), of 300 images; z below 5 (failure rate 6e-7), seeded."""
    exact = 32 * (math.log(2 * math.pi) + 2)
    found = {
        "rate": evaluation.rate(Tied(), Normals(), images=300, progress=False)["distortion"],
        "evaluate": evaluate(Tied(), Normals(), particles=1, progress=False)["rec"],
    }
    for name, (mean, stderr, n) in found.items():
        assert n == 300
        assert stderr > 0.5, name
        assert abs(abs(mean) - exact) < 5 * stderr, name
