"""How many images evaluation decodes at once, whatever the batches are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, member

from vaezoo import evaluate, evaluation
from vaezoo.likelihoods import Categorical

QUESTIONS: dict[str, Callable[..., Any]] = {
    "evaluate": lambda *a, **k: evaluate(*a, particles=2, **k),
    "evidence": lambda *a, **k: evaluation.evidence(*a, particles=25, **k),
    "annealed": lambda *a, **k: evaluation.annealed(*a, temperatures=2, steps=1, chains=2, **k),
    "units": evaluation.units,
    "rate": evaluation.rate,
    "report": lambda *a, **k: evaluation.report(*a, particles=25, **k),
}


def with_labels() -> tuple[Any, Tensor]:
    """Three labels for each image of a batch of 900."""
    return member("SSVAE"), torch.bernoulli(torch.full((900, *X_SHAPE), 0.5))


def with_levels() -> tuple[Any, Tensor]:
    """A number for each of 64 levels, in a batch of 50."""
    grey = Categorical(Z_DIM, X_SHAPE, levels=64, hidden=(4,))
    return member("VAE", likelihood=grey), torch.randint(0, 64, (50, *X_SHAPE)).float()


@pytest.mark.parametrize("make", [with_labels, with_levels])
@pytest.mark.filterwarnings("ignore:.*too few weights to trust:UserWarning")
@pytest.mark.parametrize("question", QUESTIONS)
def test_at_most_2000_at_once(question: str, make: Callable[[], tuple[Any, Tensor]]) -> None:
    """Labels and levels counted; all of them in all."""
    torch.manual_seed(0)
    model, x = make()
    sizes: list[int] = []
    model.likelihood.network.register_forward_hook(
        lambda module, given, out: sizes.append(out.numel() // x[0].numel())
    )
    QUESTIONS[question](model, [x], progress=False)
    assert max(sizes) <= 2000
    assert sum(sizes) >= 2700


class OfSixteen(nn.Module):
    """A pair whose guide takes batches of 16 and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.3))

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(self.loc * x.reshape(16, 4), 0.8).to_event(1))


def test_programs_of_one_size_of_batches_are_left_whole() -> None:
    torch.manual_seed(0)
    found = evaluation.rate(OfSixteen(), [torch.randn(16, 4)] * 2, progress=False)
    assert found["rate"].n == 32
